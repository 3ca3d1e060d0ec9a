"""Clips of decisions on real files: sealed, replaced, erased, kept for so long, and missed where somebody took one."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from pipeline.errors import Failed
from stages.events import clips
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Clip, Sighting
from stages.events.retention import RetentionConfig
from tests.stages.events.conftest import BACK_TO_1, SNAPSHOT, Office, decision, retain_all

ADA, BOB = "0a" * 16, "0b" * 16
MP4 = b"\0\0\0\x18ftypisom, moving pictures"


def of(*people: str, mp4: bytes = MP4) -> Clip:
    return Clip(mp4, tuple(Sighting(person, 40_000_000, (1.0, 2.0, 30.0, 40.0)) for person in people))


def files(office: Office) -> list[Path]:
    return sorted((office.home / "clips").glob("*"))


def findings(office: Office) -> tuple[str, ...]:
    return audit(office.ledger, []).findings


def test_a_clip_comes_back_and_is_not_readable_on_disk(office: Office) -> None:
    seq = office.decide("opened", ADA)
    assert clips.get(office.ledger, seq) is None

    assert clips.put(office.ledger, seq, of(ADA, BOB))

    assert clips.get(office.again(), seq) == of(ADA, BOB)
    assert {event.seq: event.has_clip for event in office.again().events()}[seq]
    assert b"moving pictures" not in office.content()
    assert findings(office) == ()
    assert clips.showing(office.ledger, bytes.fromhex(BOB)) == [seq]
    assert clips.showing(office.ledger, bytes.fromhex(ADA)) == []


def test_a_clip_whose_row_is_damaged_is_said_to_be(office: Office) -> None:
    seq = office.decide("opened", ADA)
    clips.put(office.ledger, seq, of(ADA))
    strict = "SET sql = replace(sql, ') STRICT', ')') WHERE name = 'clips'"  # SQLite itself would not write it
    office.tamper("PRAGMA writable_schema = ON", f"UPDATE sqlite_schema {strict}")
    office.tamper("UPDATE clips SET digest = 'text'")
    with pytest.raises(Failed, match="missing or damaged"):
        clips.get(office.again(), seq)
    for job in (clips.sweep, lambda ledger: ledger.erase(bytes.fromhex(ADA))):
        with pytest.raises(Failed, match="are damaged"):
            job(office.again())
    assert audit(office.again(), []).findings == (f"the clip of row {seq} is missing, and no tombstone says why",)


def test_a_clip_that_is_put_again_replaces_the_file(office: Office) -> None:
    seq = office.decide("opened", ADA)
    clips.put(office.ledger, seq, of(ADA, BOB))
    (before,) = files(office)
    blocks = office.home / "blocks"
    blocks.hardlink_to(before)

    clips.put(office.ledger, seq, of(ADA, mp4=b"blurred"))

    assert not before.exists()
    assert not any(blocks.read_bytes()), "its key is still there"
    assert clips.get(office.ledger, seq) == of(ADA, mp4=b"blurred")
    assert clips.showing(office.ledger, bytes.fromhex(BOB)) == []
    assert findings(office) == ()


def test_who_is_erased_takes_their_clips_along(office: Office) -> None:
    hers, his = office.decide("opened", ADA), office.decide("opened", BOB)
    for seq in (hers, his):
        clips.put(office.ledger, seq, of(ADA))

    office.ledger.erase(bytes.fromhex(ADA))

    assert [path.name.partition("-")[0] for path in files(office)] == [str(his)]
    assert clips.get(office.ledger, hers) is None
    assert not clips.put(office.ledger, hers, of(ADA)), "it was still being written"
    assert [path.name.partition("-")[0] for path in files(office)] == [str(his)]
    assert findings(office) == ()


def test_clips_are_kept_for_so_many_days(office: Office) -> None:
    old = office.decide("refused", at_ns=time.time_ns() - 10 * 86_400 * 10**9)
    new = office.decide("refused", at_ns=time.time_ns())
    for seq in (old, new):
        clips.put(office.ledger, seq, of())

    retain_all(office.ledger, RetentionConfig(clips=7))

    assert [clips.get(office.ledger, seq) for seq in (old, new)] == [None, of()]
    assert len(files(office)) == 1
    assert office.ledger.snapshot(old) == SNAPSHOT
    assert findings(office) == ()


def test_what_is_cut_off_takes_its_clips_along(office: Office) -> None:
    seq = office.decide("refused", at_ns=time.time_ns() - 10 * 86_400 * 10**9)
    clips.put(office.ledger, seq, of())

    retain_all(office.ledger, RetentionConfig(events=7))

    assert files(office) == []
    assert findings(office) == ()


def test_clips_can_be_removed_by_themselves(office: Office) -> None:
    seq = office.decide("refused")
    clips.put(office.ledger, seq, of())

    clips.remove(office.ledger, [seq])

    assert clips.get(office.ledger, seq) is None
    assert files(office) == []
    assert findings(office) == ()


@pytest.mark.parametrize("harm", ["changed", "deleted", "row gone", "swapped", "invented", "owner", "shown"])
def test_an_audit_finds_what_somebody_did_to_a_clip(office: Office, harm: str) -> None:
    first, second = office.decide("refused"), office.decide("refused")
    for seq in (first, second):
        clips.put(office.ledger, seq, of(mp4=MP4 + bytes([seq])))
    one, other = files(office)
    match harm:
        case "changed":
            *rest, last = one.read_bytes()
            one.write_bytes(bytes([*rest, last ^ 1]))
            told = f"the clip of row {first} was changed"
        case "deleted":
            one.unlink()
            told = f"the clip of row {first} is missing, and no tombstone says why"
        case "row gone":
            office.tamper(f"DELETE FROM clips WHERE seq = {first}")
            told = f"the clip of row {first} is missing, and no tombstone says why"
        case "swapped":
            one.write_bytes(other.read_bytes())
            told = f"the clip of row {first} was changed"
        case "owner":
            office.tamper(f"UPDATE clips SET owner = zeroblob(16) WHERE seq = {first}")
            told = f"the clip of row {first} is not with whom its decision is about"
        case "shown":
            office.tamper(f"INSERT INTO shown VALUES (x'{ADA}', {first})")
            told = f"who is to be seen in the clip of row {first} was changed"
        case _:
            third = office.decide("refused")
            office.tamper(f"INSERT INTO clips SELECT {third}, owner, digest FROM clips WHERE seq = {first}")
            told = f"there is a clip of row {third}, and no row says so"
    assert told in findings(office)


def test_an_audit_finds_who_was_taken_out_beside_a_clip(office: Office) -> None:
    """They would not be covered in it once they are forgotten."""
    seq = office.decide("refused")
    clips.put(office.ledger, seq, of(ADA, BOB))
    office.tamper(f"DELETE FROM shown WHERE person = x'{BOB}'")
    assert findings(office) == (f"who is to be seen in the clip of row {seq} was changed",)


@pytest.mark.parametrize("harm", ["changed", "deleted"])
def test_a_clip_that_does_not_open_is_a_sentence(office: Office, harm: str) -> None:
    seq = office.decide("refused")
    clips.put(office.ledger, seq, of())
    (path,) = files(office)
    if harm == "changed":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(Failed, match=f"the clip of event {seq} is missing or damaged: run `gate audit`"):
        clips.get(office.ledger, seq)


def test_a_file_that_a_crash_left_without_a_row_is_swept_out(office: Office) -> None:
    seq = office.decide("refused")
    clips.put(office.ledger, seq, of())
    (path,) = files(office)
    for name in ("9-0123456789abcdef.clip", f"{path.name}.part"):
        path.with_name(name).write_bytes(b"half")
    clips.sweep(office.ledger)
    assert len(files(office)) == 3, "somebody may be about to write their rows"
    for file in files(office):
        os.utime(file, (0, 0))

    clips.sweep(office.ledger)

    assert files(office) == [path]


def test_a_file_whose_row_is_replaced_or_gone_is_swept_out_however_young_it_is(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers, his = office.decide("opened", ADA), office.decide("opened", BOB)
    for seq in (hers, his):
        clips.put(office.ledger, seq, of(ADA))
    left = files(office)
    with monkeypatch.context() as crash:
        crash.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clips.put(office.ledger, his, of(mp4=b"blurred"))
        with pytest.raises(ZeroDivisionError):
            office.ledger.erase(bytes.fromhex(ADA))
    about_to_be_named = left[0].with_name("2-0123456789abcdef.clip")
    about_to_be_named.write_bytes(b"")

    clips.sweep(office.ledger)

    assert not set(left) & set(files(office))
    assert about_to_be_named in files(office)
    assert clips.get(office.ledger, his) == of(mp4=b"blurred")
    assert findings(office) == ()


def test_an_audit_names_files_that_no_row_names(office: Office) -> None:
    seq = office.decide("refused")
    clips.put(office.ledger, seq, of())
    stray = office.ledger.clips / "9-0123456789abcdef.clip"
    stray.write_bytes(b"somebody's face")
    assert findings(office) == (), "its row may be about to be written"
    os.utime(stray, (0, 0))
    assert findings(office) == (
        f"no row names the file {stray}: a crash left it; the next start of the gate removes it",
    )


def test_a_ledger_of_the_first_schema_is_brought_up_to_date_and_a_copy_kept(office: Office) -> None:
    seq = office.decide("opened", ADA)
    office.tamper(*BACK_TO_1)

    ledger = office.again()

    assert clips.put(ledger, seq, of(ADA))
    assert [event.decision and event.decision.name for event in ledger.events(before=seq + 1)] == ["Ada Lovelace"]
    copy = office.home / "gate.sqlite.v1"
    assert os.stat(copy).st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as rows:
        assert rows.execute("PRAGMA user_version").fetchone() == (1,)
        assert rows.execute("SELECT count(*) FROM chain").fetchone() == (1,)
    rows.close()


def test_a_ledger_of_the_future_is_refused(office: Office) -> None:
    office.decide()
    office.tamper("PRAGMA user_version = 99")
    with pytest.raises(Failed, match="newer framewire"):
        Ledger(office.home, office.keys)


def test_a_clip_of_what_was_never_decided_is_not_kept(office: Office) -> None:
    with office.ledger.commit() as commit:
        seq = commit.note("clock", jumped_s=1)
        commit.decide(decision(), SNAPSHOT, ())
    assert not clips.put(office.ledger, seq, of())
    assert files(office) == []
