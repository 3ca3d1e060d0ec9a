"""Who has been asked to turn their head, and how that stands: one challenge a passage."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Faces
from stages.challenge import Challenge, turned
from stages.gate.clock import boot_ns
from stages.gate.judge import Accepted
from stages.gate.passage import Passage
from stages.gate.passages import JOIN_BELOW

OTHERS = 2  # faces of somebody else that end it: one may be a blur, or who walks through the picture


class _Asked(NamedTuple):
    """Of whom a turn was asked."""

    whom: tuple[str, str]  # door, and person
    challenge: Challenge
    faces: NDArray[np.float32]  # (V, D) of unit length: those that they were recognized by


class Turns:
    """The challenges of the open passages."""

    def __init__(self, seconds: float) -> None:
        """`seconds` are given for each."""
        self._seconds = seconds
        self._asked: dict[str, _Asked] = {}
        self._passed: dict[str, int] = {}
        self._others: Counter[str] = Counter()  # by passage, somebody else's faces that were seen meanwhile

    def ask(self, passage: Passage, door: str, found: Accepted) -> str:
        """Ask for a turn, if it was not asked yet; what to say to the person now.

        Two cameras of a door ask somebody for the same side.
        """
        if passage.id not in self._asked:
            whom, faces = (door, found.person), np.stack([vote.face for vote in found.votes])
            side = next((one.challenge.side for one in self._asked.values() if one.whom == whom), None)
            self._asked[passage.id] = _Asked(whom, Challenge(boot_ns(), self._seconds, side), faces)
        return self._asked[passage.id].challenge.request or "look at the camera"

    def see(self, passage: Passage, faces: Faces, row: int, track: int) -> None:
        """Look at a face of a passage.

        Who turns has to be who was asked, not a photo of them before and after: the turned face, too, has to match
        those that they were recognized by. One that is turned and matches nobody says nothing: one's own may, too.
        """
        asked = self._asked.get(passage.id)
        if asked is None or faces.found.keypoints is None:
            return
        points, compared = faces.found.keypoints[row], np.flatnonzero(faces.rows == row)
        like = max((float((asked.faces @ faces.embeddings[one]).max()) for one in compared), default=None)
        if like is not None and like < faces.threshold - JOIN_BELOW and not turned(points[None])[0]:
            self._others[passage.id] += 1
        if passage.id in self._passed:
            return
        same = like is not None and like >= faces.threshold
        if asked.challenge.see(track, points, boot_ns(), same) == "passed":
            self._passed[passage.id] = faces.frame.captured_ns

    def passed_ns(self, passage: Passage) -> int | None:
        """When the head had been turned as asked, on this host's monotonic clock; None where it has not been."""
        return self._passed.get(passage.id)

    def failed(self, passage: Passage) -> str:
        """Why it will not be any more; "" where it may still be, or has been."""
        if self._others[passage.id] >= OTHERS:
            return "another face was seen meanwhile"
        asked = self._asked.get(passage.id)
        return asked.challenge.reason if asked else ""

    def forget(self, passage: Passage) -> None:
        """The passage is decided, merged into another, or over."""
        self._asked.pop(passage.id, None)
        self._passed.pop(passage.id, None)
        self._others.pop(passage.id, None)
