"""People: how many there are in a frame, how near the nearest one is, and where they stand."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH, Config
from pipeline.frames import Frames
from pipeline.types import Detections, Frame
from stages.detect import Detect, DetectConfig
from stages.highlight.recorder import Recorder
from stages.nms import NmsConfig

VERSION = 1  # of what is written; another one is measured anew
PERSON = "person"


class DetectPeopleConfig(DetectConfig, frozen=True):
    """`[detectpeople]`"""

    model: str = "person_ssdlite"
    # Score. On 128 labelled photos 84 of 100 boxes are right and 26 of 100 people found; at 0.3 it is 77 and 28. In a
    # clip of bottles and hands a box without a hand in it has at most 0.39.
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.4


class DetectPeople(Detect):
    """`Detect` with settings of its own, beside one that looks for faces."""

    def __init__(self, config: DetectPeopleConfig, frames: Frames) -> None:
        super().__init__(config, frames)


class PeopleConfig(Config, frozen=True):
    """Where it writes, and what has found the people."""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""  # the video's file
    source: Annotated[str, DERIVED] = ""  # the video's name in the run
    rate: Annotated[float, DERIVED] = 5.0  # of the frames that come, a second
    detect: Annotated[DetectPeopleConfig, DERIVED] = DetectPeopleConfig()
    nms: Annotated[NmsConfig, DERIVED] = NmsConfig()

    @property
    def key(self) -> str:
        """What the measurement depends on."""
        return digest(VERSION, self.rate, self.detect.identity, self.detect.threshold, self.detect.top_k, self.nms)


class People(Recorder):
    """Detections -> the track "people": how many there are, as `measured` has it, one row a frame."""

    TRACK = "people"

    def __init__(self, config: PeopleConfig) -> None:
        super().__init__(config)

    def __call__(self, found: Detections) -> None:
        frame = found.frame
        if frame.seq <= self._last:
            return
        people = [found.labels[index] == PERSON for index in found.classes]
        with self._track.transaction():
            self._track.add(frame.seq, frame.pts_ns, measured(found.boxes[people], frame))
        self._last = frame.seq


def digest(*parts: object) -> str:
    """What names a track: SHA-256 of what the measurement depends on."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def measured(boxes: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """(3,) how many boxes (N, 4) xyxy px there are, the largest one's height, and where they are across the picture.

    The height is a fraction of the picture's, 0 where there is no box. Where: the mean of their centres weighted by
    area, 0..1 from left to right, NaN where there is no box.
    """
    if not len(boxes):
        return np.array([0, 0, np.nan], np.float32)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    centre = np.average((boxes[:, 0] + boxes[:, 2]) / 2, weights=width * height)
    return np.array([len(boxes), height.max() / frame.height, centre / frame.width], np.float32)
