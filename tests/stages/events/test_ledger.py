"""Decisions on real files: what is written comes back, what is erased does not, and a crash loses nothing."""

from __future__ import annotations

import os
import random
import resource
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import Failed, Usage
from stages.events import schema
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Kept, Order
from stages.events.retention import DAY_NS, RetentionConfig, retain
from tests.command import ROOT
from tests.stages.events.conftest import SNAPSHOT, Office, decision

ADA, BOB = "0a" * 16, "0b" * 16


def test_a_decision_comes_back_with_its_snapshot(office: Office) -> None:
    written = decision("opened", ADA)
    with office.ledger.commit() as commit:
        seq = commit.decide(written, SNAPSHOT, ())
        commit.note("clock", jumped_s=3600)

    again = office.again()

    clock, event = again.events()
    assert (event.seq, event.kind, event.camera, event.decision) == (seq, "opened", "cam0", written)
    assert again.snapshot(seq) == SNAPSHOT
    assert (clock.kind, clock.note, clock.has_snapshot) == ("clock", '{"jumped_s":3600}', False)
    assert again.events(before=clock.seq, limit=1) == [event]
    assert again.events(after=seq) == [clock]


def test_nothing_about_a_person_is_readable_on_disk(office: Office) -> None:
    office.decide("opened", ADA)
    content = office.content()
    for trace in (b"Ada", b"Lovelace", SNAPSHOT, b"0.71", b"nobody who"):
        assert trace not in content


