"""Decisions on real files: what is written comes back, what is erased does not, and a crash loses nothing."""

from __future__ import annotations

import secrets

import pytest

from stages.events.audit import audit
from stages.events.queues import Outbox
from stages.events.records import Kept, Order
from stages.events.retention import RetentionConfig
from tests.stages.events.conftest import SNAPSHOT, Office, decision, retain_all

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
    assert again.follow(0, limit=1) == [event]
    assert again.follow(seq) == [clock]


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
        commit.move(ADA, True, 1, None)
        commit.move(BOB, True, 1, None)
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


def test_a_crash_between_rows_and_key_is_an_erasure_that_is_finished_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = office.decide("opened", ADA)
    with monkeypatch.context() as crash:
        crash.setattr(office.ledger.keys, "destroy", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            office.ledger.erase(bytes.fromhex(ADA))
    again = office.again()
    assert audit(again, []).findings == ()
    assert [event.erased for event in again.events(before=seq + 1)] == [True]
    again.tidy()
    assert again.keys.get(bytes.fromhex(ADA)) is None


def test_who_is_erased_leaves_no_open_passage_and_no_badge(office: Office) -> None:
    hers, somebodys, his = (
        Kept(secrets.token_hex(16), "cam0", who, bool(who), 1, 2, 3, office.ledger.boot, b"a face")
        for who in (ADA, "", BOB)
    )
    with office.ledger.commit() as commit:
        for passage in (hers, somebodys, his):
            commit.keep(passage)
        commit.claim("front", "ff00", expires_ns=1 << 62)

    office.ledger.erase(bytes.fromhex(ADA))

    assert office.again().passages() == [his]
    assert office.ledger.claimed("front", 1) is None
    assert office.ledger.keys.owners() & {bytes.fromhex(hers.id), bytes.fromhex(somebodys.id)} == set()


def test_an_event_that_is_damaged_hides_no_other(office: Office) -> None:
    bad, good = office.decide("opened", ADA, outputs=("mqtt",)), office.decide("opened", ADA, outputs=("mqtt",))
    office.tamper(f"UPDATE sealed SET body = zeroblob(99) WHERE seq = {bad}")
    newer, older = office.ledger.events()
    assert (older.seq, older.decision, older.damaged, older.erased) == (bad, None, True, False)
    assert newer.decision
    outbox, told = Outbox(office.ledger, "mqtt"), []
    while delivery := outbox.next():
        told.append(delivery.notice.seq)
        outbox.done(delivery.id)
    assert told == [bad, good]
    retain_all(office.ledger, RetentionConfig(events=None, strangers=1, snapshots=None))
    assert audit(office.ledger, []).findings[0] == f"what belongs to row {bad} was changed"


def test_a_decision_in_the_transaction_that_drops_its_passage_keeps_the_key(office: Office) -> None:
    passage = secrets.token_hex(16)
    with office.ledger.commit() as commit:
        commit.keep(Kept(passage, "cam0", "", False, 1, 2, 3, office.ledger.boot, b"a face"))
        commit.drop(passage)
        seq = commit.decide(decision(passage=passage), SNAPSHOT, ())
    assert office.again().snapshot(seq) == SNAPSHOT


def test_passages_without_a_key_are_swept_away(office: Office) -> None:
    kept = [Kept(secrets.token_hex(16), "cam0", "", False, n, 2, 3, office.ledger.boot, b"a face") for n in range(2)]
    with office.ledger.commit() as commit:
        for passage in kept:
            commit.keep(passage)
    office.ledger.keys.destroy(bytes.fromhex(kept[0].id))
    office.ledger.sweep()
    assert office.ledger.all("SELECT id FROM passages") == [(bytes.fromhex(kept[1].id),)]


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


def test_an_older_log_that_was_put_back_destroys_no_key_of_the_newer_one(office: Office) -> None:
    """In whose original the events stay readable."""
    office.decide("opened", ADA)
    office.ledger.close()
    older = (office.home / "gate.sqlite").read_bytes()
    between = office.again()
    with between.commit() as commit:
        seq = commit.decide(decision("opened", BOB), SNAPSHOT, ())
    between.close()
    newer = (office.home / "gate.sqlite").read_bytes()
    (office.home / "gate.sqlite").write_bytes(older)
    started = office.again()

    started.tidy()
    started.erase(bytes.fromhex(ADA))
    started.close()

    (office.home / "gate.sqlite").write_bytes(newer)
    assert office.again().snapshot(seq) == SNAPSHOT


def test_a_badge_counts_until_it_expires_and_for_one_decision(office: Office) -> None:
    office.ledger.claim("front", "ff00", expires_ns=100)
    assert office.ledger.claimed("front", 99) == "ff00"
    assert office.ledger.claimed("front", 100) is None
    assert office.ledger.claimed("back", 99) is None
    with office.ledger.commit() as commit:
        commit.spend("front", "another")
    assert office.ledger.claimed("front", 99) == "ff00"
    with office.ledger.commit() as commit:
        commit.spend("front", "ff00")
    assert office.ledger.claimed("front", 99) is None


def test_a_badge_that_was_shown_does_not_count_after_a_reboot(office: Office) -> None:
    office.ledger.claim("front", "hmac", 10**18)
    rebooted = office.again()
    assert rebooted.claimed("front", 0) == "hmac"
    rebooted.boot = "another"
    assert rebooted.claimed("front", 0) is None
