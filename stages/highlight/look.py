"""What the picture looks like, as a vector, and how unlike the rest of the video a second looks."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.frames import Frames
from pipeline.types import Frame
from stages.highlight.recorder import Recorder
from stages.highlight.sample import RATE, Rate
from stages.highlight.small import Picture, shrunk
from stages.highlight.timeline import Floats

VERSION = 1  # of what is measured
SIDE = 128  # pixels of the small picture, longer side
BINS = (8, 3, 4)  # of hue, saturation and value
GRID = (4, 3)  # columns and rows of the layout and of the gradients
ANGLES = 6  # of gradients, over half a turn
WEIGHTS = (0.6, 0.2, 0.2)  # what colours, layout and gradients have in a similarity
FLAT_LAYOUT, FLAT_GRADIENTS = 0.05, 0.01  # added to the lengths of these parts: a flat picture has next to none of them
COLUMNS = int(np.prod(BINS)) + GRID[0] * GRID[1] * (3 + ANGLES)  # 204

REFERENCES = 2048  # seconds that all are compared with, evenly over the video
NEAR_S = 5  # a second is not compared with those around it
ALIKE = 0.1  # the part of the video that is most like a second tells how new it is
CHUNK = 4096  # seconds that are compared at once: 32 MB


class LookConfig(Config, frozen=True):
    """`[look]`"""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""
    source: Annotated[str, DERIVED] = ""  # the name of the video's source
    rate: Annotated[Rate, DERIVED] = RATE  # of the frames that come

    @property
    def key(self) -> str:
        """Of the track "look"."""
        return f"{VERSION} {self.rate}"


class Look(Recorder):
    """Frame -> the same Frame; writes a row of the track "look" for each.

    A row is (COLUMNS,), of unit length: the cosine tells how alike two of them are.
    """

    TRACK = "look"

    def __init__(self, config: LookConfig, frames: Frames) -> None:
        super().__init__(config)
        self._frames = frames

    def __call__(self, frame: Frame) -> Frame:
        if frame.seq > self._last:
            with self._frames.view(frame) as pixels:
                row = described(pixels)
            with self._track.transaction():
                self._track.add(frame.seq, frame.pts_ns, row)
            self._last = frame.seq
        return frame


def described(pixels: Picture) -> Floats:
    """(H, W, 3) uint8 BGR -> (COLUMNS,) float32 of unit length.

    A colour histogram, its square root taken (Hellinger), a coarse layout in CIE L*a*b* less its mean, and the square
    roots of gradient magnitudes by direction (as in HOG) less their mean; each of the length of its weight.
    """
    picture = shrunk(pixels, SIDE)
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    colours = np.sqrt(cv2.calcHist([hsv], [0, 1, 2], None, BINS, [0, 180, 0, 256, 0, 256]).ravel())
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB) / np.float32(100)
    layout = cv2.resize(lab, GRID, interpolation=cv2.INTER_AREA) * np.array([1, 2, 2], np.float32)
    layout -= layout.mean(axis=(0, 1))
    gradients = _gradients(lab[..., 0])
    parts = (
        colours / np.linalg.norm(colours),
        layout.ravel() / (np.linalg.norm(layout) + FLAT_LAYOUT),
        gradients / (np.linalg.norm(gradients) + FLAT_GRADIENTS),
    )
    joined = np.concatenate([np.sqrt(weight) * part for weight, part in zip(WEIGHTS, parts, strict=True)])
    unit: Floats = (joined / np.linalg.norm(joined)).astype(np.float32)
    return unit


def _gradients(light: Floats) -> Floats:
    """(h, w) lightness -> what there is of gradients by place and direction, less the mean."""
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    size, angle = cv2.cartToPolar(across, down)
    direction = (angle * (ANGLES / np.pi)).astype(np.int32) % ANGLES
    sums = [cv2.resize(size * (direction == one), GRID, interpolation=cv2.INTER_AREA) for one in range(ANGLES)]
    found = np.sqrt(np.stack(sums)).ravel()
    less: Floats = (found - found.mean()).astype(np.float32)
    return less


def novelty(look: Floats) -> Floats:
    """(T, D) unit vectors, one a second -> (T,) 0..1: 0 like much of the video, 1 like nothing else in it.

    1 - the mean cosine with the tenth of the video that is most like it, where that is not NEAR_S around it. A row of
    zeros, where nothing was measured, gets NaN. Of a long video, REFERENCES seconds stand for all.
    """
    seconds = np.flatnonzero(look.any(axis=1))
    new = np.full(len(look), np.nan, np.float32)
    chosen = seconds[np.linspace(0, len(seconds) - 1, min(len(seconds), REFERENCES)).astype(np.int64)]
    for start in range(0, len(seconds), CHUNK):
        rows = seconds[start : start + CHUNK]
        alike = np.clip(look[rows] @ look[chosen].T, 0, 1)
        alike[np.abs(rows[:, None] - chosen) <= NEAR_S] = np.nan
        new[rows] = _unlike(alike)
    return new


def _unlike(alike: Floats) -> Floats:
    """(N, R) similarities, NaN for what does not count -> (N,); 0 where nothing counts."""
    count = max(1, round(ALIKE * alike.shape[1]))
    order = -np.partition(-alike, count - 1, axis=1)[:, :count]  # NaN last
    counted = np.isfinite(order)
    mean = np.nansum(order, axis=1) / np.maximum(1, counted.sum(axis=1))
    return np.where(counted.any(axis=1), 1 - mean, 0).astype(np.float32)
