"""The two-person rule: who waits at which door for a second person."""

from __future__ import annotations

from collections.abc import Container

from stages.events.ledger import Ledger
from stages.gate.clock import boot_ns, wall_ns

RECENT = 50  # rows of the log that are looked at on starting: nobody waits for longer than ten minutes


class Pairs:
    """Who waits; taken up from the log after a restart."""

    def __init__(self, ledger: Ledger) -> None:
        self._waiting: dict[str, list[tuple[int, str]]] = {}  # door -> boot time and id of each
        for event in reversed(ledger.events(limit=RECENT)):
            made, ago = event.decision, wall_ns() - event.at_ns
            if made and made.outcome == "opened":
                self.opened(made.door)
            elif made and made.outcome == "held" and ago >= 0:
                self._waiting.setdefault(made.door, []).append((boot_ns() - ago, made.person))

    def held(self, door: str, person: str) -> None:
        """Somebody (by id) waits from now on."""
        self._waiting.setdefault(door, []).append((boot_ns(), person))

    def opened(self, door: str) -> None:
        """The door has opened: who waited has had their second person."""
        self._waiting.pop(door, None)

    def companion(self, door: str, seconds: float, person: str, known: Container[str]) -> str:
        """Who of `known` waits since at most so long, other than `person`; "" for nobody."""
        since = boot_ns() - int(seconds * 1e9)
        waiting = self._waiting.get(door, ())
        return next((one for at, one in waiting if at >= since and one != person and one in known), "")
