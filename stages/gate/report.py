"""Decisions in words, as they are made, and what a whole run came to."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import msgspec

from pipeline.metrics import BUCKETS, Histogram, quantile
from stages.events.ledger import Ledger
from stages.events.records import Event


class Summary(msgspec.Struct, frozen=True):
    """What `gate --json` prints at the end."""

    opened: int
    refused: int
    held: int
    alarms: int
    age_ms: dict[str, float]  # p50, p95, p99, from capture to decision; empty where none was made in time


class Report:
    """Follows the ledger from where it stands. What it keeps names nobody and does not grow."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        head = ledger.head()
        self._seen = head.seq if head else 0
        self._outcomes: Counter[str] = Counter()
        self._ages = Histogram(memoryview(bytearray(8 * BUCKETS)).cast("q"))

    def news(self) -> list[Event]:
        """What has been written since the last call, the oldest first."""
        events = self._ledger.follow(self._seen, 1000)
        if events:
            self._seen = events[-1].seq
        for decision in (event.decision for event in events if event.decision):
            self._outcomes[decision.outcome] += 1
            if decision.age_ms is not None:
                self._ages.record(round(decision.age_ms * 1e6))
        return events

    def summary(self) -> Summary:
        """Of all that `news` has told."""
        counts, ages = self._outcomes, self._ages.counts()
        percentiles = (50, 95, 99) if any(ages) else ()
        return Summary(
            opened=counts["opened"],
            refused=counts["refused"],
            held=counts["held"],
            alarms=counts["alarm"],
            age_ms={f"p{percent}": round(quantile(ages, percent / 100), 1) for percent in percentiles},
        )


def line(event: Event, *, names: bool) -> str:
    """One event as a line for a terminal; without `names` the reason of a decision is one word."""
    when = f"{datetime.fromtimestamp(event.at_ns / 1e9):%H:%M:%S}"
    made = event.decision
    if made is None:
        said = f"of event {msgspec.json.decode(event.note)['of']}" if event.kind == "clip" else event.note
        return f"{when}  {event.kind:<8} {'erased' if event.erased else said}"
    score = "" if made.score is None or made.threshold is None else f"  {made.score:.2f} of {made.threshold:.2f}"
    age = "" if made.age_ms is None else f"  after {made.age_ms:.0f} ms"
    said = ": ".join(filter(None, (made.door, made.why if names else made.reason)))
    return f"{when}  {made.outcome:<8} {said}{score}{age}"
