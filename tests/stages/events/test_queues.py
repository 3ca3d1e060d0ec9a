"""Notices at least once and in order, door commands at most once."""

from __future__ import annotations

import time

import pytest

from stages.events.audit import audit
from stages.events.queues import LONGEST_S, Commands, Outbox
from stages.events.records import Order
from tests.stages.events.conftest import Office, decision

ADA, BOB = "0a" * 16, "0b" * 16


def order(office: Office, within_ns: int = 10**10, *, person: str = ADA, inside: bool = True) -> int:
    """A decision by which Ada, or another, comes in or goes out."""
    with office.ledger.commit() as commit:
        given = decision("opened", person, frame_sha256="")
        seq = commit.decide(given, b"", (), [Order("front", 5.0, within_ns)])
        commit.move(person, inside, seq, seq)
        return seq


def test_notices_come_in_order_and_again_until_they_are_done(office: Office) -> None:
    seqs = [office.decide("opened", ADA, outputs=("mqtt", "hook")) for _ in range(3)]
    outbox = Outbox(office.ledger, "mqtt")
    first = outbox.next()
    assert first
    assert first == Outbox(office.again(), "mqtt").next()  # after a restart, with the same key
    assert (first.notice.seq, first.notice.name) == (seqs[0], "Ada Lovelace")
    assert first.notice.head.hash == office.ledger.all("SELECT hash FROM chain")[0][0].hex()
    outbox.done(first.id)
    told = []
    while delivery := outbox.next():
        told.append(delivery.notice.seq)
        outbox.done(delivery.id)
    assert told == seqs[1:]
    assert Outbox(office.ledger, "hook").waiting() == (3, "")


def test_what_failed_is_tried_again_when_it_is_due_and_holds_up_what_is_behind_it(office: Office) -> None:
    for _ in range(2):
        office.decide("opened", ADA, outputs=("mqtt",))
    outbox = Outbox(office.ledger, "mqtt")
    first = outbox.next()
    assert first
    outbox.failed(first.id, "nobody answers", LONGEST_S)
    assert outbox.next() is None
    assert outbox.waiting() == (2, "nobody answers")
    outbox.failed(first.id, "nobody answers", -1)
    again = outbox.next()
    assert again
    assert (again.notice, again.attempts) == (first.notice, 2)


def test_of_an_erased_person_nobody_is_told(office: Office) -> None:
    office.decide("opened", ADA, outputs=("mqtt",))
    seq = office.decide("opened", BOB, outputs=("mqtt",))
    office.ledger.erase(bytes.fromhex(ADA))
    found = Outbox(office.ledger, "mqtt").next()
    assert found
    assert found.notice.seq == seq


def test_of_a_damaged_decision_is_told_what_its_row_says(office: Office) -> None:
    seq = office.decide("opened", ADA, outputs=("mqtt",))
    office.tamper("UPDATE sealed SET body = zeroblob(length(body))")
    found = Outbox(office.ledger, "mqtt").next()
    assert found
    told = found.notice
    assert (told.seq, told.camera, told.outcome, told.reason, told.name) == (seq, "cam0", "opened", "damaged", "")
    assert told.head == office.ledger.head()


def test_a_command_is_carried_out_once(office: Office) -> None:
    seq = order(office)
    commands = Commands(office.ledger, "front")
    command = commands.take()
    assert command
    assert (command.seq, command.seconds) == (seq, 5.0)
    assert Commands(office.again(), "front").take() is None
    commands.finish(command)
    assert office.ledger.presence(ADA) == (True, seq)
    assert commands.recover() == []
    assert len(office.ledger.events()) == 1


def test_a_command_that_somebody_gives_again_opens_nothing_and_is_written_down(office: Office) -> None:
    seq = order(office)
    commands = Commands(office.ledger, "front")
    command = commands.take()
    assert command
    for finished in (False, True):
        if finished:
            commands.finish(command)
        office.tamper("UPDATE commands SET state = 'given'")
        assert commands.take() is None
        assert '"state":"forged","detail":"it was carried out before"' in office.ledger.events()[0].note
    assert office.ledger.presence(ADA) == (True, seq)
    order(office)
    assert commands.take()


def test_a_command_whose_outcome_a_crash_hid_is_not_repeated_and_that_is_written_down(office: Office) -> None:
    order(office)
    command = Commands(office.ledger, "front").take()
    restarted = Commands(office.again(), "front")
    assert command
    assert [one.id for one in restarted.recover()] == [command.id]
    assert restarted.take() is None
    assert office.ledger.presence(ADA) == (True, command.seq)  # she may have come in
    event = office.ledger.events()[0]
    assert event.kind == "command"
    assert '"state":"unknown"' in event.note


