"""The results of a frame as one line of JSON."""

from __future__ import annotations

import msgspec
import numpy as np

from pipeline.types import Detections, Matches


class Result(msgspec.Struct, frozen=True):
    """A line of NAME.jsonl. The lists run over the N things found, the surest first; NaN is null."""

    source: str
    seq: int  # position in the source, from 0; a gap is a drop
    pts: float  # the stream's own time, s, to the microsecond
    age_ms: float  # from capture to this line
    boxes: list[list[float]]  # N x 4, xyxy, pixels of the frame
    scores: list[float]  # N, 0..1
    classes: list[int]  # N
    labels: list[str]  # N, the names of the classes
    landmarks: list[list[list[float | None]]] | None  # N x 5 x 2, xy, pixels; null where the model has none
    names: list[str]  # N, "" for nobody known
    similarities: list[float | None]  # N, cosine to the nearest person; null where nothing was compared

    @classmethod
    def of(cls, matches: Matches, now_ns: int) -> Result:
        """`now_ns` is this host's monotonic clock."""
        frame, found = matches.frame, matches.found
        return cls(
            source=frame.source,
            seq=frame.seq,
            pts=round(frame.pts_ns / 1e9, 6),
            age_ms=round((now_ns - frame.captured_ns) / 1e6, 3),
            boxes=_rounded(found.boxes, 2),
            scores=_rounded(found.scores, 4),
            classes=found.classes.tolist(),
            labels=[class_name(found, row) for row in range(len(found.classes))],
            landmarks=None if found.keypoints is None else _rounded(found.keypoints, 2),
            names=list(matches.names),
            similarities=_rounded(matches.similarity, 4),
        )


def class_name(found: Detections, row: int) -> str:
    """The label of detection `row`, or its number where the model file names no such class."""
    index = int(found.classes[row])
    return found.labels[index] if 0 <= index < len(found.labels) else f"class {index}"


def _rounded(values: np.ndarray, digits: int) -> list:  # type: ignore[type-arg]  # as deep as the array
    return values.astype(np.float64).round(digits).tolist()  # type: ignore[no-any-return]
