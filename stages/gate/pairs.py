"""The two-person rule: who waits at which door for a second person."""

from __future__ import annotations

from collections.abc import Callable

from stages.gate.clock import boot_ns


class Pairs:
    """Who waits. After a restart nobody does: only the clock on the wall would know since when, and that can be set."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, str]]] = {}  # door -> boot time and id of each

    def held(self, door: str, person: str) -> None:
        """Somebody (by id) waits from now on."""
        self._waiting.setdefault(door, []).append((boot_ns(), person))

    def seen(self, door: str, person: str) -> None:
        """Who waits is still there, if they do."""
        waiting = self._waiting.get(door, [])
        self._waiting[door] = [(boot_ns() if one == person else at, one) for at, one in waiting]

    def opened(self, door: str) -> None:
        """The door has opened: who waited has had their second person."""
        self._waiting.pop(door, None)

    def companion(self, door: str, seconds: float, person: str, may: Callable[[str], bool]) -> str:
        """Who waits since at most so long, other than `person`, and still `may` come in (by id); "" for nobody."""
        since = boot_ns() - int(seconds * 1e9)
        waiting = self._waiting.get(door, ())
        return next((one for at, one in waiting if at >= since and one != person and may(one)), "")
