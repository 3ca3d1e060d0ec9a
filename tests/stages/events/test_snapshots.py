"""Who stands in the snapshot of another's decision: found by id, covered once forgotten, and an audit says why."""

from __future__ import annotations

import hashlib
import time

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages import mosaic
from stages.events import snapshots
from stages.events.audit import audit
from stages.events.records import Face
from stages.events.retention import DAY_NS, RetentionConfig
from tests.stages.events.conftest import Office, decision, retain_all

ADA, BOB, CID = "0a" * 16, "0b" * 16, "0c" * 16
HERS, HIS, THEIRS = (Face(track, (40.0 + 200 * track, 40.0, 90.0 + 200 * track, 90.0)) for track in range(3))
NOISE = np.random.default_rng(0).integers(0, 256, (240, 600, 3), np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()


def decide(office: Office, *faces: Face, person: str = ADA, snapshot: bytes = JPEG, **more: object) -> int:
    made = decision("opened", person, frame_sha256=hashlib.sha256(snapshot).hexdigest(), **more)
    with office.ledger.commit() as commit:
        return commit.decide(made, snapshot, (), faces=faces)


def of(face: Face, person: str) -> Face:
    return Face(face.track, face.box, person)


def blur_out(office: Office, person: str) -> tuple[int, int]:
    return snapshots.blur_out(office.ledger, bytes.fromhex(person))


def changed(office: Office, seq: int, face: Face) -> float:
    """How much of what is to be seen of a face is another picture."""
    return float(np.abs(part(JPEG, face) - part(office.again().snapshot(seq), face)).mean())


def part(jpeg: bytes | None, face: Face) -> NDArray[np.int_]:
    assert jpeg
    left, top, right, bottom = map(int, face.box)
    picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    return picture[top:bottom, left:right].astype(int)


def test_who_is_forgotten_is_covered_in_the_snapshots_of_others(office: Office) -> None:
    seq = decide(office, HERS, of(HERS, ADA), HIS, of(HIS, BOB), THEIRS)
    other = decide(office, HERS)
    before = office.ledger.one("SELECT snapshot FROM sealed WHERE seq = ?", (seq,))
    assert before
    assert snapshots.showing(office.ledger, bytes.fromhex(BOB)) == [seq]
    assert snapshots.showing(office.ledger, bytes.fromhex(ADA)) == []

    assert blur_out(office, BOB) == (1, 0)

    assert changed(office, seq, HIS) > 40
    assert max(changed(office, seq, face) for face in (HERS, THEIRS)) < 10
    assert office.ledger.snapshot(other) == JPEG
    assert bytes.fromhex(BOB) not in office.content()
    assert before[0] not in office.content()
    report = audit(office.ledger, [])
    assert report.findings == ()
    assert "in 1 snapshots a face is covered, as rows say" in report.remarks
    assert blur_out(office, BOB) == (0, 0)


def test_who_is_recognized_only_later_is_in_the_snapshot_from_before(office: Office) -> None:
    seq = decide(office, HERS, HIS)
    with office.ledger.commit() as commit:
        for person in (CID, BOB, BOB):
            commit.recognize(HIS.track, person)
    assert blur_out(office, BOB) == (1, 0)
    assert changed(office, seq, HIS) > 40
    assert snapshots.showing(office.ledger, bytes.fromhex(CID)) == [seq], "for whom the same face was taken before"
    assert audit(office.ledger, []).findings == ()
    assert blur_out(office, CID) == (1, 0)


def test_where_a_damaged_face_is_stays_unknown_whoever_it_turns_out_to_be(office: Office) -> None:
    seq = decide(office, HERS, HIS)
    office.tamper(f"UPDATE faces SET box = zeroblob(60) WHERE track = {HIS.track}")
    with office.ledger.commit() as commit:
        commit.recognize(HIS.track, BOB)
    assert blur_out(office, BOB) == (0, 1)
    assert office.ledger.snapshot(seq) is None


def test_a_stranger_who_was_recognized_later_is_covered_in_their_own_refusal(office: Office) -> None:
    seq = decide(office, HIS, person="")
    with office.ledger.commit() as commit:
        commit.recognize(HIS.track, BOB)
    assert blur_out(office, BOB) == (1, 0)
    assert changed(office, seq, HIS) > 40


@pytest.mark.parametrize("harm", ["no picture", "damaged", "track", "without its key"])
def test_a_snapshot_that_cannot_be_covered_is_removed(office: Office, harm: str) -> None:
    seq = decide(office, of(HIS, BOB), snapshot=b"no picture" if harm == "no picture" else JPEG)
    if harm == "damaged":
        office.tamper(f"UPDATE sealed SET snapshot = zeroblob(99) WHERE seq = {seq}")
    elif harm == "track":
        office.tamper("UPDATE faces SET track = -1")
    elif harm == "without its key":
        office.ledger.keys.destroy(bytes.fromhex(ADA))

    assert blur_out(office, BOB) == (0, 1)

    assert office.ledger.snapshot(seq) is None
    assert bytes.fromhex(BOB) not in office.content()
    report = audit(office.ledger, [])
    assert not [finding for finding in report.findings if "snapshot" in finding]
    assert "1 snapshots were removed, as tombstones say" in report.remarks


def test_two_who_are_forgotten_at_once_are_both_covered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    seq = decide(office, of(HIS, BOB), of(THEIRS, CID))
    real = mosaic.covered

    def beside(jpeg: bytes, boxes: list[mosaic.Box]) -> bytes:
        monkeypatch.setattr(snapshots, "covered", real)
        assert blur_out(office, CID) == (1, 0)
        return real(jpeg, boxes)

    monkeypatch.setattr(snapshots, "covered", beside)
    assert blur_out(office, BOB) == (1, 0)
    assert min(changed(office, seq, face) for face in (HIS, THEIRS)) > 40
    assert audit(office.ledger, []).findings == ()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE sealed SET snapshot = (SELECT snapshot FROM kept)", "the snapshot of row 1 is not the one that it"),
        ("UPDATE sealed SET snapshot = NULL", "the snapshot of row 1 is missing, and no tombstone says why"),
        ("DELETE FROM notes", "what belongs to row 2 is missing"),
        ("INSERT INTO faces SELECT 9, 1, owner, owner FROM sealed", "something here belongs to rows that are missing"),
    ],
)
def test_an_audit_finds_what_somebody_did_to_a_covered_snapshot(office: Office, statement: str, finding: str) -> None:
    decide(office, of(HIS, BOB))
    office.tamper("CREATE TABLE kept AS SELECT snapshot FROM sealed")
    blur_out(office, BOB)
    assert audit(office.ledger, []).findings == ()
    office.tamper(statement)
    assert any(sentence.startswith(finding) for sentence in audit(office.ledger, []).findings)