def test_a_command_that_is_late_moves_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first = order(office, within_ns=0)
    with monkeypatch.context() as before:
        before.setattr(office.ledger, "boot", "another")
        last = order(office, person=BOB)
    assert Commands(office.ledger, "front").take() is None
    assert office.ledger.all("SELECT state FROM commands") == [("expired",), ("expired",)]
    assert office.ledger.presence(ADA) == (False, first + 1)
    assert office.ledger.presence(BOB) == (False, last + 1)
    notes = [event.note for event in office.ledger.events() if event.kind == "command"]
    assert len(notes) == 2
    assert all('"state":"expired"' in note for note in notes)  # the decisions say that the door opened


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commands SET seq = 1",
        "UPDATE commands SET seq = 3",
        "UPDATE commands SET id = 'again'",
        "UPDATE commands SET door = 'back'",
        "UPDATE commands SET seconds = 3600",
        "UPDATE commands SET expires_ns = expires_ns + 1",
        "UPDATE commands SET signature = x''",
    ],
)
def test_an_order_that_the_gate_did_not_give_opens_nothing_and_is_found(office: Office, statement: str) -> None:
    office.decide()
    order(office)
    office.decide("opened", ADA)
    office.tamper(statement)
    ((door, seq),) = office.ledger.all("SELECT door, seq FROM commands")
    assert Commands(office.ledger, door).take() is None
    assert '"state":"forged"' in office.ledger.events()[0].note
    assert Commands(office.ledger, door).recover() == []
    assert audit(office.ledger, []).findings == (
        f"an order to open {door} at row {seq} is not one that this gate gave",
    )


def test_an_order_of_an_erased_person_stays_explained(office: Office) -> None:
    order(office)
    office.ledger.erase(bytes.fromhex(ADA))
    assert audit(office.ledger, []).findings == ()


def test_waiting_for_the_database_counts_against_a_command(office: Office) -> None:
    begun_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with office.ledger.commit() as commit:
        while time.clock_gettime_ns(time.CLOCK_BOOTTIME) <= begun_ns + 2_000_000:
            pass
        commit.decide(decision("opened", ADA), b"", (), [Order("front", 5.0, 1_000_000)])
    assert Commands(office.ledger, "front").take() is None


def test_a_failure_of_the_door_is_written_down(office: Office) -> None:
    order(office)
    commands = Commands(office.ledger, "front")
    command = commands.take()
    assert command
    commands.finish(command, "the relay does not answer")
    assert "the relay does not answer" in office.ledger.events()[0].note
    assert office.ledger.presence(ADA) == (False, command.seq + 1)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_door_that_fails_leaves_who_is_inside_as_it_was(office: Office, before: bool, inside: bool) -> None:
    """Where passback is off somebody may come in twice."""
    commands = Commands(office.ledger, "front")
    for seen in (before, inside):
        seq = order(office, inside=seen)
        command = commands.take()
        assert command
        commands.finish(command, "" if command.seq == 1 else "the relay does not answer")
    assert office.ledger.presence(ADA) == (before, seq + 1)


def test_a_door_that_fails_takes_back_nothing_that_came_after_it(office: Office) -> None:
    commands = Commands(office.ledger, "front")
    order(office)
    command = commands.take()
    later = order(office)
    assert command
    commands.finish(command, "the relay does not answer")
    assert office.ledger.presence(ADA) == (True, later)


def test_what_is_taken_back_is_given_to_the_other_hosts_whatever_they_were_given_before(office: Office) -> None:
    seq = order(office)
    ada, commands = bytes.fromhex(ADA), Commands(office.ledger, "front")
    given = office.ledger.own_moves()
    office.ledger.follow_moves(given, given)
    assert office.ledger.own_moves() == []
    command = commands.take()
    assert command
    commands.finish(command, "the relay does not answer")
    assert office.ledger.own_moves() == [(ada, False, seq + 1)]
    office.ledger.follow_moves(given, given)  # they were given the first, and answer only now
    assert office.ledger.own_moves() == [(ada, False, seq + 1)]
    office.ledger.follow_moves([(ada, False, seq + 1)], [(ada, True, 99)])  # by another host's door, since
    assert (office.ledger.own_moves(), office.ledger.presence(ADA)) == ([], (True, 99))


def test_a_clock_that_is_set_back_does_not_stop_deliveries(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.decide("opened", ADA, outputs=("mqtt",))
    outbox = Outbox(office.ledger, "mqtt")
    first = outbox.next()
    assert first
    outbox.failed(first.id, "no", 1)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    assert outbox.next() is not None
