"""Where text on the screen changes: the digits of a score, a caption that comes or goes.

Text that was put over a video is made of strokes (thin, of high contrast) and stays in place from sample to sample,
whatever the scene behind it does. When it changes, it jumps: it is steady before and steady after, which what moves in
the scene is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH, Config
from pipeline.frames import Frames
from pipeline.types import Frame
from stages.highlight.recorder import Recorder
from stages.highlight.sample import RATE, Rate
from stages.highlight.small import Picture, grey, packed, unpacked

VERSION = 1  # of what is measured
SIDE = 640  # pixels of the picture that is looked at, longer side
STROKE = 9  # pixels: strokes are thinner (top-hat and black-hat transform)
CONTRAST = 60  # grey levels between a stroke and what is around it
LIGHT, DARK = 1, 2  # kinds of strokes
WINDOW, STEP = 16, 8  # pixels: what is compared, and how far apart
EMPTY = 16  # pixels of strokes in a window; less is none
DENSE = 0.15  # part of a window of text that is strokes
CROSSINGS = 2.0  # sides of strokes in a row of a window of text
STEADY = 0.85  # Jaccard index of the strokes of two samples: above, they are the same
CHANGED = 0.75  # below, they are others
LEAST_AREA = 24  # windows; a smaller area of text counts as this one, so that a single window is not all of it

Grid = NDArray[np.float32]  # (rows, columns), one value a window


class TextConfig(Config, frozen=True):
    """`[text]`"""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""
    source: Annotated[str, DERIVED] = ""  # the name of the video's source
    rate: Annotated[Rate, DERIVED] = RATE  # of the frames that come

    @property
    def key(self) -> str:
        """Of the track "text"."""
        return f"{VERSION} {self.rate}"


class _Seen(NamedTuple):
    seq: int
    pts_ns: int
    strokes: Picture
    text: NDArray[np.bool_]  # of each window
    same: Grid  # `_same`, with the sample before
    either: Grid


class Text(Recorder):
    """Frame -> the same Frame; writes a row of the track "text" for each.

    A row is (1,): the part, 0..1, of the text before and after that is another than in the sample before. It is known
    one sample later: until then it is 0.
    """

    TRACK = "text"

    def __init__(self, config: TextConfig, frames: Frames) -> None:
        super().__init__(config)
        self._frames = frames
        self._seen: deque[_Seen] = deque(maxlen=4)
        for seq, pts_ns, data in self._track.kept():
            self._see(seq, pts_ns, unpacked(data))

    def __call__(self, frame: Frame) -> Frame:
        if frame.seq > self._last:
            with self._frames.view(frame) as pixels:
                strokes = _strokes(grey(pixels, SIDE))
            if self._seen and self._seen[-1].strokes.shape != strokes.shape:
                self._seen.clear()
            self._see(frame.seq, frame.pts_ns, strokes)
            with self._track.transaction():
                if len(self._seen) == 4:
                    changed = self._seen[2]
                    self._track.add(changed.seq, changed.pts_ns, [_changed(self._seen)])
                self._track.add(frame.seq, frame.pts_ns, [0.0])
                self._track.keep(frame.seq, frame.pts_ns, packed(strokes))
                self._track.discard(self._seen[0].seq)
            self._last = frame.seq
        return frame

    def _see(self, seq: int, pts_ns: int, strokes: Picture) -> None:
        before = self._seen[-1].strokes if self._seen else strokes
        self._seen.append(_Seen(seq, pts_ns, strokes, _is_text(strokes), *_same(before, strokes)))


def _strokes(picture: Picture) -> Picture:
    """(h, w) uint8 grey -> (h, w) uint8: LIGHT or DARK in a stroke, 0 elsewhere."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (STROKE, STROKE))
    light = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, kernel)
    strokes: Picture = np.where(light > CONTRAST, np.uint8(LIGHT), (dark > CONTRAST) * np.uint8(DARK))
    return strokes


def _changed(seen: Sequence[_Seen]) -> float:
    """The part of the text that changed between the second and the third of four samples."""
    _, before, after, later = seen
    steady_before, steady_after = before.same > STEADY, later.same > STEADY
    text = (before.text & steady_before) | (after.text & steady_after)
    calm = (steady_before | (before.either < EMPTY)) & (steady_after | (later.either < EMPTY))
    changed = text & calm & (after.same < CHANGED)
    return float(changed.sum()) / max(LEAST_AREA, int(text.sum()))


def _same(one: Picture, other: Picture) -> tuple[Grid, Grid]:
    """Of each window: the Jaccard index of the strokes in two samples, 0..1, and how many pixels are in either.

    The lower index of light and dark strokes: the gaps of light text are dark strokes that stay when a digit changes.
    """
    indices = []
    for kind in (LIGHT, DARK):
        either = _windows((one == kind) | (other == kind))
        both = _windows((one == kind) & (other == kind))
        indices.append(np.where(either < EMPTY, 1, both / np.maximum(either, 1)).astype(np.float32))
    return np.minimum(*indices), _windows((one | other) != 0)


def _is_text(strokes: Picture) -> NDArray[np.bool_]:
    """Of each window: whether there is text in it, and in the one to its left or to its right."""
    sides = np.zeros(strokes.shape, np.bool_)
    sides[:, 1:] = strokes[:, 1:] != strokes[:, :-1]
    found = (_windows(strokes != 0) > DENSE * WINDOW**2) & (_windows(sides) > CROSSINGS * WINDOW)
    next_to = WINDOW // STEP
    beside = np.zeros_like(found)
    beside[:, next_to:] |= found[:, :-next_to]
    beside[:, :-next_to] |= found[:, next_to:]
    return found & beside


def _windows(marks: NDArray[np.bool_]) -> Grid:
    """(h, w) -> how many pixels are marked in each window: in the four blocks of STEP x STEP that it is made of."""
    rows, columns = (side // STEP for side in marks.shape)
    marks = marks[: rows * STEP, : columns * STEP]
    bands = marks.reshape(rows, STEP, -1).sum(axis=1, dtype=np.uint8)  # takes a tenth of cv2.boxFilter's time
    blocks = bands.reshape(rows, columns, STEP).astype(np.float32) @ np.ones(STEP, np.float32)
    pairs = blocks[:, :-1] + blocks[:, 1:]
    windows: Grid = pairs[:-1] + pairs[1:]
    return windows
