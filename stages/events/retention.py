"""How long what is kept: old events are cut off at a signed checkpoint, snapshots and clips go before them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

from msgspec import Meta

from pipeline.config import Config
from stages.events.ledger import Ledger

COPY_DAYS = 7.0
DAY_NS = 86_400_000_000_000
OLD = (
    "SELECT max(seq) FROM chain WHERE at_ns < ?1"
    " AND seq < coalesce((SELECT min(seq) FROM chain WHERE at_ns BETWEEN ?1 AND ?2), 1 << 62)"
)
SNAPSHOTS = "SELECT seq FROM sealed WHERE snapshot IS NOT NULL AND seq <= ? ORDER BY seq"
CLIPS = "SELECT seq FROM clips WHERE seq <= ? ORDER BY seq"
ROWS = "SELECT seq FROM chain WHERE seq <= ? AND seq < (SELECT max(seq) FROM chain) ORDER BY seq"  # the next follows it
PORTION, PAUSE_S = 100, 0.01  # who waits to write looks each 0.1 s at most: a door's order may wait for two seconds
Item = TypeVar("Item")
Days = Annotated[float, Meta(gt=0)]


class RetentionConfig(Config, frozen=True):
    """`[gate.retention]`: days; None keeps for ever."""

    events: Days | None = 365.0
    strangers: Days | None = 30.0  # what is known of people who were not recognized
    snapshots: Days | None = 30.0
    clips: Days | None = 30.0


def retain(ledger: Ledger, config: RetentionConfig) -> None:
    """Remove what is too old, in portions, so that doors go on. Rows go as a prefix, so that the chain stays whole.

    A copy from before an update goes after a week, or as soon as any of it may be too old.
    """
    periods = (COPY_DAYS, config.events, config.strangers, config.snapshots, config.clips)
    ledger.remove_copies(min(days for days in periods if days is not None) * DAY_NS / 1e9)
    for seqs in _portions(_rows(ledger, SNAPSHOTS, config.snapshots)):
        with ledger.commit() as commit:
            commit.forget_snapshots(seqs[-1])
    for seqs in _portions(_rows(ledger, CLIPS, config.clips)):
        with ledger.commit() as commit:
            commit.forget_clips(seqs[-1])
    for owners in _portions(_strangers(ledger, _old(ledger, config.strangers))):
        with ledger.commit() as commit:
            commit.erase(owners)
    for seqs in _portions(_rows(ledger, ROWS, config.events)):
        with ledger.commit() as commit:
            commit.cut(seqs[-1])
    ledger.tidy()


def _rows(ledger: Ledger, query: str, days: float | None) -> list[int]:
    """The numbers of the rows that `query` finds up to the last that is so old."""
    return [seq for (seq,) in ledger.all(query, (_old(ledger, days),))]


def _portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """As many as one transaction may remove, with time for others to write in between."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]
        time.sleep(PAUSE_S)


def _old(ledger: Ledger, days: float | None) -> int:
    """The last row that is older than that; 0 where there is none.

    Rows are written in order, so none that comes after a younger one is older, whatever its time says: the clock was
    behind. One from the future says nothing: the clock was ahead.
    """
    if days is None:
        return 0
    now = time.time_ns()
    found = ledger.one(OLD, (now - int(days * DAY_NS), now))
    return int(found[0] or 0) if found else 0


def _strangers(ledger: Ledger, seq: int) -> list[bytes]:
    """Whose keys seal decisions about strangers up to row `seq`; what is damaged is left for an audit to find."""
    found = ledger.all("SELECT owner, max(seq) FROM sealed WHERE seq <= ? GROUP BY owner", (seq,))
    events = ((owner, ledger.events(before=last + 1, limit=1)) for owner, last in found)
    return [owner for owner, (event, *_) in events if event.decision and not event.decision.person]
