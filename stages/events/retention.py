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
OWNERS = "SELECT owner, max(seq) FROM sealed WHERE seq <= ? GROUP BY owner"
PORTION = 100  # a tenth of a second and more: a door's order may wait for two
Item = TypeVar("Item")
Days = Annotated[float, Meta(gt=0)]


class RetentionConfig(Config, frozen=True):
    """`[gate.retention]`: days; None, and in a file `inf`, keeps for ever."""

    events: Days | None = 365.0  # and who went in and out
    strangers: Days | None = 30.0  # what is known of people who were not recognized
    snapshots: Days | None = 30.0
    clips: Days | None = 30.0


def retain(ledger: Ledger, config: RetentionConfig) -> Iterator[None]:
    """Remove what is too old by now, a portion each time it is asked on, so that faces are decided on in between.

    Rows go as a prefix, so that the chain stays whole. A copy from before an update goes after a week, or as soon as
    any of it may be too old.
    """
    periods = (config.snapshots, config.clips, config.strangers, config.events)
    ledger.remove_copies(min(days for days in (COPY_DAYS, *periods) if days is not None) * DAY_NS / 1e9)
    snapshots, clips, strangers, events = (_old(ledger, days) for days in periods)  # now: a clock may jump meanwhile
    moved_ns = _before(config.events)
    for seqs in _portions(_rows(ledger, SNAPSHOTS, snapshots)):
        with ledger.commit() as commit:
            commit.forget_snapshots(seqs[-1])
        yield
    for seqs in _portions(_rows(ledger, CLIPS, clips)):
        with ledger.commit() as commit:
            commit.forget_clips(seqs[-1])
        yield
    for found in _portions(ledger.all(OWNERS, (strangers,))):
        with ledger.commit() as commit:
            commit.erase(_strangers(ledger, found))
        yield
    for seqs in _portions(_rows(ledger, ROWS, events)):
        with ledger.commit() as commit:
            commit.cut(seqs[-1])
        yield
    with ledger.commit() as commit:
        commit.forget_moves(moved_ns)
        commit.drop_claims()
    ledger.tidy()


def _rows(ledger: Ledger, query: str, to: int) -> list[int]:
    """The numbers of the rows that `query` finds up to row `to`."""
    return [seq for (seq,) in ledger.all(query, (to,))]


def _portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """As many as may be removed at once."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]


def _old(ledger: Ledger, days: float | None) -> int:
    """The last row that is older than that; 0 where there is none.

    Rows are written in order, so none that comes after a younger one is older, whatever its time says: the clock was
    behind. One from the future says nothing: the clock was ahead.
    """
    found = ledger.one(OLD, (_before(days), time.time_ns()))
    return int(found[0] or 0) if found else 0


def _before(days: float | None) -> int:
    """The time (wall clock, ns) before which all is older than that; 0 where nothing is."""
    now = time.time_ns()
    return 0 if days is None or days >= now / DAY_NS else now - int(days * DAY_NS)


def _strangers(ledger: Ledger, found: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """Those of some owners, each with a row of theirs, who are strangers; what is damaged an audit finds."""
    events = ((owner, ledger.events(before=seq + 1, limit=1)) for owner, seq in found)
    return [owner for owner, (event, *_) in events if event.decision and not event.decision.person]
