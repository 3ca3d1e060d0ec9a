"""The moments on one sheet: a thumb of each, when it is, what it is worth, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from pipeline.files import OUTPUT, replace_file
from stages.highlight.thumbs import HEIGHT, WIDTH, Thumb
from stages.highlight.timeline import Moment, Reel
from stages.highlight.times import clock
from stages.highlight.words import plain, reasons

MARGIN, GAP, HEAD = 28, 20, 62  # pixels
TEXT = 104  # below a thumb
MOST = 400  # moments: a JPEG has at most 65,500 pixels a side, and more than these nobody looks through
GROUND, EMPTY, BAR = (26, 23, 21), (15, 13, 12), (58, 52, 47)  # BGR
INK, FAINT, ACCENT = (240, 237, 233), (174, 165, 154), (191, 212, 45)
REGULAR, BOLD = 400, 600
INSET = 12  # of the text


def write_sheet(reel: Reel, path: Path, thumbs: Sequence[Thumb]) -> None:
    """Write the sheet, a JPEG; `thumbs` has one of each moment. Raises Failed where it cannot be encoded, OSError."""
    encoded, content = cv2.imencode(".jpg", sheet(reel, thumbs))
    if not encoded:
        raise Failed(f"{path} cannot be encoded: make --length shorter")
    replace_file(path, content.tobytes(), synced=True, mode=OUTPUT)


def sheet(reel: Reel, thumbs: Sequence[Thumb]) -> NDArray[np.uint8]:
    """The sheet, (h, w, 3) uint8 BGR, with the best MOST moments."""
    shown = _best(reel.moments)
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    width = 2 * MARGIN + columns * (WIDTH + GAP) - GAP
    height = MARGIN + HEAD + rows * (HEIGHT + TEXT + GAP) - GAP + MARGIN
    canvas = np.full((height, width, 3), GROUND, np.uint8)
    pen = _Pen(canvas)
    length_ns = sum(moment.end_ns - moment.start_ns for moment in reel.moments)
    pen.write("Highlights", (MARGIN, MARGIN + 24), 26, INK, BOLD)
    counted = "1 moment" if len(thumbs) == 1 else f"{len(thumbs)} moments"
    best = f"the best {len(shown)} of " if len(shown) < len(thumbs) else ""
    pen.right(f"{best}{counted}, {clock(length_ns)}", (width - MARGIN, MARGIN + 24), 18, FAINT)
    for place, number in enumerate(shown):
        moment = reel.moments[number]
        row, column = divmod(place, columns)
        left, top = MARGIN + column * (WIDTH + GAP), MARGIN + HEAD + row * (HEIGHT + TEXT + GAP)
        _picture(canvas[top : top + HEIGHT, left : left + WIDTH], thumbs[number])
        _caption(pen, number + 1, moment, Path(reel.timelines[moment.video].video.path).name, left, top + HEIGHT)
    return canvas


def _best(moments: Sequence[Moment]) -> list[int]:
    """Which moments are shown, as they are played: those that were asked for before all others."""
    ranked = sorted(range(len(moments)), key=lambda at: (not moments[at].must, -moments[at].score))
    return sorted(ranked[:MOST])


def _picture(room: NDArray[np.uint8], thumb: Thumb) -> None:
    """The thumb in the middle of its room."""
    room[:] = EMPTY
    height, width = thumb.shape[:2]
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    room[top : top + height, left : left + width] = thumb


def _caption(pen: _Pen, number: int, moment: Moment, name: str, left: int, top: int) -> None:
    """Four lines below a thumb, and how high its score is as a bar."""
    cv2.rectangle(pen.canvas, (left, top), (left + WIDTH - 1, top + 4), BAR, cv2.FILLED)
    cv2.rectangle(pen.canvas, (left, top), (left + round((WIDTH - 1) * moment.score), top + 4), ACCENT, cv2.FILLED)
    right = left + WIDTH
    when = f"{clock(moment.start_ns)} – {clock(moment.end_ns)}"
    began = pen.write(f"{number}", (left, top + 31), 19, ACCENT, BOLD)
    pen.write(when, (began + INSET, top + 31), 19, INK, BOLD)
    pen.right(f"score {moment.score:.2f}", (right, top + 31), 16, FAINT)
    asked = pen.right("asked for", (right, top + 53), 15, ACCENT) if moment.must else 0
    pen.write(pen.shortened(plain(name), WIDTH - asked, 15), (left, top + 53), 15, FAINT)
    for line, reason in enumerate(reasons(moment)):
        pen.write(reason, (left, top + 76 + 20 * line), 16, INK)


class _Pen:
    """Writes on a canvas: the font of OpenCV 5, which has the letters of most scripts."""

    def __init__(self, canvas: NDArray[np.uint8]) -> None:
        self.canvas = canvas
        self._font = cv2.FontFace("sans")

    def write(self, text: str, at: tuple[int, int], size: int, color: tuple[int, int, int], weight: int = 400) -> int:
        """Returns where the text ends, x."""
        cv2.putText(self.canvas, text, at, color, self._font, size, weight)
        return at[0] + self.width(text, size, weight)

    def right(self, text: str, at: tuple[int, int], size: int, color: tuple[int, int, int]) -> int:
        """Text that ends at `at`; returns the room it takes, pixels."""
        width = self.width(text, size)
        self.write(text, (at[0] - width, at[1]), size, color)
        return width + INSET

    def width(self, text: str, size: int, weight: int = REGULAR) -> int:
        """Of the text, pixels."""
        left, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), self._font, size, weight)
        return int(left + width)

    def shortened(self, text: str, width: int, size: int) -> str:
        """The text with its middle left out as far as it has to be: begin and end tell names from each other."""
        for kept in range(len(text), 1, -1):
            short = text if kept == len(text) else f"{text[: -(-kept // 2)]}…{text[-(kept // 2) :]}"
            if self.width(short, size) <= width:
                break
        return short
