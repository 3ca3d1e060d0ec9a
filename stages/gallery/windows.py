"""The weekly windows of somebody's rules, as they are written: "Mon-Fri 07:00-19:00"."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from pipeline.errors import Usage
from stages.gallery.people import Access

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = '"Mon-Fri 07:00-19:00", "Sat,Sun 22:00-02:00" or "daily 00:00-24:00"'
_WINDOW = re.compile(r"(\S+) (\d\d):([0-5]\d)-(\d\d):([0-5]\d)")


class Window(NamedTuple):
    """A span of the clock on some days of the week; one that ends before it begins ends on the next day."""

    days: frozenset[int]  # 0 is Monday: of its beginning
    start: int  # minutes after midnight
    end: int  # likewise, up to 24 h; not part of it

    def holds(self, moment: datetime) -> bool:
        """Whether `moment`, in the door's own time zone, lies inside."""
        minute = moment.hour * 60 + moment.minute
        today, yesterday = moment.weekday() in self.days, (moment.weekday() - 1) % 7 in self.days
        if self.start < self.end:
            return today and self.start <= minute < self.end
        return (today and minute >= self.start) or (yesterday and minute < self.end)


def window(text: str) -> Window:
    """Read "Mon-Fri 07:00-19:00". Raises Usage."""
    found = _WINDOW.fullmatch(text.strip())
    days = _days(found[1]) if found else None
    if found is None or not days:
        raise Usage(f"{text!r} is no weekly time window: write it like {EXAMPLE}")
    start, end = (60 * int(found[hour]) + int(found[hour + 1]) for hour in (2, 4))
    if start >= 24 * 60 or end > 24 * 60 or start == end:
        raise Usage(f"{text!r} is no span of a day: write it like {EXAMPLE}")
    return Window(days, start, end)


def check(access: Access) -> None:
    """Raises Usage where a window of `access` is none."""
    for text in access.windows:
        window(text)


def _days(text: str) -> frozenset[int] | None:
    """ "Mon-Wed,Sat" or "daily" -> numbers of days; None for anything else."""
    if text == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            return None
        count = (DAYS.index(last or first) - DAYS.index(first)) % 7
        days |= {(DAYS.index(first) + step) % 7 for step in range(count + 1)}
    return frozenset(days)
