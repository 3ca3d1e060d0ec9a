"""Who else stands in the snapshot of a decision: as the gate notes it, and what is left of them once forgotten."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.home import home, keys
from stages.enrolment.forgetting import forgotten
from stages.events import snapshots
from stages.events.audit import audit
from stages.events.boxes import open_box
from stages.gallery.sealing import seal
from stages.gallery.store import Store
from tests.stages.gate.door import Door, reader
from tests.stages.gate.scene import Seen, embedding

JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8))[1].tobytes()
HERS, HIS = 1, 2  # tracks


@pytest.fixture
def door(places: object) -> Iterator[Door]:
    door = Door()
    door.camera.snapshot = JPEG
    yield door
    door.gate.close()


def sees(door: Door, *seen: Seen, times: int = 2) -> None:
    for _ in range(times):
        door.gate(door.camera(*seen))


def ada(door: Door) -> Seen:
    return Seen(HERS, embedding(1), door.people["Ada"], 0.8)


def bob(door: Door, picked: bool = True) -> Seen:
    return Seen(HIS, embedding(2), door.people["Bob"], 0.8, picked=picked)


def stranger(track: int, picked: bool = True) -> Seen:
    return Seen(track, embedding(3), picked=picked)


def in_pictures_of(door: Door, other: str) -> list[str]:
    """In the snapshots of whose decisions somebody stands, too."""
    ledger = reader()
    seqs = snapshots.showing(ledger, bytes.fromhex(door.people[other]))
    return [event.decision.name for event in ledger.events() if event.seq in seqs and event.decision]


def is_noted(person: str) -> bool:
    return (bytes.fromhex(person),) in reader().all("SELECT person FROM faces")


def is_covered(seq: int) -> bool:
    """Whether the place where `Camera` sees everybody is another picture."""
    difference = np.abs(picture(reader().snapshot(seq)) - picture(JPEG))
    assert difference[150:, 150:].mean() < 10
    return bool(difference[20:80, 20:80].mean() > 40)


def picture(jpeg: bytes | None) -> NDArray[np.int_]:
    assert jpeg
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).astype(int)


def forget(door: Door, name: str) -> list[str]:
    """The receipt of `forget`, while the gate goes on."""
    done: list[list[str]] = []
    command = threading.Thread(target=lambda: done.append(forgotten(Store(home(), keys()), name)[0]))
    command.start()
    while command.is_alive():
        door.goes(0)
    command.join()
    return done[0]


def test_whoever_is_recognized_in_the_background_is_noted_and_covered_once_forgotten(door: Door) -> None:
    sees(door, ada(door), bob(door))
    assert [made.name for made in door.decisions()] == ["Ada", "Bob"]
    assert in_pictures_of(door, "Bob") == ["Ada"]
    assert in_pictures_of(door, "Ada") == ["Bob"]

    receipt = forget(door, "Bob")

    hers, _ = (event for event in door.events() if event.kind == "opened" or event.erased)
    assert is_covered(hers.seq)
    assert "in 0 clips and 1 snapshots of others the face is covered" in receipt[1]
    assert not is_noted(door.people["Bob"])
    assert audit(reader(), []).findings == ()


def test_who_is_recognized_after_the_decision_is_noted_in_it(door: Door) -> None:
    sees(door, ada(door), bob(door, picked=False))
    assert in_pictures_of(door, "Bob") == []
    sees(door, bob(door))
    assert in_pictures_of(door, "Bob") == ["Ada"]


def test_who_is_recognized_only_after_a_restart_is_noted_in_decisions_from_before(door: Door) -> None:
    sees(door, ada(door), bob(door, picked=False))
    door.restart()
    sees(door, bob(door))
    assert in_pictures_of(door, "Bob") == ["Ada"]


def test_who_had_their_decision_before_is_noted_on_a_track_that_gets_a_name_later(door: Door) -> None:
    door.tracks = 8
    door.comes("Bob")
    sees(door, ada(door), bob(door, picked=False))
    assert in_pictures_of(door, "Bob") == []
    sees(door, bob(door), times=1)
    assert in_pictures_of(door, "Bob") == ["Ada"]


def test_a_stranger_in_the_background_is_nobody(door: Door) -> None:
    sees(door, ada(door), stranger(HIS))
    assert [made.name for made in door.decisions()] == ["Ada"]
    assert in_pictures_of(door, "Bob") == in_pictures_of(door, "Ada") == []


def test_who_is_forgotten_before_a_decision_is_covered_in_it(door: Door) -> None:
    sees(door, stranger(HERS), bob(door))
    door.store.forget("Bob")
    door.goes(5)
    refused = next(event for event in door.events() if event.decision and event.decision.reason == "unknown")
    assert refused.decision
    assert is_covered(refused.seq)
    assert refused.decision.frame_sha256 == hashlib.sha256(reader().snapshot(refused.seq) or b"").hexdigest()
    assert in_pictures_of(door, "Bob") == []
    assert audit(reader(), []).findings == ()


def test_who_is_forgotten_in_front_of_the_camera_is_a_stranger_in_their_passage(door: Door) -> None:
    sees(door, bob(door))
    forget(door, "Bob")
    for passage in door.gate._passages.open:
        passage.stored_ns = 0
    sees(door, stranger(HIS, picked=False))
    (passage,) = reader().passages()
    assert passage.decided
    assert passage.person == ""
    assert door.people["Bob"].encode() not in passage.evidence


def test_who_has_gone_is_noted_in_a_decision_that_is_still_to_come(door: Door) -> None:
    sees(door, stranger(HERS), bob(door))
    for passage in door.gate._passages.open:
        if HIS in passage.tracks:
            passage.seen_ns -= 11 * 10**9
    door.goes(0)
    door.goes(5)
    assert [made.name for made in door.decisions()] == ["Bob", ""]
    assert in_pictures_of(door, "Bob") == [""]


def test_a_snapshot_in_which_who_is_forgotten_cannot_be_covered_is_not_kept(door: Door) -> None:
    door.camera.snapshot = b"no picture"
    sees(door, stranger(HERS), bob(door))
    door.store.forget("Bob")
    door.goes(5)
    refused = next(event for event in door.events() if event.decision and event.decision.reason == "unknown")
    assert not refused.has_snapshot
    assert audit(reader(), []).findings == ()


def test_a_decision_says_whose_face_it_is_about(door: Door) -> None:
    sees(door, bob(door, picked=False), ada(door))
    assert [(made.name, made.track) for made in door.decisions()] == [("Ada", HERS)]
    assert snapshots.box_of(reader(), door.events()[-1].seq, HERS) == (20, 20, 80, 80)


def test_a_snapshot_with_two_faces_of_one_passage_does_not_say_whose_it_is(door: Door) -> None:
    """Two tracks at once, of which the second turned out to be the person on the first, who had gone."""
    sees(door, replace(stranger(HIS), quality=0.9), ada(door), times=1)
    sees(door, replace(ada(door), track=HIS, quality=0.7))
    assert [(made.name, made.track) for made in door.decisions()] == [("Ada", None)]


def test_a_place_from_before_it_was_bound_to_the_person_is_read(door: Door) -> None:
    sees(door, ada(door), bob(door))
    ledger = reader()
    with ledger.transaction() as rows:
        for seq, track, person, box, owner in ledger.all(
            "SELECT seq, track, person, box, owner FROM faces JOIN sealed USING (seq)"
        ):
            key = ledger.keys.get(owner)
            assert key
            place = msgspec.msgpack.encode(open_box(key, seq, track, person, box))
            bound = b"face", seq.to_bytes(8, "big"), track.to_bytes(8, "big")
            rows.execute(
                "UPDATE faces SET box = ? WHERE (seq, track, person) = (?, ?, ?)",
                (seal(key, place, *bound), seq, track, person),
            )
    assert audit(ledger, []).findings == ()
    assert snapshots.blur_out(ledger, bytes.fromhex(door.people["Bob"])) == (1, 0)
