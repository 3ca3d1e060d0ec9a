"""Every message that travels between stages, with the shape, dtype and unit of each field.

Each message carries its parent, so an ending needs no joins. `__post_init__` runs on decoding too: a message whose
arrays do not have the shapes stated here never reaches a stage.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

MOST_SIDE = 32768  # pixels
Word = Annotated[int, Meta(ge=0, le=(1 << 62) - 1)]  # what fits into shared memory, and into a sum of two
Time = Annotated[int, Meta(ge=-(1 << 62), le=(1 << 62) - 1)]  # nanoseconds
Side = Annotated[int, Meta(ge=1, le=MOST_SIDE)]


class Frame(msgspec.Struct, frozen=True, tag="frame"):
    """A ticket for pixels, never pixels: (height, width, 3) uint8 BGR in a ring's slot while its lap is `lap`."""

    source: str
    seq: Word  # position in the source, from 0; a gap is a drop
    captured_ns: Time  # this host's monotonic clock; never crosses hosts
    pts_ns: Time  # the stream's own time
    ring: Word
    slot: Word
    lap: Word
    width: Side
    height: Side

    @property
    def frame(self) -> Frame:
        return self


class Packet(msgspec.Struct, frozen=True):
    """A piece of a source's compressed stream, as it came: one picture, as a rule. It travels beside the messages."""

    source: str
    number: Word  # counts the packets that one process has read of the source; a gap is a loss
    read_ns: Time  # this host's monotonic clock
    pts_ns: Time  # the stream's own time, on the line of Frame.pts_ns
    duration_ns: Time  # 0 where the stream does not say
    key: bool  # decoding can begin here
    header: bytes  # of a key frame: a NUT file with the stream's codec parameters, and no picture
    data: bytes


class Candidates(msgspec.Struct, frozen=True, tag="candidates"):
    """What a detector saw, best first, before NMS: at most the detector's top-K."""

    frame: Frame
    boxes: NDArray[np.float32]  # (N, 4) xyxy, pixels of the frame
    scores: NDArray[np.float32]  # (N,) 0..1, descending
    classes: NDArray[np.int32]  # (N,) index into labels
    keypoints: (
        NDArray[np.float32] | None
    )  # (N, 5, 2) xy pixels: left eye, right eye, nose, mouth corners (viewer's left first)
    labels: tuple[str, ...]  # the names of the classes, from the model file

    def __post_init__(self) -> None:
        _check_boxes(self.boxes, self.scores, self.classes, self.keypoints)


class Detections(msgspec.Struct, frozen=True, tag="detections"):
    """What is in the frame: `Candidates` after NMS, the same fields."""

    frame: Frame
    boxes: NDArray[np.float32]  # (N, 4) xyxy, pixels of the frame
    scores: NDArray[np.float32]  # (N,) 0..1, descending
    classes: NDArray[np.int32]  # (N,) index into labels
    keypoints: NDArray[np.float32] | None  # (N, 5, 2) xy pixels, as in Candidates
    labels: tuple[str, ...]
    tracks: NDArray[np.int32] | None = None  # (N,) the track of each, -1 for none; None where nothing tracks

    def __post_init__(self) -> None:
        _check_boxes(self.boxes, self.scores, self.classes, self.keypoints)
        if self.tracks is not None:
            _check(self.tracks, np.int32, (len(self.boxes),), "tracks")


class Crops(msgspec.Struct, frozen=True, tag="crops"):
    """Aligned faces, copied out by the stage that had the pixels in hand."""

    found: Detections
    rows: NDArray[np.int32]  # (M,) which detection each chip shows, ascending; a face too small to tell has no chip
    chips: NDArray[np.uint8]  # (M, S, S, 3) RGB; S is 150 for dlib's alignment, 112 for ArcFace's

    def __post_init__(self) -> None:
        _check(self.rows, np.int32, (None,), "rows")
        _check(self.chips, np.uint8, (len(self.rows), None, None, 3), "chips")
        _, height, width, _ = self.chips.shape
        if height != width or not height:
            raise ValueError(f"chips of {height}x{width}: they are square")
        if len(self.rows) and not (int(self.rows.min()) >= 0 and int(self.rows.max()) < len(self.found.boxes)):
            raise ValueError(f"rows point outside of the {len(self.found.boxes)} detections")

    @property
    def frame(self) -> Frame:
        return self.found.frame


