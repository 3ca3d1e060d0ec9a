"""What is known of a video second by second, and the moments taken out of it. All times are ns from its first frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000_000  # ns
Floats = NDArray[np.float32]


class Signal(NamedTuple):
    """Something measured in each second."""

    unit: str
    half: float  # the value that counts as half of the most there is: x / (x + half)
    says: str  # what a high value means, for people


SIGNALS = {
    "cuts": Signal("shot changes a second", 0.5, "the shot changes"),
    "motion": Signal("heights of the picture a second", 0.05, "something moves"),
    "people": Signal("people", 2.0, "people are in the picture"),
    "person_size": Signal("of the height of the picture", 0.4, "a person is near"),
    "faces": Signal("faces", 2.0, "faces are to be seen"),
    "face_size": Signal("of the height of the picture", 0.2, "a face is near"),
    "known": Signal("people", 1.0, "somebody known is there"),
    "loudness": Signal("dB above the video's median", 6.0, "it is louder than usual"),
    "onset": Signal("onsets a second", 2.0, "sounds begin suddenly"),
    "crowd": Signal("0..1", 0.5, "a crowd cheers or applauds"),
    "speech": Signal("0..1", 0.5, "somebody speaks"),
    "text": Signal("of the text on the screen", 0.2, "a score or a caption changes"),
    "novelty": Signal("0..1", 0.3, "it looks unlike the rest of the video"),
}


class Video(msgspec.Struct, frozen=True):
    """A file that was looked at."""

    path: str
    sha256: str  # of the file
    width: int  # pixels, as shown: upright, and square
    height: int
    start_ns: int  # the stream's own time of the first frame, as Frame.pts_ns
    duration_ns: int  # from the first frame to the end of the last one
    frames: int
    sound: bool


@dataclass(frozen=True)
class Timeline:
    """A video's signals, T seconds long; the last second may be a part of one."""

    video: Video
    signals: dict[str, Floats]  # of each of SIGNALS: (T,) in its unit; NaN where nothing was measured
    cuts_ns: NDArray[np.int64]  # (K,) where a new shot begins, ascending; 0 is not among them
    pauses_ns: NDArray[np.int64]  # (P, 2) stretches without speech, [begin, end), ascending
    centre: Floats  # (T,) where the action is across the picture, 0..1; NaN where there is none
    look: Floats  # (T, D) what each second looks like, of unit length; zeros where nothing was measured
    known: dict[str, NDArray[np.bool_]]  # name -> (T,) the seconds in which the person is recognized

    @property
    def seconds(self) -> int:
        """T."""
        return len(self.centre)


@dataclass(frozen=True)
class Scores:
    """What each second of a video is worth, and why."""

    score: Floats  # (T,) 0..1
    shares: dict[str, Floats]  # signal -> (T,) its part of the score; the parts add up to it


class Moment(msgspec.Struct, frozen=True):
    """A stretch of a video that is in the reel."""

    video: int  # index into the reel's videos
    start_ns: int  # [start, end)
    end_ns: int
    score: float  # mean over its seconds, 0..1
    why: dict[str, float]  # signal -> its part of the score, the largest first
    must: bool  # asked for, whatever its score


@dataclass(frozen=True)
class Reel:
    """What was chosen, and what it was chosen from."""

    timelines: list[Timeline]
    scores: list[Scores]  # of each timeline
    moments: list[Moment]  # in the order in which they are played: by video, then by time
    preset: str  # its name; that of its file where a learned scorer judged
    weights: Mapping[str, float] | None  # signal -> its weight in the scores; None where a learned scorer judged
