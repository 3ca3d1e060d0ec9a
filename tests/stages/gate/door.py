"""A gate that tests stand in front of."""

from __future__ import annotations

import math
import time

import msgspec
import pytest

from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.events.records import Decision, Event
from stages.gallery.store import Store
from stages.gate.config import GateConfig
from stages.gate.gate import Gate
from stages.gate.passage import Vote
from stages.gate.passages import GAP_NS
from tests.stages.gate.scene import MODEL, Camera, Seen, embedding

SECOND = 1_000_000_000


class Door:
    """A gate with Ada and Bob enrolled, and what can be read of it."""

    def __init__(self, **config: object) -> None:
        self.store = Store(home(), keys())
        for seed, name in enumerate(("Ada", "Bob"), 1):
            self.store.add(name, MODEL, embedding(seed)[None])
        self.people = {person.name: person.id.hex() for person in self.store.people()}
        self.config = msgspec.convert({"liveness": "none", "detector": "detector:4567"} | config, GateConfig)
        self.camera = Camera()
        self.tracks = 0
        self.gate = Gate(self.config)

    def seen(self, name: str = "Ada", similarity: float = 0.8, **more: object) -> Seen:
        """Somebody, on the newest track."""
        seed = {"Ada": 1, "Bob": 2}.get(name, 3)
        person = self.people.get(name, self.people["Ada"])
        return Seen(self.tracks, embedding(seed), person, similarity, **more)  # type: ignore[arg-type]

    def comes(
        self, name: str = "Ada", frames: int = 3, similarity: float = 0.8, age_ms: float = 5, **more: object
    ) -> str:
        """Somebody comes, and is seen in so many frames; what is said to them at last."""
        self.tracks += 1
        said = ""
        for _ in range(frames):
            said = self.gate(self.camera(self.seen(name, similarity, **more), age_ms=age_ms)).verdicts[0]
        return said

    def goes(self, seconds: float = GAP_NS / SECOND + 1) -> None:
        """Time goes by for who was seen."""
        for passage in self.gate._passages.open:
            passage.seen_ns -= int(seconds * SECOND)
        self.gate._looked = -math.inf
        self.gate.tick(time.monotonic())

    def waits(self, seconds: float) -> None:
        """Time goes by for who stands there, and is still seen."""
        for passage in self.gate._passages.open:
            passage.first_seen_ns -= int(seconds * SECOND)
            passage.badge_ns -= int(seconds * SECOND)
            passage.votes = [_older(vote, seconds) for vote in passage.votes]
            passage.newest = passage.newest and _older(passage.newest, seconds)
            for holder, faces in passage.holders.items():
                passage.holders[holder] = [captured_ns - int(seconds * SECOND) for captured_ns in faces]

    def events(self) -> list[Event]:
        return [event for event in reader().events() if event.kind not in ("started",)][::-1]

    def decisions(self) -> list[Decision]:
        return [event.decision for event in self.events() if event.decision]

    def told(self) -> list[tuple[str, str]]:
        return [(made.outcome, made.reason) for made in self.decisions()]

    def ordered(self) -> int:
        """How many door commands were given."""
        return len(reader().all("SELECT 1 FROM commands"))

    def restart(self) -> None:
        """As after a kill: nothing is closed in order, the kernel drops the lock."""
        import os

        os.close(self.gate._lock)
        self.gate = Gate(self.config)


def _older(vote: Vote, seconds: float) -> Vote:
    return msgspec.structs.replace(vote, captured_ns=vote.captured_ns - int(seconds * SECOND))


def reader() -> Ledger:
    return Ledger(home(), keys())


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The clock on the wall jumps."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * SECOND))
