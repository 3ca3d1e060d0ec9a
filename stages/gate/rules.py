"""May this person come in now? Groups, weekly windows, validity: pure functions of a person, a config and a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from pipeline.errors import Usage
from stages.gallery.people import Access
from stages.gallery.windows import DAYS, Window, window


class Refusal(NamedTuple):
    """Why somebody who is known may not come in."""

    reason: str  # one word, for programs
    why: str  # a sentence


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


def _told(moment: datetime, like: datetime) -> str:
    with suppress(OverflowError):  # an older framewire took dates at the ends of the calendar: told as written
        moment = moment.astimezone(like.tzinfo)
    return f"{moment:%Y-%m-%d %H:%M}"
