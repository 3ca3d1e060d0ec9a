"""What is said of a moment."""

from __future__ import annotations

from stages.highlight.words import parts, reasons
from tests.stages.highlight.flashes import moment


def test_the_parts_that_can_be_seen_in_two_digits() -> None:
    made = moment(0, 0, 1, people=0.3, motion=0.2, cuts=0.005, faces=0.0049, text=0.0)
    assert parts(made) == [("people are in the picture", 0.3), ("something moves", 0.2), ("the shot changes", 0.005)]
    assert reasons(made) == ["people are in the picture", "something moves"]
    assert reasons(moment(0, 0, 1, people=0.004)) == []
