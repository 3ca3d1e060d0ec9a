"""Times as people write them."""

from __future__ import annotations

import pytest

from pipeline.errors import Usage
from stages.highlight.times import clock, nanoseconds, stretch

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("90", 90), ("1m30s", 90), ("2m", 120), ("1h2m", 3720), ("12:30", 750), ("1:02:03.5", 3723.5)],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert nanoseconds(text) == round(seconds * SECOND)


@pytest.mark.parametrize("text", ["", "s", "x", "-5s", "1:2", "5 minutes", "nan", "1e9"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="is no time: write it like 60s, 1m30s or 12:30"):
        nanoseconds(text)


def test_a_stretch_has_a_beginning_and_an_end() -> None:
    assert stretch("12:30-12:45") == (750 * SECOND, 765 * SECOND)
    assert stretch("5s-1m") == (5 * SECOND, 60 * SECOND)
    with pytest.raises(Usage, match="ends before it begins"):
        stretch("12:45-12:30")
    with pytest.raises(Usage, match="is no stretch of time"):
        stretch("12:45")


def test_a_time_is_shown_as_a_player_does() -> None:
    assert [clock(round(s * SECOND)) for s in (0, 9.6, 59.6, 75, 3723)] == ["0:00", "0:09", "0:59", "1:15", "1:02:03"]
