"""What the chain says about what is not there any more: tombstones, checkpoints, and rows about snapshots."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

SAYINGS = (
    "SELECT seq, kind, body FROM chain JOIN notes USING (seq)"
    " WHERE kind IN ('tombstone', 'checkpoint', 'snapshot') ORDER BY seq"
)


class _Tombstone(msgspec.Struct, frozen=True):
    erased: tuple[int, ...] = ()
    snapshots: tuple[int, ...] = ()
    snapshots_to: int = 0


class _Covered(msgspec.Struct, frozen=True):
    of: int
    sha256: str  # of the snapshot, sealed


class Cut(msgspec.Struct, frozen=True):
    """What a checkpoint says."""

    cut: int  # the last row that was removed
    hash: str


class Said(NamedTuple):
    """What tombstones and checkpoints say, and rows about snapshots."""

    erased: set[int]  # rows
    covered: dict[int, str]  # row -> SHA-256 of its snapshot, sealed, since a face in it was covered
    without: set[int]  # rows whose snapshots were removed
    snapshots_to: int  # up to here they were removed
    cuts: tuple[Cut, ...]


def said(rows: sqlite3.Connection) -> Said:
    """Forged ones may be among them: each is found out at its own row."""
    erased: set[int] = set()
    covered: dict[int, str] = {}
    without: set[int] = set()
    snapshots_to, cuts = 0, []
    for seq, kind, body in rows.execute(SAYINGS):
        try:
            if kind == "checkpoint":
                cuts.append(msgspec.json.decode(body, type=Cut))
                continue
            if kind == "snapshot":
                one = msgspec.json.decode(body, type=_Covered)
                covered[one.of] = one.sha256
                continue
            tombstone = msgspec.json.decode(body, type=_Tombstone)
        except msgspec.DecodeError:
            continue
        erased |= {row for row in tombstone.erased if row < seq}
        without |= {row for row in tombstone.snapshots if row < seq}
        snapshots_to = max(snapshots_to, min(tombstone.snapshots_to, seq))
    return Said(erased, covered, without, snapshots_to, tuple(cuts))
