"""Where text on the screen changes: the digits of a score, a caption that comes or goes.

Text that was put over a video is made of strokes (thin, of high contrast) and stays in place from sample to sample,
whatever the scene behind it does. When it changes, it jumps: it is steady before and steady after, which what moves in
the scene is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH, Config
from pipeline.frames import Frames
from pipeline.types import Frame
from stages.highlight.sample import RATE, Rate
from stages.highlight.small import Picture, grey, packed, unpacked
from stages.highlight.store import Store

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
    rate: Annotated[Rate, DERIVED] = RATE  # of the frames that come

    @property
    def key(self) -> str:
        """Of the track "text"."""
        return f"{VERSION} {self.rate}"


class _Seen(NamedTuple):
    seq: int
    pts_ns: int
    strokes: Picture


class Text:
    """Frame -> the same Frame; writes a row of the track "text" for each.

    A row is (1,): the part, 0..1, of the text before and after that is another than in the sample before. It is known
    one sample later: until then it is 0.
    """

    TRACK = "text"

    def __init__(self, config: TextConfig, frames: Frames) -> None:
        self._frames = frames
        self._store = Store(Path(config.store))
        self._track = self._store.track(self.TRACK, config.key)
        last = self._track.last
        self._last = last[0] if last else -1
        self._seen = deque((_Seen(seq, pts_ns, unpacked(data)) for seq, pts_ns, data in self._track.kept()), 4)

    def __call__(self, frame: Frame) -> Frame:
        if frame.seq > self._last:
            with self._frames.view(frame) as pixels:
                strokes = _strokes(grey(pixels, SIDE))
            if self._seen and self._seen[-1].strokes.shape != strokes.shape:
                self._seen.clear()
            self._seen.append(_Seen(frame.seq, frame.pts_ns, strokes))
            with self._track.transaction():
                if len(self._seen) == 4:
                    changed = self._seen[2]
                    self._track.add(changed.seq, changed.pts_ns, [_changed([one.strokes for one in self._seen])])
                self._track.add(frame.seq, frame.pts_ns, [0.0])
                self._track.keep(frame.seq, frame.pts_ns, packed(strokes))
                self._track.discard(self._seen[0].seq)
            self._last = frame.seq
        return frame

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()


def _strokes(picture: Picture) -> Picture:
    """(h, w) uint8 grey -> (h, w) uint8: LIGHT or DARK in a stroke, 0 elsewhere."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (STROKE, STROKE))
    light = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, kernel)
    strokes: Picture = np.where(light > CONTRAST, LIGHT, np.where(dark > CONTRAST, DARK, 0)).astype(np.uint8)
    return strokes


def _changed(seen: Sequence[Picture]) -> float:
    """The part of the text that changed between the second and the third of four samples."""
    first, before, after, later = seen
    (steady_before, strokes_before), (same, _), (steady_after, strokes_after) = (
        _same(one, other) for one, other in ((first, before), (before, after), (after, later))
    )
    text = (_is_text(before) & (steady_before > STEADY)) | (_is_text(after) & (steady_after > STEADY))
    calm = ((steady_before > STEADY) | (strokes_before < EMPTY)) & ((steady_after > STEADY) | (strokes_after < EMPTY))
    changed = text & calm & (same < CHANGED)
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
    """(h, w) -> how many pixels are marked in each window."""
    sums = cv2.boxFilter(marks.view(np.uint8), cv2.CV_32F, (WINDOW, WINDOW), anchor=(0, 0), normalize=False)
    return sums[: 1 - WINDOW : STEP, : 1 - WINDOW : STEP].astype(np.float32, copy=False)
