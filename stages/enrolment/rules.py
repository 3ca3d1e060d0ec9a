"""What rules somebody is given, by a command or over the page, before they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from pipeline.errors import Usage
from stages.gallery.people import Access, Person

FIRST, LAST = 1970, 9990  # years: nearer to the ends of the calendar a time zone leads out of it


def watched(people: Iterable[Person], name: str) -> Access:
    """On the watch list; whoever of `people` is called `name` already keeps the rest of their rules."""
    before = next((person.access for person in people if person.name == name), Access())
    return replace(before, watch=True)


def check_dates(since: datetime | None, until: datetime | None) -> None:
    """Raises Usage where one is none that a rule may name, or there is no time between them."""
    for moment in (since, until):
        if moment and not FIRST <= moment.year <= LAST:
            raise Usage(f"{moment.date()} is no date for a rule: give one of the years {FIRST} to {LAST}")
    if since and until and since >= until:
        raise Usage("with these dates nobody could ever come in: give an end that is after the beginning")
