"""Passages: one person's presence in front of a camera, over frames, tracks and restarts; each gets one decision.

The faces of a passage belong together by their track, by the person they are near to, or by their likeness to each
other. A passage ends once nobody of it has been seen for `GAP_NS`.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Faces
from stages.events.records import Face, Kept

GAP_NS = 10_000_000_000
BADGES = 3  # that may fail in a passage: each is another person whom its faces are compared with
NEEDED = 2  # votes for a person; so the second-best similarity is the score of a passage
EVIDENCE_NS = 10_000_000_000  # votes older than this say nothing about who stands there now
# Below the threshold of a match, cosine: strangers of one camera within seconds are one and the same rather than two.
JOIN_BELOW = 0.15
# A face that comes up where another was lost moments ago, as after a restart, needs to be less like it.
NEAR_NS = 3_000_000_000
NEAR_SIDES = 1.5  # of the face's own size
NEAR_BELOW = 0.4


class Vote(msgspec.Struct, frozen=True):
    """What one picked face says."""

    embedding: bytes  # (D,) little-endian float32 of unit length
    person: str  # the nearest person's id, "" where nobody is enrolled
    similarity: float | None  # to that person
    quality: float
    live: float | None
    captured_ns: int  # this host's monotonic clock
    track: int

    @property
    def face(self) -> NDArray[np.float32]:
        """(D,) float32."""
        return np.frombuffer(self.embedding, "<f4")


class Evidence(msgspec.Struct, frozen=True):
    """What is kept of an open passage in the database, sealed."""

    votes: list[Vote]
    tracks: list[int]
    after_another: bool
    spent: int
    frame: tuple[int, int]
    box: tuple[float, ...]
    snapshot: bytes
    faces: list[Face] = []
    badge: str = ""
    failed: list[str] = []


@dataclass(eq=False)
class Passage:
    """One passage; `votes` grow until there are enough, or it is decided."""

    camera: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    person: str = ""  # once decided: whom it was decided about, "" for a stranger
    decided: bool = False
    # The same face has a decision already: this one counts only if it finds out who it is, with the faces that the
    # other has left. Else whoever is refused would get as many tries as they like, and no rate would hold.
    after_another: bool = False
    spent: int = 0
    first_seen_ns: int = 0  # boot clock
    seen_ns: int = 0  # boot clock
    stored_ns: int = 0  # `seen_ns` as the database has it
    votes: list[Vote] = field(default_factory=list)
    newest: Vote | None = None  # of the face that was compared last, among `votes` or not
    tracks: set[int] = field(default_factory=set)
    frame: tuple[int, int] = (0, 0)  # seq and pts, ns, of the newest one
    box: tuple[float, ...] = ()  # xyxy, pixels, where it was seen last
    snapshot: bytes = b""  # of the best vote's frame, JPEG
    faces: list[Face] = field(default_factory=list)  # all that are tracked in it, this passage's among them
    badge: str = ""  # 1:1: the one (its HMAC) that the faces are compared with its holder's for
    failed: list[str] = field(default_factory=list)  # those whose holder it is not
    said: str = ""  # to the person in front of the camera

    @classmethod
    def of(cls, kept: Kept, seen_ns: int) -> Passage:
        """As it was kept; it was last seen at boot time `seen_ns`."""
        found = msgspec.msgpack.decode(kept.evidence, type=Evidence)
        return cls(
            camera=kept.camera,
            id=kept.id,
            person=kept.person,
            decided=kept.decided,
            after_another=found.after_another,
            spent=found.spent,
            first_seen_ns=min(kept.first_ns, seen_ns),
            seen_ns=seen_ns,
            votes=found.votes,
            tracks=set(found.tracks),
            frame=found.frame,
            box=found.box,
            snapshot=found.snapshot,
            faces=found.faces,
            badge=found.badge,
            failed=found.failed,
        )

    def kept(self, wall_ns: int, boot: str) -> Kept:
        """As it is to be kept at wall time `wall_ns`, from now on."""
        self.stored_ns = self.seen_ns
        snapshot, faces = (b"", []) if self.decided else (self.snapshot, self.faces)
        evidence = Evidence(
            votes=self.votes,
            tracks=sorted(self.tracks),
            after_another=self.after_another,
            spent=self.spent,
            frame=self.frame,
            box=self.box,
            snapshot=snapshot,
            faces=faces,
            badge=self.badge,
            failed=self.failed,
        )
        return Kept(
            id=self.id,
            camera=self.camera,
            person=self.person,
            decided=self.decided,
            first_ns=self.first_seen_ns,
            seen_ns=self.seen_ns,
            at_ns=wall_ns,
            boot=boot,
            evidence=msgspec.msgpack.encode(evidence),
        )

    @property
    def over(self) -> bool:
        """Whether no badge can change any more who it is taken for."""
        return len(self.failed) >= BADGES

    def used(self) -> int:
        """How many faces were compared, the decision before this one included."""
        return self.spent + len(self.votes)

    def leader(self, threshold: float) -> str:
        """The person that most votes are for, near enough; once decided, whom it was decided about."""
        if self.decided:
            return self.person
        counts = Counter(vote.person for vote in self.votes if near(vote, threshold))
        best = {vote.person: vote.similarity or 0.0 for vote in sorted(self.votes, key=lambda v: v.similarity or 0.0)}
        return max(counts, key=lambda person: (counts[person], best[person]), default="")

    def likeness(self, face: NDArray[np.float32]) -> float:
        """Cosine of `face` (D,) to the nearest face of this passage; -1 where it has none."""
        return max((float(vote.face @ face) for vote in self.votes), default=-1.0)


def near(vote: Vote, threshold: float) -> bool:
    """Whether a vote is for its person. NaN, or nobody enrolled, is not."""
    return bool(vote.person) and vote.similarity is not None and vote.similarity >= threshold


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

    def __init__(self, most: int, threshold: float, passages: Iterable[Passage] = ()) -> None:
        """`most` embeddings of a passage count, `threshold` is cosine; `passages` are those before a restart."""
        self._most = most
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
                passage.spent += 1  # else who was refused could stay until a face of theirs is like somebody else's
            elif not told and passage.used() < self._most:  # told: a message sent again
                if not passage.votes or vote.quality >= max(old.quality for old in passage.votes):
                    passage.snapshot, passage.faces = faces.snapshot, _faces(faces, tracks)
                passage.votes.append(vote)
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

    def _place(self, face: _Face, now_ns: int) -> tuple[Passage, list[Passage]]:
        """The passage that a face belongs to, and what was merged into it."""
        mine = self._of_track.get(face.track)
        person = face.vote.person if near(face.vote, self.threshold) else ""
        theirs = self._led_by(face, person) if person else None
        merged = []
        if theirs is not None and (mine is None or not mine.decided):
            if mine is not None and mine is not theirs:
                merged = [self._merge(mine, theirs)]
            passage = theirs
        else:
            found = mine or self._alike(face, now_ns)
            decided = found is not None and found.decided and not found.over
            other = found is None or (decided and bool(person) and found.person != person)
            passage = self._begin(face.camera, now_ns, found) if other or found is None else found
        passage.tracks.add(face.track)
        self._of_track[face.track] = passage
        return passage, merged

    def _begin(self, camera: str, now_ns: int, before: Passage | None) -> Passage:
        """A new passage, after the decision about `before` where that is the same face's."""
        passage = Passage(camera, after_another=bool(before), first_seen_ns=now_ns, seen_ns=now_ns)
        if before:
            passage.spent, passage.failed = before.used(), list(before.failed)
        self.open.append(passage)
        return passage

    def _candidates(self, face: _Face) -> list[Passage]:
        """Passages of the camera that are not in the picture by another track: nobody is in two places."""
        return [one for one in self.open if one.camera == face.camera and not one.tracks & face.others]

    def _led_by(self, face: _Face, person: str) -> Passage | None:
        found = (one for one in self._candidates(face) if one.leader(self.threshold) == person)
        return next(found, None)

    def _alike(self, face: _Face, now_ns: int) -> Passage | None:
        found = [(one.likeness(face.vote.face), one) for one in self._candidates(face)]
        likeness, nearest = max(found, key=lambda pair: pair[0], default=(-1.0, None))
        if nearest is None:
            return None
        here = not nearest.decided and now_ns - nearest.seen_ns <= NEAR_NS and face.is_where(nearest.box)
        return nearest if likeness >= self.threshold - (NEAR_BELOW if here else JOIN_BELOW) else None

    def _merge(self, old: Passage, into: Passage) -> Passage:
        self.open.remove(old)
        into.tracks |= old.tracks
        into.first_seen_ns = min(into.first_seen_ns, old.first_seen_ns)
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