def test_a_transaction_that_fails_leaves_nothing(office: Office) -> None:
    def fail() -> None:
        with office.ledger.commit() as commit:
            commit.decide(decision("opened", ADA), SNAPSHOT, ("mqtt",), [Order("front", 5, 10**9)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert office.ledger.events() == []
    assert office.ledger.all("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM commands") == []


def test_an_erased_person_is_nowhere_and_the_chain_says_erased(office: Office) -> None:
    hers = [office.decide("opened", ADA), office.decide("refused", ADA)]
    office.decide("opened", BOB)
    with office.ledger.commit() as commit:
        commit.move(ADA, True, 1)
        commit.move(BOB, True, 1)
    sealed = office.ledger.all("SELECT body, snapshot FROM sealed WHERE seq IN (?, ?)", hers)

    assert office.ledger.erase(bytes.fromhex(ADA)) == hers

    content = office.content()
    assert bytes.fromhex(ADA) not in content
    assert all(part not in content for row in sealed for part in row)
    events = {event.seq: event for event in office.again().events()}
    assert [events[seq].erased for seq in hers] == [True, True]
    assert [office.ledger.snapshot(seq) for seq in hers] == [None, None]
    assert office.ledger.presence(ADA) is None
    assert office.ledger.presence(BOB) == (True, 1)
    report = audit(office.ledger, [])
    assert (report.findings, report.erased) == ((), 2)


def test_a_crash_between_key_and_rows_is_an_erasure_that_is_finished_later(office: Office) -> None:
    seq = office.decide("opened", ADA)
    office.ledger.keys.destroy(bytes.fromhex(ADA))
    assert "lost its key" in audit(office.ledger, []).findings[0]
    assert office.again().sweep() == [seq]
    assert audit(office.ledger, []).findings == ()


def test_a_passage_is_kept_over_a_restart_and_dropped_with_its_key(office: Office) -> None:
    passage = Kept(secrets.token_hex(16), "cam0", "", False, 1, 2, 3, office.ledger.boot, b"a face")
    with office.ledger.commit() as commit:
        commit.keep(passage)
    assert office.again().passages() == [passage]
    assert b"a face" not in office.content()
    with office.ledger.commit() as commit:
        commit.drop(passage.id)
    assert office.again().passages() == []
    assert office.ledger.keys.get(bytes.fromhex(passage.id)) is None


def test_a_strangers_decision_outlives_the_passage(office: Office) -> None:
    passage = Kept(secrets.token_hex(16), "cam0", "", False, 1, 2, 3, office.ledger.boot, b"a face")
    with office.ledger.commit() as commit:
        commit.keep(passage)
    seq = office.decide(passage=passage.id)
    with office.ledger.commit() as commit:
        commit.drop(passage.id)
    assert office.again().snapshot(seq) == SNAPSHOT
    assert office.ledger.erase(bytes.fromhex(passage.id)) == [seq]


def test_keys_that_seal_nothing_are_tidied_away_and_no_others(office: Office) -> None:
    office.decide("opened", ADA)
    office.ledger.keys.new(b"x" * 16)
    office.ledger.tidy()
    assert office.ledger.keys.get(b"x" * 16) is None
    assert office.again().events()[0].decision


def test_a_badge_counts_until_it_expires_and_for_one_decision(office: Office) -> None:
    office.ledger.claim("front", "ff00", expires_ns=100)
    assert office.ledger.claimed("front", 99) == "ff00"
    assert office.ledger.claimed("front", 100) is None
    assert office.ledger.claimed("back", 99) is None
    with office.ledger.commit() as commit:
        commit.spend("front")
    assert office.ledger.claimed("front", 99) is None


def test_retention_cuts_a_prefix_and_the_chain_stays_whole(office: Office) -> None:
    now = time.time_ns()
    old = [office.decide("opened", ADA, at_ns=now - 400 * DAY_NS), office.decide(at_ns=now - 399 * DAY_NS)]
    stranger = office.decide(at_ns=now - 40 * DAY_NS)
    hers = office.decide("opened", ADA, at_ns=now - 39 * DAY_NS)
    new = office.decide("opened", BOB, at_ns=now)
    strangers_key = office.ledger.one("SELECT owner FROM sealed WHERE seq = ?", (old[1],))

    retain(office.ledger, RetentionConfig(events=365, strangers=30, snapshots=30))

    events = {event.seq: event for event in office.again().events()}
    assert not set(old) & set(events)
    assert events[stranger].erased
    assert events[hers].decision
    assert office.ledger.snapshot(hers) is None
    assert office.ledger.snapshot(new) == SNAPSHOT
    assert strangers_key
    assert office.ledger.keys.get(strangers_key[0]) is None
    report = audit(office.ledger, [])
    assert report.findings == ()
    assert f"rows up to {old[-1]} were cut off at a signed checkpoint" in report.remarks


def test_two_gates_on_one_database(places: Path) -> None:
    first = schema.lock(places / "home")
    with pytest.raises(Failed, match="another gate runs"):
        schema.lock(places / "home")
    os.close(first)
    os.close(schema.lock(places / "home"))


def test_keys_inside_of_the_data_are_refused(places: Path) -> None:
    with pytest.raises(Usage, match="FRAMEWIRE_KEYS"):
        Ledger(places / "home", places / "home" / "keys", create=True)


def test_no_events_yet(places: Path) -> None:
    with pytest.raises(Failed, match="run the gate first"):
        Ledger(places / "home", places / "keys")
    assert not (places / "home").exists()


@pytest.mark.parametrize("damage", ["corrupt", "newer", "keys", "other master", "no master"])
def test_what_cannot_be_used_is_told(office: Office, damage: str) -> None:
    office.decide("opened", ADA)
    office.ledger.close()
    sentence = _damage(office, damage)
    with pytest.raises(Failed, match=sentence):
        office.again().events()


def _damage(office: Office, damage: str) -> str:
    path, master = office.home / "gate.sqlite", office.keys.parent / "master.key"
    if damage == "corrupt":
        path.write_bytes(b"\1" * 8192)
        return "are damaged"
    if damage == "newer":
        office.tamper("PRAGMA user_version = 9")
        return "newer framewire"
    if damage == "keys":
        (key_file,) = office.keys.iterdir()
        key_file.unlink()
        return "put that file back"
    master.chmod(0o600)
    if damage == "other master":
        master.write_bytes(bytes(32))
        return "another master key"
    master.unlink()
    return "the master key is not at"


def test_a_locked_database_is_waited_for_and_then_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.1)
    other = sqlite3.connect(office.home / "gate.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    late = office.again()
    with pytest.raises(Failed, match="locked"), late.commit() as commit:
        commit.note("started")
    other.execute("ROLLBACK")
    with late.commit() as commit:
        commit.note("started")
    other.close()


@contextmanager
def _room(size: int) -> Iterator[None]:
    """A limit on the size of files stands in for a full disk: the same error, and as little is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_loses_nothing(office: Office) -> None:
    seq = office.decide("opened", ADA)
    size = max(path.stat().st_size for path in office.home.iterdir())
    with _room(size):
        told = [_refusal(office) for _ in range(50)]
    assert any(told)
    assert all("room" in sentence for sentence in told if sentence)
    assert office.decide("refused", ADA) > seq
    assert audit(office.ledger, []).findings == ()


def _refusal(office: Office) -> str:
    try:
        office.decide("opened", ADA)
    except Failed as error:
        return str(error)
    return ""


WRITER = """
import sys
from pathlib import Path
from stages.events.ledger import Ledger
from tests.stages.events.conftest import SNAPSHOT, decision
from stages.events.records import Order
ledger = Ledger(Path(sys.argv[1]), Path(sys.argv[2]))
while True:
    with ledger.commit() as commit:
        seq = commit.decide(decision("opened", "0a" * 16), SNAPSHOT, ["x"], [Order("front", 5, 10**9)])
    print(seq, flush=True)
"""


def test_a_killed_writer_loses_no_decision_that_it_told_of(office: Office) -> None:
    luck = random.Random(5)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(office.home), str(office.keys)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as process:
            assert process.stdout
            told = [int(process.stdout.readline()) for _ in range(luck.randint(1, 12))]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout if line.endswith("\n")]
        kept = {event.seq for event in office.ledger.events(limit=10_000)}
        assert set(told) <= kept
        orders = office.ledger.all("SELECT seq FROM commands")
        notices = office.ledger.all("SELECT seq FROM outbox")
        assert {seq for (seq,) in orders} == {seq for (seq,) in notices} == kept
    assert audit(office.ledger, []).findings == ()
