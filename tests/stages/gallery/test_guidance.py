"""What is said to somebody in front of a camera."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest

from stages.gallery.guidance import ADVICE, SIDES, Guidance, Seen, advice
from stages.quality import Quality

AHEAD, LEFT, RIGHT = SIDES
FACE = np.eye(1, 8, dtype=np.float32)[0]


def seen(yaw: float = 0, **low: float) -> Seen:
    """One face, good but for these factors."""
    factors: Any = {name: np.array([low.get(name, 1.0)], np.float32) for name in Quality._fields}
    return Seen(1, 120, yaw, Quality(**factors))


@pytest.mark.parametrize(
    ("what", "side", "words"),
    [
        (Seen(0, 120), AHEAD, "nobody is seen: come in front of the camera"),
        (Seen(0, 6), AHEAD, "it is too dark: turn to the light"),
        (Seen(2, 120), AHEAD, "two faces are in the picture: one at a time"),
        (Seen(1, 120), LEFT, "look straight into the camera"),
        (seen(nan, frontal=0), AHEAD, "look straight into the camera"),
        (seen(size=0.1, lit=0.1, sharp=0.1), AHEAD, "come nearer"),
        (seen(lit=0.1, sharp=0.1), AHEAD, "it is too dark: turn to the light"),
        (seen(unblown=0.1), AHEAD, "there is too much light: turn away from it"),
        (seen(sharp=0.1), AHEAD, "hold still"),
        (seen(frontal=0.1), LEFT, "turn a little to your left"),
        (seen(25, frontal=0.1), LEFT, "look straight into the camera"),  # the chin is up or down
        (seen(), AHEAD, ""),
        (seen(13), AHEAD, "look straight into the camera"),
        (seen(-13), AHEAD, "look straight into the camera"),
        (seen(14), LEFT, "turn a little to your left"),
        (seen(-25), LEFT, "turn a little to your left"),
        (seen(41), LEFT, "turn back a little"),
        (seen(25, sharp=0.1), LEFT, "hold still"),
        (seen(25), LEFT, ""),
        (seen(-14), RIGHT, "turn a little to your right"),
        (seen(-41), RIGHT, "turn back a little"),
        (seen(-25), RIGHT, ""),
        (seen(nan), RIGHT, "turn a little to your right"),
    ],
)
def test_each_advice(what: Seen, side: int, words: str) -> None:
    assert advice(what, side) == words


def test_there_is_advice_for_each_factor_of_quality() -> None:
    assert set(ADVICE) == set(Quality._fields)


def test_one_enrolment() -> None:
    guidance = Guidance(0.6)
    for count, yaw in enumerate((0, 25, -25)):
        assert (guidance.taken, guidance.done) == (count, False)
        assert guidance.advice(seen(90)) != ""
        assert guidance.advice(seen(yaw)) == ""
        assert guidance.take(FACE) == ""
    assert guidance.done


def test_who_steps_in_is_told_so_and_not_taken() -> None:
    guidance = Guidance(0.6)
    assert guidance.take(FACE) == ""
    assert "not the person of the first picture" in guidance.take(np.roll(FACE, 1))
    assert guidance.taken == 1
    assert guidance.take(FACE) == ""
    assert guidance.taken == 2
