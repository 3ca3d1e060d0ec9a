"""A wrong match is marked, and the same face matches less from then on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.events.records import Face
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.index import Gallery
from stages.gallery.store import Store
from stages.gate.wrong import wrong
from tests.stages.events.conftest import decision

app = typer.Typer()
app.command()(wrong)


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_face_of_a_wrong_match_is_kept_as_not_theirs(places: Path, shared: Path) -> None:
    photos = shared / "photos" / "face_recognition_examples"
    enrol, store = Enrol(EnrolConfig()), Store(home(), keys())
    store.add("Biden", enrol.identity, enrol([photos / "biden.jpg"])[0])
    (biden,) = store.people()
    lookalike = photos / "train" / "biden" / "biden2.jpg"  # another photo of his, as if it were somebody else's
    ledger = Ledger(home(), keys(), create=True)
    snapshot = lookalike.read_bytes()
    with ledger.commit() as commit:
        told = {"frame_sha256": hashlib.sha256(snapshot).hexdigest()}
        seq = commit.decide(decision("opened", biden.id.hex(), **told), snapshot, ())
        stranger = commit.decide(decision(), b"", ())

    said = call(seq).output

    assert "this face is not Biden's" in said
    (marked,) = store.people()
    assert len(marked.negatives) == 1
    now = Gallery([marked], enrol.identity)
    faces, _ = enrol([lookalike, photos / "biden.jpg"])
    near = now.similarity(biden.id.hex(), faces)
    assert near[0] < Gallery([biden], enrol.identity).similarity(biden.id.hex(), faces)[0] - 0.1
    assert near[1] > 0.95  # his own photo is as near as before
    for event in (stranger, 99):
        with pytest.raises(Failed, match="is no decision about somebody who is enrolled"):
            call(event)


def test_of_two_in_the_picture_it_is_the_one_that_was_decided_about(places: Path, shared: Path) -> None:
    """The person stands behind the one who was taken for them, and is more like themselves."""
    photos = shared / "photos" / "face_recognition_examples"
    enrol, store = Enrol(EnrolConfig()), Store(home(), keys())
    store.add("Biden", enrol.identity, enrol([photos / "biden.jpg"])[0])
    (biden,) = store.people()
    two = [cv2.imread(str(path)) for path in (photos / "obama.jpg", photos / "biden.jpg")]
    high = max(one.shape[0] for one in two)
    picture = np.hstack([cv2.copyMakeBorder(one, 0, high - one.shape[0], 0, 0, cv2.BORDER_CONSTANT) for one in two])
    snapshot = cv2.imencode(".jpg", picture)[1].tobytes()
    boxes = sorted(enrol.faces(picture.astype(np.uint8))[0].tolist())
    faces = [Face(track, tuple(box)) for track, box in enumerate(boxes, 1)]
    ledger = Ledger(home(), keys(), create=True)
    told = {"frame_sha256": hashlib.sha256(snapshot).hexdigest()}
    with ledger.commit() as commit:
        seqs = [
            commit.decide(decision("opened", biden.id.hex(), track=track, **told), snapshot, (), faces=faces)
            for track in (1, 3, None)
        ]

    for seq, sentence in ((seqs[1], "2 faces in the picture"), (seqs[2], "2 faces in the picture")):
        with pytest.raises(Failed, match=f"{sentence} of event {seq} may be meant: nothing can be learned"):
            call(seq)
    assert store.people()[0].negatives == ()
    call(seqs[0])

    (marked,) = store.people()
    obama, own = enrol([photos / "obama.jpg", photos / "biden.jpg"])[0]
    assert marked.negatives[0].embedding @ obama > 0.9
    assert Gallery([marked], enrol.identity).similarity(biden.id.hex(), own[None])[0] > 0.9
    (kept,) = store.portraits("Biden", negative=True).values()
    assert enrol.embed([kept])[0] @ obama > 0.9
