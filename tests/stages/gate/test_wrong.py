"""A wrong match is marked, and the same face matches less from then on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events.ledger import Ledger
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
