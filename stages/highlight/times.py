"""Times as people write them: 60s, 1m30s, 90, 12:30, 1:02:03.5."""

from __future__ import annotations

import re

from pipeline.errors import Usage
from stages.highlight.timeline import SECOND

MOST_LETTERS = 20

_UNITS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d(?:\.\d+)?)")


def nanoseconds(text: str) -> int:
    """A length or a time in ns. Raises Usage."""
    found = _CLOCK.fullmatch(text) or _UNITS.fullmatch(text)
    if not text or found is None or len(text) > MOST_LETTERS:
        raise Usage(f"{text!r} is no time: write it like 60s, 1m30s or 12:30")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round(((hours * 60 + minutes) * 60 + seconds) * SECOND)


def stretch(text: str) -> tuple[int, int]:
    """12:30-12:45 as ns, [begin, end). Raises Usage."""
    begin, dash, end = text.partition("-")
    if not dash:
        raise Usage(f"{text!r} is no stretch of time: write it like 12:30-12:45")
    times = nanoseconds(begin), nanoseconds(end)
    if times[0] >= times[1]:
        raise Usage(f"the stretch {text} ends before it begins: write it like 12:30-12:45")
    return times


def clock(ns: int) -> str:
    """ns as 1:02:03 or 2:03: the second that runs, as a player shows it."""
    seconds = ns // SECOND
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
