"""How long what is kept: old events are cut off at a signed checkpoint, snapshots go before them."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta

from pipeline.config import Config
from stages.events.ledger import Ledger

DAY_NS = 86_400_000_000_000
Days = Annotated[float, Meta(gt=0)]


class RetentionConfig(Config, frozen=True):
    """`[gate.retention]`: days; None keeps for ever."""

    events: Days | None = 365.0
    strangers: Days | None = 30.0  # what is known of people who were not recognized
    snapshots: Days | None = 30.0


def retain(ledger: Ledger, config: RetentionConfig) -> None:
    """Remove what is too old. Rows go as a prefix, so that the chain stays whole."""
    now = time.time_ns()
    if config.snapshots is not None:
        before_ns = now - int(config.snapshots * DAY_NS)
        with ledger.commit() as commit:
            commit.forget_snapshots(before_ns)
    if config.strangers is not None:
        ledger.erase(*_strangers(ledger, now - int(config.strangers * DAY_NS)))
    if config.events is not None:
        old = ledger.one("SELECT max(seq) FROM chain WHERE at_ns < ?", (now - int(config.events * DAY_NS),))
        newest = ledger.head()
        if old and old[0] and newest and old[0] < newest.seq:  # the newest row stays: the next one follows it
            with ledger.commit() as commit:
                commit.cut(old[0])


def _strangers(ledger: Ledger, before_ns: int) -> list[bytes]:
    """Whose keys seal nothing but decisions about strangers before `before_ns`."""
    query = "SELECT owner, seq FROM sealed JOIN chain USING (seq) WHERE at_ns < ?"
    found = ledger.all(query, (before_ns,))
    events = ((owner, ledger.events(before=seq + 1, limit=1)) for owner, seq in found)
    return [owner for owner, (event,) in events if event.decision and not event.decision.person]
