"""Who has been asked to turn their head, and how that stands: one challenge a passage."""

from __future__ import annotations

from pipeline.types import Faces
from stages.challenge import Challenge
from stages.gate.clock import boot_ns
from stages.gate.passages import JOIN_BELOW, Passage


class Turns:
    """The challenges of the open passages."""

    def __init__(self, seconds: float) -> None:
        """`seconds` are given for each."""
        self._seconds = seconds
        self._asked: dict[str, Challenge] = {}
        self._passed: dict[str, int] = {}
        self._swapped: set[str] = set()  # passages in which somebody else's face was seen meanwhile

    def ask(self, passage: Passage) -> str:
        """Ask for a turn, if it was not asked yet; what to say to the person now."""
        challenge = self._asked.setdefault(passage.id, Challenge(boot_ns(), self._seconds))
        return challenge.request or "look at the camera"

    def see(self, passage: Passage, faces: Faces, row: int, track: int) -> None:
        """Look at a face of a passage. Who turns has to be who was asked: not a photo of them before, and after."""
        challenge = self._asked.get(passage.id)
        if challenge is None or faces.found.keypoints is None:
            return
        if row in faces.rows and not _alike(passage, faces, row):
            self._swapped.add(passage.id)
        if passage.id in self._passed:
            return
        if challenge.see(track, faces.found.keypoints[row], boot_ns()) == "passed":
            self._passed[passage.id] = faces.frame.captured_ns

    def passed_ns(self, passage: Passage) -> int | None:
        """When the head had been turned as asked, on this host's monotonic clock; None where it has not been."""
        return self._passed.get(passage.id)

    def failed(self, passage: Passage) -> str:
        """Why it will not be any more; "" where it may still be, or has been."""
        challenge = self._asked.get(passage.id)
        if passage.id in self._swapped:
            return "another face was seen meanwhile"
        return challenge.reason if challenge else ""

    def forget(self, passage: Passage) -> None:
        """The passage is decided, merged into another, or over."""
        self._asked.pop(passage.id, None)
        self._passed.pop(passage.id, None)
        self._swapped.discard(passage.id)


def _alike(passage: Passage, faces: Faces, row: int) -> bool:
    """Whether a face that was compared may be that of the passage; one that is turned is less like it."""
    near = faces.people[row] == passage.leader(faces.threshold)
    return near and float(faces.similarity[row]) >= faces.threshold - JOIN_BELOW
