"""May this person come in now? Groups, weekly windows, validity: pure functions of a person, a config and a moment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


class Refusal(NamedTuple):
    """Why somebody who is known may not come in."""

    reason: str  # one word, for programs
    why: str  # a sentence


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


def refusal(access: Access, groups: Mapping[str, Sequence[Window]], moment: datetime) -> Refusal | None:
    """Why a person with `access` may not come in at `moment` (aware, in the door's time zone); None where they may.

    Where the config has no groups, whoever is enrolled may come in, within the windows of their own if they have any.
    Where it has some, a window of one of the person's groups or of their own has to hold the moment; a group without
    windows holds every moment. A window of their own that cannot be read (an older framewire took any) keeps them out.
    """
    if access.valid_from and moment < access.valid_from:
        return Refusal("not-yet", f"may come in from {_told(access.valid_from, moment)} on")
    if access.valid_until and moment >= access.valid_until:
        return Refusal("expired", f"might come in until {_told(access.valid_until, moment)}")
    try:
        own = [window(text) for text in access.windows]
    except Usage:
        return Refusal("unreadable", "has a time window that cannot be read: set their rules anew")
    mine = [groups[name] for name in access.groups if name in groups]
    if not own and not groups:
        return None
    if not own and not mine:
        return Refusal("no-group", "is in none of the groups that may come in here")
    windows = [*own, *(one for group in mine for one in group)]
    if any(not group for group in mine) or any(one.holds(moment) for one in windows):
        return None
    return Refusal("not-now", f"may not come in at this time ({DAYS[moment.weekday()]} {moment:%H:%M})")


def depends_on_time(access: Access, groups: Mapping[str, Sequence[Window]]) -> bool:
    """Whether a wrong clock could let this person in at the wrong time."""
    timed = [name for name in access.groups if groups.get(name)]
    return bool(access.valid_from or access.valid_until or access.windows or timed)


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


def _told(moment: datetime, like: datetime) -> str:
    return f"{moment.astimezone(like.tzinfo):%Y-%m-%d %H:%M}"
