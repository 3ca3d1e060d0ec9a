"""A ledger of the test's own, and what to write into it."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stages.events.ledger import Ledger
from stages.events.records import Ballot, Decision
from stages.events.retention import RetentionConfig, retain

BACK_TO_1 = (  # what makes a ledger of the first schema out of one of today
    *(f"DROP TABLE {name}" for name in ("clips", "shown", "faces", "let_go")),
    *(f"ALTER TABLE presence DROP COLUMN {name}" for name in ("given", "seq", "was", "since", "was_since")),
    "ALTER TABLE commands DROP COLUMN signature",
    "PRAGMA user_version = 1",
)
SNAPSHOT = b"\xff\xd8 a picture of the door \xff\xd9"


def decision(outcome: str = "refused", person: str = "", **more: object) -> Decision:
    """A decision about `person` (an id), or about a stranger."""
    what = {
        "at_ns": 1_764_000_000_000_000_000,
        "camera": "cam0",
        "door": "front",
        "outcome": outcome,
        "reason": "" if outcome == "opened" else "unknown",
        "why": "nobody who is enrolled looks like this",
        "person": person,
        "name": "Ada Lovelace" if person else "",
        "score": 0.71,
        "threshold": 0.6,
        "far": 0.01,
        "live": None,
        "live_threshold": None,
        "passage": secrets.token_hex(16),
        "frame_seq": 7,
        "pts_ns": 280_000_000,
        "age_ms": 41.5,
        "ballots": (Ballot(0.71, 0.9, None),),
        "models": {"embedder": "ab" * 32},
        "frame_sha256": hashlib.sha256(SNAPSHOT).hexdigest(),
        "simulated": True,
    }
    return msgspec.convert(what | more, Decision)


def retain_all(ledger: Ledger, config: RetentionConfig) -> None:
    """Remove all that is too old, with nothing in between."""
    deque(retain(ledger, config), maxlen=0)


class Office:
    """A ledger, its files, and a second pair of hands on the database."""

    def __init__(self, folder: Path) -> None:
        self.home, self.keys = folder / "home", folder / "keys"
        self.ledger = Ledger(self.home, self.keys, create=True)

    def decide(self, outcome: str = "refused", person: str = "", outputs: tuple[str, ...] = (), **more: object) -> int:
        with self.ledger.commit() as commit:
            return commit.decide(decision(outcome, person, **more), SNAPSHOT, outputs)

    def again(self) -> Ledger:
        """What another process would open."""
        return Ledger(self.home, self.keys)

    def tamper(self, *statements: str) -> None:
        """Write to the file behind the ledger's back."""
        rows = sqlite3.connect(self.home / "gate.sqlite")
        for statement in statements:
            rows.execute(statement)
        rows.commit()
        rows.close()

    def content(self) -> bytes:
        """All bytes of data and keys."""
        return b"".join(p.read_bytes() for f in (self.home, self.keys) for p in f.rglob("*") if p.is_file())


@pytest.fixture
def office(places: Path) -> Iterator[Office]:
    office = Office(places)
    yield office
    office.ledger.close()
