"""What the chain says about what is not there any more: tombstones, checkpoints, and rows about snapshots."""

from __future__ import annotations

import math
import sqlite3

import msgspec

SAYINGS = (
    "SELECT seq, kind, body FROM chain JOIN notes USING (seq)"
    " WHERE seq > ? AND kind IN ('tombstone', 'checkpoint', 'snapshot') ORDER BY seq"
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


class Said:
    """What tombstones and checkpoints say, and rows about snapshots; forged ones, too: each is found at its own row."""

    def __init__(self) -> None:
        self.erased: set[int] = set()  # rows
        self.covered: dict[int, str] = {}  # row -> SHA-256 of its snapshot, sealed, since a face in it was covered
        self.without: set[int] = set()  # rows whose snapshots were removed
        self.snapshots_to = 0  # up to here they were removed
        self.cuts: list[Cut] = []
        self._read_to: float = -math.inf

    def read_on(self, rows: sqlite3.Connection) -> None:
        """What was said since."""
        for seq, kind, body in rows.execute(SAYINGS, (self._read_to,)):
            self._read_to = seq
            try:
                self._take(seq, kind, body)
            except msgspec.DecodeError:
                continue

    def _take(self, seq: int, kind: str, body: str) -> None:
        if kind == "checkpoint":
            self.cuts.append(msgspec.json.decode(body, type=Cut))
        elif kind == "snapshot":
            covered = msgspec.json.decode(body, type=_Covered)
            self.covered[covered.of] = covered.sha256
        else:
            tombstone = msgspec.json.decode(body, type=_Tombstone)
            self.erased |= {row for row in tombstone.erased if row < seq}
            self.without |= {row for row in tombstone.snapshots if row < seq}
            self.snapshots_to = max(self.snapshots_to, min(tombstone.snapshots_to, seq))
