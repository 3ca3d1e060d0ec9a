"""A `forget` that is killed: said again, it leaves nothing of the person, wherever it was."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.enrolment.forgetting import forgotten
from stages.events import clips, snapshots
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Clip, Face, Sighting
from stages.gallery.index import LiveGallery
from stages.gallery.store import Store
from tests.command import ROOT
from tests.stages.clips import film
from tests.stages.events.conftest import decision
from tests.stages.gate.scene import MODEL, embedding

NOISE = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()
BOX = (20.0, 20.0, 60.0, 60.0)
KILLED = """
import os, pkgutil, signal, sys
from pipeline.home import home, keys
from stages.enrolment.forgetting import forgotten
from stages.gallery.store import Store
where, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = pkgutil.resolve_name(where)
real = getattr(owner, name)
def last(*given, **named):
    global times
    if times == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    result, times = real(*given, **named), times + (1 if times < 0 else -1)
    if not times:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, last)
forgotten(Store(home(), keys()), "Bob")
"""


@pytest.fixture
def ledger(places: Path) -> Iterator[Ledger]:
    """Ada and Bob are enrolled; a decision about each is kept, and Bob is to be seen in the pictures of Ada's."""
    store = Store(home(), keys())
    for seed, name in enumerate(("Ada", "Bob"), 1):
        store.add(name, MODEL, embedding(seed)[None])
    ledger = Ledger(home(), keys(), create=True)
    ids = {person.name: person.id.hex() for person in store.people()}
    seq = decide(ledger, ids["Ada"], Face(1, BOX, ids["Bob"]))
    clips.put(ledger, seq, Clip(film(places / "clip.mp4").read_bytes(), (Sighting(ids["Bob"], 0, BOX),)))
    clips.put(ledger, decide(ledger, ids["Bob"]), Clip(b"of Bob", ()))
    yield ledger
    ledger.close()


def decide(ledger: Ledger, person: str, *faces: Face) -> int:
    with ledger.commit() as commit:
        made = decision("opened", person, frame_sha256=hashlib.sha256(JPEG).hexdigest())
        return commit.decide(made, JPEG, (), faces=faces)


def kill(where: str, name: str, times: int) -> None:
    """Run `forget` in a process that is killed at the end of a function, when it is called for the so-manieth time.

    Before it where `times` is below zero.
    """
    command = [sys.executable, "-c", KILLED, where, name, str(times)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL


def content() -> bytes:
    """Last, as reading SQLite's files beside it takes its locks away."""
    return b"".join(path.read_bytes() for f in (home(), keys()) for path in f.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("where", "name", "times"),
    [
        ("stages.events.commit:Commit", "erase", 1),
        ("stages.gallery.keyfile:Keys", "destroy", 1),  # that of the events
        ("stages.events.ledger:Ledger", "erase", 1),
        ("stages.events.commit:Commit", "cover", 1),
        ("stages.events.commit:Commit", "keep_clip", 1),
        ("stages.events.clips", "put", 1),
        ("stages.events.ledger", "shred", -1),  # Bob's own clip
        ("stages.events.ledger", "shred", -2),  # the one in which he was covered
        ("stages.enrolment.forgetting", "blur_out", 1),
        ("stages.gallery.files:Files", "mark", 1),
        ("stages.gallery.store:Store", "disown", 1),
        ("stages.gallery.files:Files", "wait_for", 1),
        ("stages.enrolment.forgetting", "blur_out", 2),
        ("stages.gallery.keyfile:Keys", "destroy", 3),  # that of the gallery
        ("stages.gallery.store", "delete_person", 1),
    ],
)
def test_said_again_it_leaves_nothing(ledger: Ledger, where: str, name: str, times: int) -> None:
    store = Store(home(), keys())
    _, bob = store.people()
    key = ledger.keys.get(bob.id)
    assert key
    (clip,) = (path.read_bytes() for path in ledger.clips.glob("1-*"))
    (picture,) = ledger.one("SELECT snapshot FROM sealed WHERE seq = 1") or ()
    kill(where, name, times)
    decide(ledger, bob.id.hex())  # by a gate that did not know yet

    assert forgotten(store, "Bob")[1] == []

    assert [person.name for person in store.people()] == ["Ada"]
    assert clips.showing(ledger, bob.id) == snapshots.showing(ledger, bob.id) == []
    found = clips.get(ledger, 1)
    assert found
    assert not found.people
    assert ledger.snapshot(1)
    assert audit(ledger, []).findings == ()
    store.add("Bob", MODEL, embedding(2)[None])
    assert bob.id not in [person.id for person in store.people()]
    everything = content()
    for trace in (bob.id, bob.id.hex().encode(), key, clip, picture):
        assert trace not in everything


def test_once_the_name_is_gone_what_was_written_late_goes_all_the_same(ledger: Ledger) -> None:
    store = Store(home(), keys())
    _, bob = store.people()
    kill("stages.gallery.files:Files", "scrub", 1)
    decide(ledger, bob.id.hex())  # by a process that `forget` has said to be late

    with pytest.raises(Failed, match="nobody called 'Bob'"):
        forgotten(store, "Bob")

    assert bob.id not in ledger.keys.owners()
    assert audit(ledger, []).findings == ()
    assert bob.id not in content()


def test_who_keeps_the_gallery_busy_is_told_of_in_the_receipt(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = Store(home(), keys()), Store.forget
    monkeypatch.setattr("stages.gallery.rows.BUSY_S", 0.1)

    with closing(sqlite3.connect(home() / "gallery.sqlite", 0, 0, None)) as other:

        def forget(*given: Any) -> Any:
            other.execute("BEGIN")
            other.execute("SELECT * FROM people").fetchall()
            return real(*given)

        monkeypatch.setattr(Store, "forget", forget)
        told, undone = forgotten(store, "Bob")

    said = f"another process reads {home() / 'gallery.sqlite'} without end: stop it and say this again"
    assert undone == [said]
    assert f"NOT YET: {said}" in told
    assert [person.name for person in store.people()] == ["Ada"]


def test_whom_a_forget_that_was_stopped_has_marked_is_in_no_gallery(ledger: Ledger) -> None:
    store, live = Store(home(), keys()), LiveGallery(home(), MODEL, "the door")
    store.disown("Bob")
    assert live.refresh()
    assert [name for name, _ in live.rules.values()] == ["Ada"]
    live.close()
    face = embedding(2)
    for change in (
        lambda: store.add("Bob", MODEL, face[None]),
        lambda: store.rename("Ada", "Bob"),
        lambda: store.portraits("Bob"),
    ):
        with pytest.raises(Failed, match="a `forget` of 'Bob' was stopped half-way: run it again first"):
            change()


def test_a_process_that_runs_or_starts_goes_on_with_what_was_stopped(ledger: Ledger) -> None:
    store = Store(home(), keys())
    _, bob = store.people()
    live = LiveGallery(home(), MODEL, "the gate", remembers=snapshots.Noted(ledger))
    store.disown("Bob")
    live.refresh()
    assert bob.id not in ledger.keys.owners()
    assert snapshots.showing(ledger, bob.id) == []
    decide(ledger, bob.id.hex())  # by another that was killed before it followed
    live.close()
    LiveGallery(home(), MODEL, "the gate", remembers=snapshots.Noted(ledger)).close()
    assert bob.id not in ledger.keys.owners()
    assert audit(ledger, []).findings == ()
