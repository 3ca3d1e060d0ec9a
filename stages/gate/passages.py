"""Which passage a face belongs to.

The faces of a passage belong together by their track, by the person they are near to, or by their likeness to each
other. A passage ends once nobody of it has been seen for `GAP_NS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Faces
from stages.events.records import Face
from stages.gate.passage import NEEDED, Passage, Vote, near

GAP_NS = 10_000_000_000
# Faces that are unlike all of a decided passage, and near to nobody, are somebody else's: of who turns away a few are,
# too, and with two there were second decisions about a passage.
UNLIKE, UNLIKE_NS = 4, 3_000_000_000  # so many in a row, and for so long
# Below the threshold of a match, cosine: strangers of one camera within seconds are one and the same rather than two.
JOIN_BELOW = 0.15
# A face that comes up where another was lost moments ago, as after a restart, needs to be less like it.
NEAR_NS = 3_000_000_000
NEAR_SIDES = 1.5  # of the face's own size
NEAR_BELOW = 0.4


class _Face(NamedTuple):
    """A picked face of a frame."""

    camera: str
    track: int
    vote: Vote
    box: NDArray[np.float32]  # (4,) xyxy, pixels
    others: set[int]  # tracks in the same frame

    def is_where(self, box: tuple[float, ...]) -> bool:
        """Whether it is near a place, by its own size."""
        if not box:
            return False
        middle, side = (self.box[:2] + self.box[2:]) / 2, float((self.box[2:] - self.box[:2]).max())
        away = np.abs(middle - (np.array(box[:2]) + np.array(box[2:])) / 2)
        return bool((away <= NEAR_SIDES * side).all())


class Passages:
    """The open passages of all cameras."""

    def __init__(
        self,
        most: int,
        threshold: float,
        passages: Iterable[Passage] = (),
        with_badges: bool = False,
        watched: Callable[[str], bool] = lambda person: False,
    ) -> None:
        """`most` embeddings of a passage count, `threshold` is cosine; `passages` are those before a restart.

        `with_badges`: each holder of a badge is compared with so many, so the newest take the place of the first.
        `watched` says who (by id) is on the watch list.
        """
        self._most, self._with_badges, self._watched = most, with_badges, watched
        self.threshold = threshold
        self.open: list[Passage] = list(passages)
        self._of_track = {track: passage for passage in self.open for track in passage.tracks}

    def see(self, faces: Faces, now_ns: int) -> tuple[list[Passage], list[Passage]]:
        """Take in a frame at boot time `now_ns`: the passages with a new vote, and those merged into others.

        The passage of each face is then `of(track)`.
        """
        tracks = _tracks(faces)
        voted, gone = [], []
        for row, vote in zip(faces.rows.tolist(), _votes(faces, tracks), strict=True):
            if tracks[row] < 0:
                continue
            face = _Face(faces.frame.source, tracks[row], vote, faces.found.boxes[row], set(tracks) - {tracks[row]})
            passage, merged = self._place(face, now_ns)
            gone += merged
            told = any((old.captured_ns, old.track) == (vote.captured_ns, vote.track) for old in passage.votes)
            passage.newest = vote
            if passage.decided:
                passage.taken += 1  # else who was refused could stay until a face of theirs is like somebody else's
            elif not told and self._room(passage, vote):  # told: a message sent again
                if not passage.votes or vote.quality >= max(old.quality for old in passage.votes):
                    passage.snapshot, passage.faces = faces.snapshot, _faces(faces, tracks)
                passage.votes = [*passage.votes, vote][-self._most :]
                passage.taken += 1
                passage.model, passage.threshold = faces.model, faces.threshold
                voted.append(passage)
        for track, box in zip(tracks, faces.found.boxes.tolist(), strict=True):
            if seen := self._of_track.get(track):
                seen.seen_ns, seen.frame = now_ns, (faces.frame.seq, faces.frame.pts_ns)
                seen.box = tuple(box)
        return list(dict.fromkeys(voted)), gone

    def of(self, track: int) -> Passage | None:
        """The passage that a track belongs to; None where no face of it was good enough yet."""
        return self._of_track.get(track)

    def forget_all_but(self, known: Container[str]) -> None:
        """Take everybody (by id) who is not among `known` for a stranger, decided about or not."""
        for passage in self.open:
            passage.person = passage.person if passage.person in known else ""
            passage.votes = [
                vote if vote.person in known else msgspec.structs.replace(vote, person="") for vote in passage.votes
            ]
            passage.newest = passage.newest if passage.newest and passage.newest.person in known else None

    def close(self, passage: Passage) -> None:
        """Forget a passage that is over."""
        self.open.remove(passage)
        for track in passage.tracks:
            self._of_track.pop(track, None)

    def _room(self, passage: Passage, vote: Vote) -> bool:
        """Whether another vote of a passage counts. An alarm opens nothing, so for it there are always tries left."""
        alarming = near(vote, self.threshold) and self._watched(vote.person)
        return self._with_badges or alarming or passage.taken < self._most

    def _place(self, face: _Face, now_ns: int) -> tuple[Passage, list[Passage]]:
        """The passage that a face belongs to, and what was merged into it."""
        mine = self._of_track.get(face.track)
        person = face.vote.person if near(face.vote, self.threshold) else ""
        theirs = self._led_by(face, person) if person else None
        merged = []
        if theirs is not None and self._joins(mine, theirs, person):
            if mine is not None and mine is not theirs and not mine.decided:
                merged = [self._merge(mine, theirs)]
            passage, passage.unlike = theirs, 0
        else:
            found = self._back(mine, face) if mine else self._alike(face, now_ns)
            passage = self._after(found, face, person, now_ns) if found else self._begin(face.camera, now_ns)
        if mine is not None:
            mine.tracks.discard(face.track)
        passage.tracks.add(face.track)
        self._of_track[face.track] = passage
        return passage, merged

    def _joins(self, mine: Passage | None, theirs: Passage, person: str) -> bool:
        """Whether a face near to `person`, whom the passage `theirs` is about, on the track of `mine` belongs there.

        Where a decision was made one face is not enough to make nothing of all that were nobody's before it.
        """
        if mine is None or mine is theirs or mine.decided == theirs.decided:
            return True
        if mine.decided:
            return False  # it goes on with the tries that the decision has left
        theirs_too = sum(vote.person == person and near(vote, self.threshold) for vote in mine.votes)
        return not mine.votes or theirs_too + 1 >= NEEDED

    def _after(self, found: Passage, face: _Face, person: str, now_ns: int) -> Passage:
        """Where a face goes that would belong to `found`: once that is decided, perhaps to a new passage.

        A face that is unlike all of `found` is somebody else's, who came upon its track: they have all tries, and a
        decision of their own. One that is near to another person decides it; of nobody's it takes `UNLIKE` in a row.
        """
        if not found.decided:
            return found
        another = bool(person) and person != found.person
        if found.likeness(face.vote.face) < self.threshold - JOIN_BELOW:
            found.unlike += 1
            found.unlike_ns = now_ns if found.unlike == 1 else found.unlike_ns
            stays = found.unlike >= UNLIKE and now_ns - found.unlike_ns >= UNLIKE_NS
            if not (another or stays):
                return found
            if known := self._decided_like(face):
                return self._after(known, face, person, now_ns)
            begun = self._begin(face.camera, now_ns)
            begun.upon = True
            return begun
        found.unlike = 0
        return self._begin(face.camera, now_ns, found) if another and not found.over else found

    def _back(self, mine: Passage, face: _Face) -> Passage:
        """The passage that has a decision about a face, where `mine` began on the track of such a one; else `mine`.

        Else whoever was refused could show another's face for a while, and had all tries again.
        """
        known = self._decided_like(face) if mine.upon and not mine.decided else None
        return known if known and known.likeness(face.vote.face) > mine.likeness(face.vote.face) else mine

    def _decided_like(self, face: _Face) -> Passage | None:
        """The decided passage that a face is most like; None where it is like none."""
        decided = [one for one in self._candidates(face) if one.decided]
        nearest = max(decided, key=lambda one: one.likeness(face.vote.face), default=None)
        alike = nearest and nearest.likeness(face.vote.face) >= self.threshold - JOIN_BELOW
        return nearest if alike else None

    def _begin(self, camera: str, now_ns: int, before: Passage | None = None) -> Passage:
        """A new passage, after the decision about `before` where that is the same face's."""
        passage = Passage(camera, after_another=bool(before), first_seen_ns=now_ns, seen_ns=now_ns)
        if before:
            passage.taken, passage.failed = before.taken, list(before.failed)
            passage.holders = {holder: list(faces) for holder, faces in before.holders.items()}
        self.open.append(passage)
        return passage

    def _candidates(self, face: _Face) -> list[Passage]:
        """Passages of the camera that are not in the picture by another track: nobody is in two places."""
        return [one for one in self.open if one.camera == face.camera and not one.tracks & face.others]

    def _led_by(self, face: _Face, person: str) -> Passage | None:
        """The passage of `person`. One that is decided may be in the picture: then two have exchanged their tracks."""
        free = self._candidates(face)
        there = [one for one in self.open if one.camera == face.camera and one.leader(self.threshold) == person]
        return next((one for one in there if one.decided), next((one for one in there if one in free), None))

    def _alike(self, face: _Face, now_ns: int) -> Passage | None:
        found = [(one.likeness(face.vote.face), one) for one in self._candidates(face)]
        likeness, nearest = max(found, key=lambda pair: pair[0], default=(-1.0, None))
        if nearest is None or likeness >= self.threshold - JOIN_BELOW:
            return nearest
        here = not nearest.decided and now_ns - nearest.seen_ns <= NEAR_NS and face.is_where(nearest.box)
        if not here or likeness < self.threshold - NEAR_BELOW:
            return None
        alike = face.vote.person if near(face.vote, self.threshold - JOIN_BELOW) else ""
        theirs = (one for one in self._candidates(face) if alike and one.leader(self.threshold) == alike)
        return next(theirs, nearest)  # to be like somebody's enrolled faces says more than the place does

    def _merge(self, old: Passage, into: Passage) -> Passage:
        self.open.remove(old)
        into.tracks |= old.tracks
        into.first_seen_ns = min(into.first_seen_ns, old.first_seen_ns)
        into.taken += old.taken
        into.failed = list(dict.fromkeys([*old.failed, *into.failed]))
        for holder, faces in old.holders.items():
            into.holders[holder] = [*faces, *into.holders.get(holder, [])]
        into.after_another &= old.after_another
        if not into.decided:
            into.votes = (old.votes + into.votes)[-self._most :]
        self._of_track |= dict.fromkeys(old.tracks, into)
        return old


