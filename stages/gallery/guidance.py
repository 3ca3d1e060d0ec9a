"""What somebody in front of a camera should do to be enrolled well: three pictures of one face, each turned otherwise.

There is no picture, network or clock in here, so that the page's webcam and the command line say the same.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.challenge import FRONTAL
from stages.quality import Quality

SIDES = (0, 1, -1)  # where the face looks in one picture after the other: ahead, to the person's left, to their right
LITTLE, MUCH = 15.0, 40.0  # degrees of yaw: a little to one side; at a gate few come in turned further
GOOD = 0.35  # of each factor of quality, for a face that is enrolled at a camera
DARK = 20.0  # mean level of a picture in which no face is found: as dark as a face whose `lit` is just below GOOD
ADVICE = {  # what to do about the first factor that is too low
    "size": "come nearer",
    "lit": "it is too dark: turn to the light",
    "unblown": "there is too much light: turn away from it",
    "frontal": "look straight into the camera",
    "sharp": "hold still",
}


class Seen(NamedTuple):
    """What there is to say of a picture."""

    faces: int
    light: float  # mean level of its middle, 0..255
    yaw: float = nan  # degrees, of the one face; above 0: to the person's left
    quality: Quality | None = None  # (1,) each, of the one face; None where its eyes, nose and mouth cannot be told


def advice(seen: Seen, side: int) -> str:
    """What to do before a picture that looks to `side` (one of SIDES) can be taken; "" where this one is good."""
    if not seen.faces:
        return ADVICE["lit"] if seen.light < DARK else "nobody is seen: come in front of the camera"
    if seen.faces > 1:
        return "two faces are in the picture: one at a time"
    if seen.quality is None:
        return ADVICE["frontal"]
    low = [factor for factor in ADVICE if getattr(seen.quality, factor)[0] < GOOD]
    turn = _turn(seen.yaw, side)
    if turn and not {"size", "lit", "unblown"} & set(low):  # these come first: without them the pose is a guess
        return turn
    return ADVICE[low[0]] if low else ""


def _turn(yaw: float, side: int) -> str:
    if not side:
        return "" if abs(yaw) <= FRONTAL else ADVICE["frontal"]
    if side * yaw > MUCH:
        return "turn back a little"
    return "" if side * yaw >= LITTLE else f"turn a little to your {'left' if side > 0 else 'right'}"


class Guidance:
    """One enrolment at a camera: which picture is wanted next, and whether it still shows the person of the first."""

    def __init__(self, threshold: float) -> None:
        """`threshold` is the cosine similarity, -1..1, from which on two faces are one person's."""
        self._threshold = threshold
        self._first = np.empty(0, np.float32)  # (D,)
        self.taken = 0

    @property
    def done(self) -> bool:
        """Whether all pictures are taken."""
        return self.taken == len(SIDES)

    def advice(self, seen: Seen) -> str:
        """What to do before the next picture can be taken; "" where this one is good: hand in its face with `take`."""
        return advice(seen, SIDES[self.taken])

    def take(self, embedding: NDArray[np.float32]) -> str:
        """Count a good picture's face (D,), of unit length; "" where it was taken, else why it was not."""
        if not self.taken:
            self._first = embedding
        elif float(self._first @ embedding) < self._threshold:
            return "this is not the person of the first picture: only the one to enroll"
        self.taken += 1
        return ""
