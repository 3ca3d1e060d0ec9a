"""Weekly windows, groups and validity, at moments that are easy to get wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.errors import Usage
from stages.gallery.store import Access
from stages.gallery.windows import window
from stages.gate.rules import Refusal, depends_on_time, refusal

BERLIN = ZoneInfo("Europe/Berlin")
STAFF = {"staff": (window("Mon-Fri 07:00-19:00"),)}


def at(text: str) -> datetime:
    """A moment in Berlin; 2026-11-23 is a Monday."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def reason(found: Refusal | None) -> str:
    return found.reason if found else ""


@pytest.mark.parametrize(
    ("text", "moment", "holds"),
    [
        ("Mon-Fri 07:00-19:00", "2026-11-23 07:00", True),
        ("Mon-Fri 07:00-19:00", "2026-11-23 06:59:59", False),
        ("Mon-Fri 07:00-19:00", "2026-11-27 18:59:59", True),
        ("Mon-Fri 07:00-19:00", "2026-11-27 19:00", False),
        ("Mon-Fri 07:00-19:00", "2026-11-28 12:00", False),
        ("Sat 22:00-02:00", "2026-11-28 23:00", True),
        ("Sat 22:00-02:00", "2026-11-29 01:59", True),  # the night that began on Saturday
        ("Sat 22:00-02:00", "2026-11-28 01:00", False),
        ("Sun 22:00-02:00", "2026-11-30 01:00", True),
        ("Fri-Mon 10:00-11:00", "2026-11-23 10:30", True),  # over the end of the week
        ("Fri-Mon 10:00-11:00", "2026-11-24 10:30", False),
        ("Mon,Wed 10:00-11:00", "2026-11-25 10:30", True),
        ("daily 00:00-24:00", "2026-11-29 23:59", True),
    ],
)
def test_a_window_holds(text: str, moment: str, holds: bool) -> None:
    assert window(text).holds(at(moment)) is holds


@pytest.mark.parametrize(
    "text", ["", "Mon", "Mon 7:00-8:00", "Mon 07:00-07:00", "Mon 24:00-25:00", "Lun 07:00-08:00", "Mon- 07:00-08:00 x"]
)
def test_what_is_no_window_is_said_with_an_example(text: str) -> None:
    with pytest.raises(Usage, match="Mon-Fri 07:00-19:00"):
        window(text)


@pytest.mark.parametrize(
    ("access", "moment", "expected"),
    [
        (Access(groups=("staff",)), "2026-11-23 12:00", ""),
        (Access(groups=("staff",)), "2026-11-23 20:00", "not-now"),
        (Access(groups=("guests",)), "2026-11-23 12:00", "no-group"),
        (Access(), "2026-11-23 12:00", "no-group"),
        (Access(windows=("daily 20:00-21:00",)), "2026-11-23 20:30", ""),  # windows of one's own are enough
        (Access(groups=("staff",), windows=("daily 20:00-21:00",)), "2026-11-23 20:30", ""),
        (Access(groups=("staff",), valid_until=datetime(2026, 11, 23, 10, tzinfo=UTC)), "2026-11-23 10:59", ""),
        (Access(groups=("staff",), valid_until=datetime(2026, 11, 23, 10, tzinfo=UTC)), "2026-11-23 11:00", "expired"),
        (Access(groups=("staff",), valid_from=datetime(2026, 11, 24, 0, tzinfo=UTC)), "2026-11-23 11:00", "not-yet"),
        (Access(groups=("staff",), windows=("whenever",)), "2026-11-23 12:00", "unreadable"),
        (Access(windows=("daily 00:00-24:00", "whenever")), "2026-11-23 12:00", "unreadable"),
    ],
)
def test_who_may_come_in_where_there_are_groups(access: Access, moment: str, expected: str) -> None:
    assert reason(refusal(access, STAFF, at(moment))) == expected


def test_where_no_groups_are_made_everybody_enrolled_may_come_in() -> None:
    assert refusal(Access(), {}, at("2026-11-23 03:00")) is None
    assert reason(refusal(Access(windows=("Tue 08:00-09:00",)), {}, at("2026-11-23 03:00"))) == "not-now"
    assert refusal(Access(groups=("cleaners",)), {"cleaners": ()}, at("2026-11-23 03:00")) is None


def test_a_window_means_the_clock_on_the_wall_when_summer_time_ends() -> None:
    """2026-10-25 in Berlin: 02:30 comes twice, and the window holds both times."""
    nights = window("Sun 02:00-03:00")
    for fold in (0, 1):
        assert nights.holds(datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN))


def test_dates_at_the_ends_of_the_calendar_keep_out_and_stop_no_gate() -> None:
    """An older framewire took them."""
    last, first = (
        datetime.fromisoformat(f"{text}:00") for text in ("9999-12-31T23:59:59-12", "0001-01-01T00:00:00+14")
    )
    assert reason(refusal(Access(valid_from=last), {}, at("2026-11-23 03:00"))) == "not-yet"
    assert reason(refusal(Access(valid_until=first), {}, at("2026-11-23 03:00"))) == "expired"
    assert refusal(Access(valid_from=first, valid_until=last), {}, at("2026-11-23 03:00")) is None


def test_which_people_a_wrong_clock_could_let_in() -> None:
    assert not depends_on_time(Access(), {})
    assert depends_on_time(Access(valid_until=datetime(2027, 1, 1, tzinfo=UTC)), {})
    assert depends_on_time(Access(groups=("staff",)), STAFF)
    assert not depends_on_time(Access(groups=("cleaners",)), {"cleaners": ()})
