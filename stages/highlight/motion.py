"""How much moves in the picture, how fast the camera moves, and where across the picture the action is.

Dense optical flow (DIS, Kroeger et al. 2016) from a small picture of a moment ago to the one of now; a similarity that
RANSAC finds in it is the camera's motion, and what is left of the flow is motion in the scene.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH, Config
from pipeline.frames import Frames
from pipeline.types import Frame
from stages.highlight.recorder import Recorder
from stages.highlight.small import Picture, grey, packed, unpacked

VERSION = 2  # of what is measured
SIDE = 160  # pixels of the small picture, longer side
BEFORE_NS = 80_000_000  # how far back the flow begins, if the shot does: noise counts the same at all frame rates
LEAST_FLOW = 0.3  # pixels of the small picture; less is noise, compression and flicker
CELL = 10  # pixels: the best point of each cell has a say in what the camera does, so that all places have the same
TEXTURE = 1e-5  # the least eigenvalue (cv2.cornerMinEigenVal) of a place whose flow can be trusted
FITS = 0.7  # pixels between a point's flow and the camera's
POINTS = 12  # so many must tell what the camera does
STAYS = 0.8  # a camera stands still if it explains this part of what the best other motion does
BLUR = 15  # pixels: brightness that changes over more than this is light, not things
IN_COMMON = 0.5  # correlation of two pictures, the flow undone; below, they are of two shots

NO_MOTION = (0.0, 0.0, np.nan)

Flow = NDArray[np.float32]  # (h, w, 2) pixels of the small picture


class MotionConfig(Config, frozen=True):
    """`[motion]`"""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""
    source: Annotated[str, DERIVED] = ""  # the name of the video's source

    @property
    def key(self) -> str:
        """Of the track "motion"."""
        return str(VERSION)


class _Earlier(NamedTuple):
    seq: int
    pts_ns: int
    picture: Picture


class Motion(Recorder):
    """Frame -> the same Frame; writes a row of the track "motion" for each.

    A row is (3,): mean speed of what moves in the scene, over the whole picture; mean speed of the camera's motion over
    it (both in heights of the picture a second); the centre of what moves, 0..1 from the left, NaN where nothing does.
    The first frame of a shot has no motion.
    """

    TRACK = "motion"

    def __init__(self, config: MotionConfig, frames: Frames) -> None:
        super().__init__(config)
        self._frames = frames
        self._earlier = deque(_Earlier(seq, pts_ns, unpacked(data)) for seq, pts_ns, data in self._track.kept())
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)  # the preset stops at a quarter of the size: too coarse for people far away

    def __call__(self, frame: Frame) -> Frame:
        if frame.seq > self._last:
            with self._frames.view(frame) as pixels:
                picture = grey(pixels, SIDE)
            measured = self._measured(picture, frame.pts_ns)
            self._earlier.append(_Earlier(frame.seq, frame.pts_ns, picture))
            with self._track.transaction():
                self._track.add(frame.seq, frame.pts_ns, measured)
                self._track.keep(frame.seq, frame.pts_ns, packed(picture))
                self._track.discard(self._earlier[0].seq)
            self._last = frame.seq
        return frame

    def _measured(self, picture: Picture, pts_ns: int) -> tuple[float, float, float]:
        """The row; forgets earlier pictures that are no longer needed, or of another shot."""
        while len(self._earlier) > 1 and pts_ns - self._earlier[1].pts_ns >= BEFORE_NS:
            self._earlier.popleft()
        while self._earlier:
            before = self._earlier[0]
            seconds = (pts_ns - before.pts_ns) / 1e9
            if seconds > 0 and before.picture.shape == picture.shape:
                start = np.zeros((*picture.shape, 2), np.float32)
                flow = self._flow.calc(before.picture, picture, start).astype(np.float32, copy=False)
                if _in_common(before.picture, picture, flow) >= IN_COMMON:
                    return _row(before.picture, flow, seconds)
            while self._earlier and (len(self._earlier) > 1 or self._earlier[0] is before):
                self._earlier.popleft()  # a cut; or what moves fast, of which the last picture still tells
        return NO_MOTION


def _row(before: Picture, flow: Flow, seconds: float) -> tuple[float, float, float]:
    camera = _camera(before, flow)
    speed = _length(flow - camera)
    speed[speed < LEAST_FLOW] = 0
    height, width = speed.shape
    total = float(speed.sum())
    centre = float(speed.sum(axis=0) @ (np.arange(width) + 0.5)) / total / width if total else np.nan
    unit = height * seconds
    return total / speed.size / unit, float(_length(camera).mean()) / unit, centre


def _in_common(before: Picture, now: Picture, flow: Flow) -> float:
    """Correlation of the details of two pictures, -1..1, after each place of the first has gone with the flow."""
    there = _places(before.shape) + flow
    undone = cv2.remap(now, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    one, other = _details(before), _details(undone)
    power = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / power if power else 0.0


def _details(picture: NDArray[Any]) -> NDArray[np.float32]:
    light = picture.astype(np.float32)
    details: NDArray[np.float32] = light - cv2.blur(light, (BLUR, BLUR))
    return details


def _camera(before: Picture, flow: Flow) -> Flow:
    """The flow that the camera's motion alone makes: a similarity, or none."""
    places = _places(before.shape)
    texture = cv2.cornerMinEigenVal(cv2.GaussianBlur(before, (0, 0), 1), 7)
    rows, columns = (side // CELL for side in before.shape)
    grid = texture[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    cells = grid.swapaxes(1, 2).reshape(rows, columns, CELL * CELL)
    row, column = np.nonzero(cells.max(axis=2) > TEXTURE)
    best = cells[row, column].argmax(axis=1)
    y, x = row * CELL + best // CELL, column * CELL + best % CELL
    none = np.zeros_like(flow)
    if len(x) < POINTS:
        return none
    found, fitting = cv2.estimateAffinePartial2D(
        places[y, x], places[y, x] + flow[y, x], method=cv2.RANSAC, ransacReprojThreshold=FITS, maxIters=200
    )
    still = int((np.linalg.norm(flow[y, x], axis=1) < FITS).sum())
    if found is None or still >= STAYS * int(fitting.sum()):
        return none
    similarity = found.astype(np.float32)
    moved: Flow = places @ similarity[:, :2].T + similarity[:, 2]
    return moved - places


@lru_cache(maxsize=1)
def _places(shape: tuple[int, int]) -> Flow:
    """(h, w, 2): x and y of each pixel."""
    y, x = np.indices(shape, np.float32)
    return np.stack([x, y], axis=2)


def _length(flow: Flow) -> NDArray[np.float32]:
    """(h, w, 2) -> (h, w), in a fifth of np.hypot's time."""
    return cv2.magnitude(flow[..., 0], flow[..., 1]).astype(np.float32, copy=False)
