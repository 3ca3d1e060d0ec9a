"""Who stands in the snapshot of a decision, and may be found out only later, or be forgotten before it is made."""

from __future__ import annotations

from collections.abc import Container

from stages.events.records import Face
from stages.gate.passage import Passage
from stages.gate.passages import Passages
from stages.mosaic import covered


def own_track(passage: Passage) -> int | None:
    """The track of a passage's own face in its snapshot; None where it has none there, or more than one."""
    tracks = {face.track for face in passage.faces} & passage.tracks
    return tracks.pop() if len(tracks) == 1 else None


class Bystanders:
    """Who was recognized on which track, for as long as a passage or a snapshot that is not written needs it."""

    def __init__(self) -> None:
        self._recognized: set[tuple[int, str]] = set()

    def see(self, passages: Passages, known: Container[str]) -> list[tuple[int, str]]:
        """Track and person (id) of those who were recognized since the last time; `known` are those enrolled."""
        led = [(passage, passage.leader(passages.threshold)) for passage in passages.open]
        now = {(track, person) for passage, person in led if person in known for track in passage.tracks}
        needed = {face.track for passage in passages.open for face in passage.faces} | {track for track, _ in now}
        kept = {(track, person) for track, person in self._recognized if track in needed}
        self._recognized = kept | now
        return sorted(now - kept)

    def shown(self, passage: Passage, known: Container[str]) -> tuple[bytes, list[Face]]:
        """The snapshot of a passage, a JPEG, and who stands in it, as far as that is known yet.

        Who is forgotten since is covered; where that cannot be, there is no snapshot.
        """
        tracks = {face.track: face for face in passage.faces}
        named = [Face(track, tracks[track].box, person) for track, person in self._recognized if track in tracks]
        gone = [face.box for face in named if face.person not in known]
        faces = [face for face in passage.faces if not face.person]  # the rest are named here, perhaps again
        faces += [face for face in named if face.person in known]
        if not gone:
            return passage.snapshot, faces
        try:
            return covered(passage.snapshot, gone), faces
        except ValueError:
            return b"", []
