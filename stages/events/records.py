"""What is written down, and what is sent out."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["opened", "refused", "held", "alarm"]
Housekeeping = Literal["started", "clock", "command", "clip", "snapshot", "tombstone", "checkpoint"]
Kind = Outcome | Housekeeping


class Ballot(msgspec.Struct, frozen=True):
    """One face that a decision rests on."""

    similarity: float | None  # cosine to the nearest person
    quality: float  # 0..1
    live: float | None  # 0..1


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a passage, and why; of a row only time, camera and outcome are not sealed."""

    at_ns: int  # wall clock, ns since the epoch
    camera: str
    door: str
    outcome: Outcome
    reason: str  # one word, for programs; "" where the door opens
    why: str  # a sentence
    person: str  # id, hexadecimal; "" for a stranger
    name: str  # as enrolled then
    score: float | None  # cosine
    threshold: float | None  # cosine; None where no face of a run was compared yet
    far: float | None  # what the threshold was calibrated for; None: not calibrated
    live: float | None
    live_threshold: float | None
    passage: str  # id, hexadecimal
    frame_seq: int
    pts_ns: int  # the stream's own time
    # To the decision from the capture of the face that was the last to be like the person; None for a stranger, and
    # where it came after the last frame.
    age_ms: float | None
    ballots: tuple[Ballot, ...]
    models: dict[str, str]  # what it does -> sha256 of the file
    frame_sha256: str  # of the snapshot, a JPEG; "" without one
    simulated: bool  # nothing but a simulated door was to move
    track: int | None = None  # whose face in the snapshot it is about; None where that is not known


class Since(msgspec.Struct, frozen=True, array_like=True):
    """When somebody came in or went out."""

    at_ns: int  # wall clock, ns since the epoch
    boot: str  # in which the host was then
    boot_ns: int  # since that


class Order(msgspec.Struct, frozen=True):
    """That a door shall open; becomes a command with the decision that it belongs to."""

    door: str
    seconds: float
    within_ns: int  # it expires so long after it was given


class Command(msgspec.Struct, frozen=True):
    """A door command that is to be carried out now, once."""

    id: str
    door: str
    seq: int  # of the decision
    seconds: float
    until_ns: int  # wall clock: whoever hears of it later does nothing


class Event(msgspec.Struct, frozen=True):
    """A row as it can be read; `decision` is None where it was erased, is damaged, or is no decision."""

    seq: int
    at_ns: int
    camera: str
    kind: str
    decision: Decision | None
    note: str  # JSON of what is public in it; "" for a decision
    erased: bool
    has_snapshot: bool
    has_clip: bool
    damaged: bool = False  # it is there, and does not open; an audit says more


class Face(msgspec.Struct, frozen=True):
    """Who stands where in a snapshot."""

    track: int
    box: tuple[float, float, float, float]  # xyxy pixels
    person: str = ""  # id, hexadecimal; "" for whoever the track turns out to be


class Sighting(msgspec.Struct, frozen=True):
    """Where in a clip somebody is."""

    person: str  # id, hexadecimal
    at_ns: int  # from the clip's beginning
    box: tuple[float, float, float, float]  # of the face, xyxy pixels


class Clip(msgspec.Struct, frozen=True):
    """The moving pictures of a decision, and who of the enrolled is to be seen in them, and where."""

    mp4: bytes
    sightings: tuple[Sighting, ...]

    @property
    def people(self) -> frozenset[str]:
        """Ids, hexadecimal."""
        return frozenset(sighting.person for sighting in self.sightings)


class Head(msgspec.Struct, frozen=True):
    """A row's place in the chain, signed: whoever keeps it outside can tell that nothing up to it is missing."""

    seq: int
    hash: str  # SHA-256, hexadecimal
    signature: str  # Ed25519, hexadecimal


class Notice(msgspec.Struct, frozen=True):
    """What an output is told of a decision."""

    key: str  # the same each time it is delivered
    seq: int
    at_ns: int
    camera: str
    door: str
    outcome: str
    reason: str
    name: str
    head: Head


class Delivery(msgspec.Struct, frozen=True):
    """The next notice of an output, and how often it was tried."""

    id: int
    attempts: int
    notice: Notice


class Kept(msgspec.Struct, frozen=True):
    """An open passage as the database has it."""

    id: str  # hexadecimal, 16 bytes: the owner of its key
    camera: str
    person: str
    decided: bool
    first_ns: int  # boot clock
    seen_ns: int  # boot clock
    at_ns: int  # wall clock, when it was last seen
    boot: str
    evidence: bytes
