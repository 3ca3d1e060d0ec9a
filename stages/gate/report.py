"""Decisions in words, as they are made, and what a whole run came to."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import msgspec
import numpy as np

from stages.events.ledger import Ledger
from stages.events.records import Decision, Event


class Summary(msgspec.Struct, frozen=True):
    """What `gate --json` prints at the end."""

    opened: int
    refused: int
    held: int
    alarms: int
    age_ms: dict[str, float]  # p50, p95, p99, from capture to decision; empty where none was made in time


class Report:
    """Follows the ledger from where it stands."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        head = ledger.head()
        self._seen = head.seq if head else 0
        self._decisions: list[Decision] = []

    def news(self) -> list[Event]:
        """What has been written since the last call, the oldest first."""
        events = self._ledger.follow(self._seen, 1000)
        if events:
            self._seen = events[-1].seq
        self._decisions += [event.decision for event in events if event.decision]
        return events

    def summary(self) -> Summary:
        """Of all that `news` has told."""
        counts = Counter(decision.outcome for decision in self._decisions)
        ages = [decision.age_ms for decision in self._decisions if decision.age_ms is not None]
        at = np.percentile(ages, (50, 95, 99)).round(1).tolist() if ages else []
        return Summary(
            opened=counts["opened"],
            refused=counts["refused"],
            held=counts["held"],
            alarms=counts["alarm"],
            age_ms=dict(zip(("p50", "p95", "p99"), at, strict=False)),
        )


def line(event: Event) -> str:
    """One event as a line for a terminal."""
    when = f"{datetime.fromtimestamp(event.at_ns / 1e9):%H:%M:%S}"
    made = event.decision
    if made is None:
        said = f"of event {msgspec.json.decode(event.note)['of']}" if event.kind == "clip" else event.note
        return f"{when}  {event.kind:<8} {'erased' if event.erased else said}"
    score = "" if made.score is None or made.threshold is None else f"  {made.score:.2f} of {made.threshold:.2f}"
    age = "" if made.age_ms is None else f"  after {made.age_ms:.0f} ms"
    return f"{when}  {made.outcome:<8} {made.door}: {made.why}{score}{age}"