class Picked(Crops, frozen=True, tag="picked"):
    """`Crops` of those faces only that are worth an embedding, and what else of the pixels a decision needs."""

    quality: NDArray[np.float32]  # (M,) 0..1, of each chip
    live: NDArray[np.float32]  # (M,) 0..1, the live score of each; NaN where none was told
    live_threshold: float  # a face is taken for live from here on; NaN where nothing tells
    snapshot: bytes  # the frame as a JPEG; b"" where no face was picked

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.quality, np.float32, (len(self.rows),), "quality")
        _check(self.live, np.float32, (len(self.rows),), "live")


class Matches(msgspec.Struct, frozen=True, tag="matches"):
    """Who is in the frame."""

    found: Detections
    names: tuple[str, ...]  # N; "" for nobody known
    similarity: NDArray[np.float32]  # (N,) cosine to the nearest person, -1..1; NaN where nothing was compared

    def __post_init__(self) -> None:
        _check(self.similarity, np.float32, (len(self.found.boxes),), "similarity")
        if len(self.names) != len(self.found.boxes):
            raise ValueError(f"{len(self.names)} names for {len(self.found.boxes)} detections")

    @property
    def frame(self) -> Frame:
        return self.found.frame


class Faces(Matches, frozen=True, tag="faces"):
    """`Matches` of `Picked` faces, with all that a decision about a door rests on."""

    people: tuple[str, ...]  # N; the id of the nearest person, near enough or not; "" where nothing was compared
    rows: NDArray[np.int32]  # (M,) which detections were embedded, ascending
    embeddings: NDArray[np.float32]  # (M, D) of unit length
    model: str  # identity of the embedder that made them
    threshold: float  # cosine; a name is given from here on
    quality: NDArray[np.float32]  # (M,) as in Picked
    live: NDArray[np.float32]  # (M,) as in Picked
    live_threshold: float  # as in Picked
    snapshot: bytes  # as in Picked

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.rows, np.int32, (None,), "rows")
        _check(self.embeddings, np.float32, (len(self.rows), None), "embeddings")
        _check(self.quality, np.float32, (len(self.rows),), "quality")
        _check(self.live, np.float32, (len(self.rows),), "live")
        if len(self.people) != len(self.names):
            raise ValueError(f"{len(self.people)} people for {len(self.names)} detections")


class Judged(Faces, frozen=True, tag="judged"):
    """`Faces`, and what the gate makes of each; `people` and `names` are by the whole passage, "" for a stranger."""

    verdicts: tuple[str, ...]  # N; a word or a request for the person in front of the camera, "" where there is none

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.verdicts) != len(self.names):
            raise ValueError(f"{len(self.verdicts)} verdicts for {len(self.names)} detections")


class Drawn(msgspec.Struct, frozen=True, tag="drawn"):
    """The picture to show, copied out of the ring and drawn on."""

    matches: Matches
    picture: NDArray[np.uint8]  # (H, W, 3) BGR

    def __post_init__(self) -> None:
        _check(self.picture, np.uint8, (self.frame.height, self.frame.width, 3), "picture")

    @property
    def frame(self) -> Frame:
        return self.matches.frame


Message = Frame | Candidates | Detections | Crops | Picked | Matches | Faces | Judged | Drawn


def _check_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int32],
    keypoints: NDArray[np.float32] | None,
) -> None:
    _check(boxes, np.float32, (None, 4), "boxes")
    _check(scores, np.float32, (len(boxes),), "scores")
    _check(classes, np.int32, (len(boxes),), "classes")
    if keypoints is not None:
        _check(keypoints, np.float32, (len(boxes), 5, 2), "keypoints")


def _check(array: NDArray[np.generic], dtype: type[np.generic], shape: tuple[int | None, ...], name: str) -> None:
    if array.dtype != dtype or len(array.shape) != len(shape):
        raise ValueError(f"{name}: {array.dtype}{array.shape} where {np.dtype(dtype)}{shape} belongs")
    if any(want is not None and have != want for have, want in zip(array.shape, shape, strict=True)):
        raise ValueError(f"{name}: {array.dtype}{array.shape} where {np.dtype(dtype)}{shape} belongs")