@pytest.mark.parametrize("how", ["erased", "snapshots", "events"])
def test_who_stands_in_a_snapshot_goes_with_it(office: Office, how: str) -> None:
    now = time.time_ns()
    decide(office, HIS, of(HIS, BOB), at_ns=now - 10 * DAY_NS)
    kept = decide(office, HIS, of(HIS, BOB), person=CID, at_ns=now)
    if how == "erased":
        office.ledger.erase(bytes.fromhex(ADA))
    else:
        retain_all(office.ledger, RetentionConfig(**{how: 7.0}))
    assert office.ledger.all("SELECT DISTINCT seq FROM faces") == [(kept,)]
    assert audit(office.ledger, []).findings == ()


def test_all_of_whom_something_is_noted_are_known_for_who_follows_the_gallery(office: Office) -> None:
    seq = decide(office, HIS, of(HIS, BOB))
    noted = snapshots.Noted(office.ledger)
    assert noted.owners() == {bytes.fromhex(ADA), bytes.fromhex(BOB)}
    noted.erase(bytes.fromhex(BOB))
    assert noted.owners() == {bytes.fromhex(ADA)}
    assert changed(office, seq, HIS) > 40


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE faces SET seq = 1",
        "UPDATE faces SET track = 5",
        "UPDATE faces SET track = -5",
        "UPDATE faces SET box = zeroblob(60)",
        f"UPDATE faces SET person = x'{CID}' WHERE person = x'{BOB}'",
        f"INSERT INTO faces SELECT seq, track, x'{CID}', box FROM faces WHERE person = x''",
        f"INSERT INTO faces SELECT seq, track, x'{CID}', box FROM faces WHERE person = x'{BOB}'",
        "DELETE FROM faces WHERE person = x''",
    ],
)
def test_an_audit_finds_faces_that_were_not_noted_there(office: Office, statement: str) -> None:
    decide(office)
    decide(office, HIS, of(HIS, BOB))
    office.tamper(statement)
    (finding,) = audit(office.ledger, []).findings
    assert finding.startswith("who stands in the snapshot of row")
