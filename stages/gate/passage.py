"""A passage: one person's presence in front of a camera, over frames, tracks and restarts; it gets one decision."""

from __future__ import annotations

import math
import secrets
from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.events.records import Face, Kept

BADGES = 3  # that may fail in a passage, and holders of badges whom its faces may be compared with
NEEDED = 2  # votes for a person; so the second-best similarity is the score of a passage
EVIDENCE_NS = 10_000_000_000  # votes older than this say nothing about who stands there now


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


class Passage(msgspec.Struct, eq=False):
    """One passage; `votes` grow until there are enough, or it is decided."""

    camera: str
    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    person: str = ""  # once decided: whom it was decided about, "" for a stranger
    decided: bool = False
    settled: bool = False  # decided as gone, or late: before another camera they may still be let in
    # The same face has a decision already: this one counts only if it finds out who it is, with the faces that the
    # other has left. Else whoever is refused would get as many tries as they like, and no rate would hold.
    after_another: bool = False
    taken: int = 0  # faces that were compared, those of the decision before included
    unlike: int = 0  # once decided: faces in a row that are not like its own
    unlike_ns: int = 0  # boot clock, when the first of these came
    upon: bool = False  # it began on the track of a decided passage, whose face may come back
    first_seen_ns: int = 0  # boot clock
    seen_ns: int = 0  # boot clock
    stored_ns: int = 0  # `seen_ns` as the database has it
    votes: list[Vote] = []
    model: str = ""  # that they were embedded with
    threshold: float = math.inf  # cosine, that they were compared by
    newest: Vote | None = None  # of the face that was compared last, among `votes` or not
    tracks: set[int] = set()
    frame: tuple[int, int] = (0, 0)  # seq and pts, ns, of the newest one
    box: tuple[float, ...] = ()  # xyxy, pixels, where it was seen last
    snapshot: bytes = b""  # of the best vote's frame, JPEG
    faces: list[Face] = []  # all that are tracked in it, this passage's among them
    badge: str = ""  # 1:1: the one (its HMAC) that the faces are compared with its holder's for
    badge_ns: int = 0  # boot clock, when it began to count for this passage
    # Whom faces were compared with, by id (a badge that is nobody's: itself), and when these were captured.
    holders: dict[str, list[int]] = {}
    failed: list[str] = []  # badges whose holder it is not
    said: str = ""  # to the person in front of the camera

    @classmethod
    def of(cls, kept: Kept, seen_ns: int) -> Passage:
        """As it was kept; it was last seen at boot time `seen_ns`.

        Of what another version kept only that is left which says whether, and about whom, a decision was made.
        """
        fields = {
            "camera": kept.camera,
            "id": kept.id,
            "person": kept.person,
            "decided": kept.decided,
            "first_seen_ns": min(kept.first_ns, seen_ns),
            "seen_ns": seen_ns,
            "stored_ns": 0,
        }
        try:
            return msgspec.convert(msgspec.msgpack.decode(kept.evidence) | fields, cls)
        except msgspec.ValidationError:
            return msgspec.convert(fields, cls)

    def kept(self, wall_ns: int, boot: str) -> Kept:
        """As it is to be kept at wall time `wall_ns`: what the decision has, or nobody asks for, is left out."""
        snapshot, faces = (b"", []) if self.decided else (self.snapshot, self.faces)
        evidence = msgspec.structs.replace(self, snapshot=snapshot, faces=faces, newest=None)
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

    def recent(self, captured_ns: int) -> list[Vote]:
        """The votes that say who stands there at `captured_ns`, on this host's monotonic clock."""
        return [vote for vote in self.votes if is_recent(vote, captured_ns)]

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


def is_recent(vote: Vote, captured_ns: int) -> bool:
    """Whether a vote says who stands there at `captured_ns`; one from after that does not."""
    return 0 <= captured_ns - vote.captured_ns <= EVIDENCE_NS
