"""The two-person rule: who waits at which door for a second person."""

from __future__ import annotations

from collections.abc import Callable


class Pairs:
    """Who waits. After a restart nobody does: only the clock on the wall would know since when, and that can be set.

    Times are when a face of theirs was captured, on this host's monotonic clock: pictures may come late.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, int]] = {}  # door -> id -> when a face of theirs was seen last

    def held(self, door: str, person: str, seen_ns: int) -> None:
        """Somebody (by id) waits from now on."""
        self._waiting.setdefault(door, {})[person] = seen_ns

    def seen(self, door: str, person: str, seen_ns: int) -> None:
        """A face was recognized as that of somebody who may be waiting."""
        if person in self._waiting.get(door, {}):
            self._waiting[door][person] = seen_ns

    def opened(self, door: str) -> None:
        """The door has opened: who waited has had their second person."""
        self._waiting.pop(door, None)

    def companion(self, door: str, seconds: float, person: str, seen_ns: int, may: Callable[[str], bool]) -> str:
        """Who waits, was seen at most so long before or after `seen_ns`, is not `person`, and `may` come in (by id).

        "" for nobody.
        """
        within = int(seconds * 1e9)
        waiting = self._waiting.get(door, {})
        near = [one for one, at in waiting.items() if abs(seen_ns - at) <= within and one != person]
        return next(filter(may, near), "")
