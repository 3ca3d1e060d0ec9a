"""What is too old goes, at a signed checkpoint, and a wrong clock takes nothing along."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from stages.enrolment.forgetting import forgotten
from stages.events.audit import audit
from stages.events.retention import DAY_NS, RetentionConfig, retain
from stages.events.snapshots import Noted
from stages.gallery.store import Store
from tests.stages.events.conftest import BACK_TO_1, SNAPSHOT, Office, retain_all

ADA, BOB, CID, DAN = "0a" * 16, "0b" * 16, "0c" * 16, "0d" * 16


def test_retention_cuts_a_prefix_and_the_chain_stays_whole(office: Office) -> None:
    now = time.time_ns()
    old = [office.decide("opened", ADA, at_ns=now - 400 * DAY_NS), office.decide(at_ns=now - 399 * DAY_NS)]
    stranger = office.decide(at_ns=now - 40 * DAY_NS)
    hers = office.decide("opened", ADA, at_ns=now - 39 * DAY_NS)
    new = office.decide("opened", BOB, at_ns=now)
    strangers_key = office.ledger.one("SELECT owner FROM sealed WHERE seq = ?", (old[1],))

    retain_all(office.ledger, RetentionConfig(events=365, strangers=30, snapshots=30))

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


def test_much_that_is_too_old_goes_in_several_transactions(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to write meanwhile, as for the order to a door, does not wait for all of it."""
    monkeypatch.setattr("stages.events.retention.PORTION", 2)
    other = office.again()
    for _ in range(5):
        office.decide("opened", ADA, at_ns=time.time_ns() - 40 * DAY_NS)
    written = 0
    for _ in retain(office.ledger, RetentionConfig()):
        with other.commit() as commit:
            written = commit.note("started")
    told = [event.note for event in office.again().follow(5) if event.kind == "tombstone"]
    assert told == ['{"snapshots_to":2}', '{"snapshots_to":4}', '{"snapshots_to":5}']
    assert written == 12
    assert audit(office.ledger, []).findings == ()

    retain_all(office.ledger, RetentionConfig(events=30))
    assert office.again().follow(0, limit=1)[0].seq == 6
    assert audit(office.ledger, []).findings == ()


@pytest.mark.parametrize("days", [None, math.inf, 1e6])
def test_what_is_to_be_kept_for_ever_is(office: Office, days: float | None) -> None:
    """TOML has no word for None: a file says `inf`, or very many days."""
    seq = office.decide("opened", ADA, at_ns=time.time_ns() - 4000 * DAY_NS)
    retain_all(office.ledger, RetentionConfig(events=days, strangers=days, snapshots=days, clips=days))
    assert next(event for event in office.again().events() if event.seq == seq).decision


def test_who_went_in_and_which_badge_was_shown_go_as_well(office: Office) -> None:
    then, now = time.time_ns() - 400 * DAY_NS, time.time_ns()
    seqs = [office.decide("opened", person, at_ns=at_ns) for person, at_ns in ((ADA, then), (BOB, now))]
    with office.ledger.commit() as commit:
        for person, at_ns, seq in ((ADA, then, seqs[0]), (BOB, now, seqs[1]), (CID, then, None), (DAN, now, None)):
            commit.move(person, True, at_ns, seq)
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    office.ledger.claim("front", "of then", boot_ns)
    office.ledger.claim("back", "of now", boot_ns + 3600 * 10**9)
    retain_all(office.ledger, RetentionConfig())
    assert office.ledger.all("SELECT person FROM presence") == [(bytes.fromhex(BOB),), (bytes.fromhex(DAN),)]
    assert office.ledger.all("SELECT badge FROM claims") == [("of now",)]
    assert office.ledger.keys.get(bytes.fromhex(ADA)) is None


@pytest.mark.parametrize("days", [(-2, -1, -20_000, -0.5), (-2, 4_000, -1, -0.5)], ids=["behind", "ahead"])
def test_rows_of_a_wrong_clock_take_nothing_along(office: Office, days: tuple[float, ...]) -> None:
    """A machine may start in 1970: rows are in order, however their times are not."""
    for day in days:
        office.decide("opened" if day < -1 else "refused", at_ns=time.time_ns() + int(day * DAY_NS))
    before = office.ledger.follow(0)
    retain_all(office.ledger, RetentionConfig(events=365, strangers=30, snapshots=30))
    assert office.ledger.follow(0) == before
    retain_all(office.ledger, RetentionConfig(events=1.5, strangers=1.5, snapshots=1.5))
    assert office.ledger.follow(0)[:3] == before[1:]
    assert audit(office.ledger, []).findings == ()


def test_a_clock_that_goes_back_loses_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    seqs = [office.decide("opened", ADA, at_ns=at_ns) for at_ns in (3 * DAY_NS, 2 * DAY_NS, DAY_NS // 2)]
    monkeypatch.setattr(time, "time_ns", lambda: DAY_NS)
    with office.ledger.commit() as commit:
        commit.note("clock", jumped_s=-86400)
    retain_all(office.ledger, RetentionConfig())
    assert [event.seq for event in office.again().follow(0)] == [*seqs, seqs[-1] + 1]
    assert audit(office.ledger, []).findings == ()


def test_snapshots_go_before_their_events_and_the_chain_says_so_once(office: Office) -> None:
    now = time.time_ns()
    office.decide("opened", ADA, at_ns=now - 40 * DAY_NS)
    office.decide("opened", ADA, at_ns=now)
    for _ in range(3):
        retain_all(office.ledger, RetentionConfig())
    notes = [event.note for event in office.ledger.follow(0) if event.note]
    assert notes == ['{"snapshots_to":1}']
    report = audit(office.ledger, [])
    assert (report.findings, report.remarks[0]) == (
        (),
        "snapshots up to row 1 were removed, as a tombstone says",
    )


@pytest.mark.parametrize(
    ("config", "days", "stays"),
    [
        (RetentionConfig(), 6.9, True),
        (RetentionConfig(), 7.1, False),
        (RetentionConfig(events=None, strangers=None, snapshots=None, clips=None), 7.1, False),
        (RetentionConfig(strangers=2), 1.9, True),
        (RetentionConfig(strangers=2), 2.1, False),  # in the copy they are still to be read
    ],
)
def test_the_copy_that_an_update_leaves_is_no_way_around_it(
    office: Office, config: RetentionConfig, days: float, stays: bool, caplog: pytest.LogCaptureFixture
) -> None:
    copy = copied(office)
    then = time.time() - days * DAY_NS / 1e9
    os.utime(copy, (then, then))
    retain_all(office.ledger, config)
    assert copy.exists() is stays
    assert (f"{copy} is removed" in caplog.text) is not stays


def test_nor_is_it_one_around_a_forget(office: Office) -> None:
    copy = copied(office)
    told, _ = forgotten(Store(office.home, office.keys), "Ada Lovelace")
    assert not copy.exists()
    assert f"removed, a copy of everybody from before an update: {copy}" in told


def test_nor_around_that_of_another_host(office: Office) -> None:
    copy = copied(office)
    Noted(office.ledger).erase(bytes.fromhex(ADA))
    assert not copy.exists()


def copied(office: Office) -> Path:
    """What an update to the schema of now leaves of a ledger of the first one; Ada Lovelace is enrolled."""
    Store(office.home, office.keys).add("Ada Lovelace", "m", np.eye(1, 128, dtype=np.float32))
    office.decide("opened", ADA)
    office.tamper(*BACK_TO_1)
    office.again().close()
    return office.home / "gate.sqlite.v1"
