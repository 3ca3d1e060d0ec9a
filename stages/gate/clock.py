"""The wall clock, watched: rules about hours rest on it, and a door must not open because it was set."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

JUMP_NS = 30_000_000_000  # more than NTP slews, or a leap second does; less than any window is about
SETTLE_NS = 600_000_000_000  # a clock that was set, as after booting without one, is believed after so long


class Clock:
    """Wall time, and whether to believe it: not after it jumped against the time since boot, until it has settled.

    Nor while it is behind what the log has recorded since it jumped last.
    """

    def __init__(self, latest_ns: int, zone: ZoneInfo | None = None, jumped_ns: int | None = None) -> None:
        """`latest_ns` is the latest wall time in the log since then; `zone` None is this machine's own.

        `jumped_ns` is that of the newest row that says that the clock jumped: a restart settles nothing.
        """
        self._latest_ns = latest_ns
        self._zone = zone
        self._offset_ns = wall_ns() - boot_ns()
        ago_ns = max(0, wall_ns() - jumped_ns) if jumped_ns is not None else SETTLE_NS
        self._doubted_since = boot_ns() - ago_ns if ago_ns < SETTLE_NS else None
        self.jumped_ns = 0  # the last jump; 0 where there was none

    def believed(self) -> bool:
        """Look at both clocks; whether rules may rest on the wall clock now."""
        now = boot_ns()
        jump = wall_ns() - now - self._offset_ns
        if abs(jump) > JUMP_NS:
            self._offset_ns += jump
            self._latest_ns = 0  # by the clock before
            self._doubted_since, self.jumped_ns = now, jump
        if self._doubted_since is not None and now - self._doubted_since >= SETTLE_NS:
            self._doubted_since = None
        return self._doubted_since is None and wall_ns() > self._latest_ns - JUMP_NS

    def moment(self) -> datetime:
        """Now, in the door's time zone."""
        return datetime.fromtimestamp(wall_ns() / 1e9, self._zone).astimezone(self._zone)


def wall_ns() -> int:
    """The wall clock, ns since the epoch."""
    return time.time_ns()


def boot_ns() -> int:
    """Time since this machine started, ns; asleep or not, and not to be set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