def _tracks(faces: Faces) -> Sequence[int]:
    if faces.found.tracks is None:
        raise ValueError("faces without tracks: the gate's graph needs Track before it")
    tracks: Sequence[int] = faces.found.tracks.tolist()
    return tracks


def _faces(faces: Faces, tracks: Sequence[int]) -> list[Face]:
    boxes = faces.found.boxes.tolist()
    return [Face(track, tuple(box)) for track, box in zip(tracks, boxes, strict=True) if track >= 0]


def _votes(faces: Faces, tracks: Sequence[int]) -> list[Vote]:
    """One for each picked face. Of two faces near to one person the nearer is theirs: nobody is there twice."""
    votes = []
    rows = faces.rows.tolist()
    for index, row in enumerate(rows):
        person, mine = faces.people[row], float(faces.similarity[row])
        twins = [float(faces.similarity[other]) for other in rows if faces.people[other] == person]
        live = float(faces.live[index])
        votes.append(
            Vote(
                embedding=faces.embeddings[index].astype("<f4").tobytes(),
                person=person if mine == max(twins) else "",
                similarity=None if math.isnan(mine) else mine,
                quality=float(faces.quality[index]),
                live=None if math.isnan(live) else live,
                captured_ns=faces.frame.captured_ns,
                track=tracks[row],
            )
        )
    return votes
