"""All that is known of a reel as JSON: every signal and every score, second by second."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.highlight.timeline import SECOND, Moment, Reel, Scores, Timeline

DIGITS = 4  # of what was measured and scored
MILLIS = 3  # of times


class Looked(msgspec.Struct, frozen=True):
    """A video, T seconds long. Times are s from its first frame; what was not measured is null."""

    path: str
    sha256: str  # of the file
    width: int  # pixels, upright
    height: int
    start: float  # the stream's own time of the first frame, s
    duration: float
    frames: int
    sound: bool
    signals: dict[str, list[float | None]]  # T each
    shares: dict[str, list[float | None]]  # T each; the parts of a second's score
    score: list[float | None]  # T, 0..1
    cuts: list[float]  # where a new shot begins
    pauses: list[list[float]]  # [begin, end) of stretches without speech


class Chosen(msgspec.Struct, frozen=True):
    """A moment of the reel."""

    video: int  # index into the videos
    start: float  # [start, end), s from the video's first frame
    end: float
    score: float  # 0..1
    why: dict[str, float]  # signal -> its part of the score, the largest first
    must: bool  # asked for, whatever its score


class Document(msgspec.Struct, frozen=True):
    """A reel."""

    preset: str  # its name; that of its file where a learned scorer judged
    weights: dict[str, float] | None  # signal -> its weight in the scores; null where a learned scorer judged
    videos: list[Looked]
    moments: list[Chosen]  # as they are played


def document(reel: Reel) -> bytes:
    """A Document, UTF-8. Times are rounded to the millisecond, the rest to four digits."""
    looked = [_looked(timeline, scores) for timeline, scores in zip(reel.timelines, reel.scores, strict=True)]
    weights = None if reel.weights is None else dict(reel.weights)
    moments = [_chosen(moment) for moment in reel.moments]
    return msgspec.json.encode(Document(reel.preset, weights, looked, moments))


def _looked(timeline: Timeline, scores: Scores) -> Looked:
    video = timeline.video
    return Looked(
        path=video.path,
        sha256=video.sha256,
        width=video.width,
        height=video.height,
        start=_seconds(video.start_ns),
        duration=_seconds(video.duration_ns),
        frames=video.frames,
        sound=video.sound,
        signals={name: _rounded(values, DIGITS) for name, values in timeline.signals.items()},
        shares={name: _rounded(values, DIGITS) for name, values in scores.shares.items()},
        score=_rounded(scores.score, DIGITS),
        cuts=_rounded(timeline.cuts_ns / SECOND, MILLIS),
        pauses=_rounded(timeline.pauses_ns / SECOND, MILLIS),
    )


def _chosen(moment: Moment) -> Chosen:
    return Chosen(
        video=moment.video,
        start=_seconds(moment.start_ns),
        end=_seconds(moment.end_ns),
        score=round(moment.score, DIGITS),
        why={name: round(part, DIGITS) for name, part in moment.why.items()},
        must=moment.must,
    )


def _seconds(time_ns: int) -> float:
    return round(time_ns / SECOND, MILLIS)


def _rounded(values: NDArray[Any], digits: int) -> list:  # type: ignore[type-arg]  # as deep as the array
    return values.astype(np.float64).round(digits).tolist()  # type: ignore[no-any-return]
