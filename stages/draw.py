"""Draw who is in the frame: boxes, landmarks, names and scores, on a copy of the pixels."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.frames import Frames
from pipeline.types import Drawn, Frame, Matches
from stages.show.labels import Place, Room
from stages.show.results import class_name

Color = tuple[int, int, int]  # BGR

KNOWN: Color = (118, 214, 64)  # green
UNKNOWN: Color = (54, 150, 255)  # orange: compared with everybody, and nobody
PLAIN: Color = (235, 206, 135)  # light blue: found, not compared
INK: Color = (24, 20, 16)
PAPER: Color = (255, 255, 255)
BOLD, REGULAR = 600, 400  # OpenType weights
RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufefc]+(?: +[\u0590-\u08ff\ufb1d-\ufefc]+)*")


class DrawConfig(Config, frozen=True):
    """Nothing to set: every size follows from the frame's."""


class Word(NamedTuple):
    """Text of one weight, and its advance in pixels."""

    text: str
    weight: int
    width: int


class Style(NamedTuple):
    """Sizes in pixels that follow from the frame's shorter side: 720 gives line 2, text 20."""

    line: int
    text: int
    small: int

    @classmethod
    def of(cls, frame: Frame) -> Style:
        side = min(frame.width, frame.height)
        return cls(max(1, round(side / 400)), max(12, round(side / 36)), max(10, round(side / 50)))


class Draw:
    """Matches -> Drawn: the pixels copied out of the ring and drawn on.

    Known people are green, unknown ones orange, and what was not compared light blue. The text is OpenCV's own (cv2 5:
    Rubik, with WenQuanYi for the rest of Unicode), so that a name needs no font of the system.
    """

    def __init__(self, config: DrawConfig, frames: Frames) -> None:
        self.frames = frames
        self.font = cv2.FontFace("sans")
        self._measure("José 王", 20, BOLD)  # unpacks the fonts now (30 ms), not in the first frame

    def __call__(self, matches: Matches) -> Drawn:
        frame = matches.frame
        with self.frames.view(frame) as pixels:
            picture = pixels.copy()
        style = Style.of(frame)
        colors = [_color(name, like) for name, like in zip(matches.names, matches.similarity.tolist(), strict=True)]
        boxes = _corners(matches.found.boxes, frame)
        for box, color in zip(boxes, colors, strict=True):
            _box(picture, box, color, style)
        if matches.found.keypoints is not None:
            _landmarks(picture, matches.found.keypoints, boxes, style)
        room = Room(frame.width, frame.height, boxes, self._stamp(picture, frame, style))
        # people who are known first, and from the left: the order of the scores changes from frame to frame
        for row in sorted(range(len(boxes)), key=lambda row: (not matches.names[row], boxes[row])):
            words = self._words(matches, row, boxes[row], style)
            box, widths = _grown(boxes[row], style.line), _widths(words, style)
            place = room.fit(box, widths, round(style.text * 1.45), needed=not _told(matches, row))
            if place is not None:
                self._label(picture, place, words, colors[row], style)
        return Drawn(matches=matches, picture=picture)

    def _words(self, matches: Matches, row: int, box: Place, style: Style) -> list[Word]:
        """Who, in bold, and the figures; a face that is small against the text goes without the figures."""
        title, figures = _title(matches, row)
        words = []
        room = matches.frame.width - style.text
        if box.right - box.left >= 2 * style.text:
            words = [Word(figures, REGULAR, self._measure(figures, style.text, REGULAR))]
            room -= words[0].width
        title = self._fit(title, style.text, room)
        return [Word(title, BOLD, self._measure(title, style.text, BOLD)), *words]

    def _label(self, picture: NDArray[np.uint8], place: Place, words: list[Word], color: Color, style: Style) -> None:
        """Write as many of `words` as `place` was fitted to."""
        cv2.rectangle(picture, place[:2], (place.right - 1, place.bottom - 1), color, cv2.FILLED)
        x, base = place.left + style.text // 3, place.top + round(style.text * 1.08)
        for word in words:
            if x + word.width >= place.right:
                break
            self._write(picture, word.text, (x, base), INK, style.text, word.weight)
            x += word.width + style.text // 3

    def _stamp(self, picture: NDArray[np.uint8], frame: Frame, style: Style) -> Place:
        """Source, seq and stream time, small, in the lower left corner, on a darkened ground."""
        seconds = max(0.0, frame.pts_ns / 1e9)
        clock = f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}"
        pad, height = style.small // 2, round(style.small * 1.7)
        text = self._fit(f"{frame.source}   #{frame.seq}   {clock}", style.small, picture.shape[1] - 2 * pad)
        width = self._measure(text, style.small, REGULAR) + 2 * pad
        ground = picture[max(0, picture.shape[0] - height) :, :width]
        cv2.convertScaleAbs(ground, ground, 0.35)
        base = picture.shape[0] - round(style.small * 0.5)
        self._write(picture, text, (pad, base), PAPER, style.small, REGULAR)
        return Place(0, picture.shape[0] - height, width, picture.shape[0])

    def _fit(self, text: str, size: int, room: int) -> str:
        """`text` as it can be drawn, cut with an ellipsis where it is wider than `room` pixels."""
        text = drawable(text)
        while text and (width := self._measure(text, size, BOLD)) > room:
            keep = min(len(text) - 2, len(text) * room // width - 1)
            text = text[:keep] + "…" if keep > 0 else ""
        return text

    def _measure(self, text: str, size: int, weight: int) -> int:
        """The advance of drawable `text` in pixels."""
        left, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), self.font, size, weight) if text else (0, 0, 0, 0)
        return left + width

    def _write(
        self, picture: NDArray[np.uint8], text: str, origin: tuple[int, int], color: Color, size: int, weight: int
    ) -> None:
        if text:
            cv2.putText(picture, text, origin, color, self.font, size, weight)


def drawable(text: str) -> str:
    """`text` as OpenCV's renderer needs it: composed, printable, one line, right-to-left letters in the order seen.

    The renderer does not reorder or join letters (Arabic stands unjoined), draws "?" for what its fonts lack, and
    dies of a lone surrogate.
    """
    composed = unicodedata.normalize("NFC", text)
    printable = "".join(letter if letter.isprintable() else "?" for letter in composed)
    return RIGHT_TO_LEFT.sub(lambda run: run[0][::-1], printable)


def _title(matches: Matches, row: int) -> tuple[str, str]:
    """What to write, (bold, regular): who and how alike, and how sure the detector is."""
    found, like = matches.found, float(matches.similarity[row])
    score = f"{found.scores[row]:.0%}"
    if np.isnan(like):
        return matches.names[row] or class_name(found, row), score
    return matches.names[row] or "unknown", f"{like:.2f} · {score}"


def _told(matches: Matches, row: int) -> bool:
    """Whether the color of a box says as much as its label's title."""
    return not matches.names[row] and len(matches.found.labels) < 2


def _widths(words: list[Word], style: Style) -> list[int]:
    """The width in pixels of a label of all `words`, and of ever fewer of them."""
    gap = style.text // 3
    return [sum(word.width + gap for word in words[:count]) + gap for count in range(len(words), 0, -1)]


def _color(name: str, similarity: float) -> Color:
    if name:
        return KNOWN
    return PLAIN if np.isnan(similarity) else UNKNOWN


def _corners(boxes: NDArray[np.float32], frame: Frame) -> list[Place]:
    """Boxes (N, 4) as whole pixels inside the frame."""
    limit = np.array([frame.width, frame.height, frame.width, frame.height], np.float32)
    inside = np.clip(np.nan_to_num(boxes), 0, limit).round().astype(int)
    return [Place(*row) for row in inside.tolist()]


def _grown(box: Place, by: int) -> Place:
    return Place(box.left - by, box.top - by, box.right + by, box.bottom + by)


def _box(picture: NDArray[np.uint8], box: Place, color: Color, style: Style) -> None:
    """A thin box on a dark edge, seen on any ground, with heavy corners where the box is large enough for them."""
    end = (box.right - 1, box.bottom - 1)
    cv2.rectangle(picture, box[:2], end, INK, style.line + 2)
    cv2.rectangle(picture, box[:2], end, color, style.line)
    arm, half = min(box.right - box.left, box.bottom - box.top) // 5, style.line
    if arm < 3 * half:
        return
    for x, inward_x in ((box.left, arm), (end[0], -arm)):
        for y, inward_y in ((box.top, arm), (end[1], -arm)):
            _bar(picture, (x, x + inward_x), (y, y), color, half)
            _bar(picture, (x, x), (y, y + inward_y), color, half)


def _bar(picture: NDArray[np.uint8], xs: tuple[int, int], ys: tuple[int, int], color: Color, half: int) -> None:
    """A filled bar over the span of `xs` and `ys`, `half` pixels wider on every side."""
    start, end = (min(xs) - half, min(ys) - half), (max(xs) + half, max(ys) + half)
    cv2.rectangle(picture, start, end, color, cv2.FILLED)


def _landmarks(picture: NDArray[np.uint8], points: NDArray[np.float32], boxes: list[Place], style: Style) -> None:
    """The five points (N, 5, 2) of each face as dots that grow with the face; a dark edge where there is room."""
    for face, box in zip(points, boxes, strict=True):
        width = box.right - box.left
        radius = max(1, min(style.line * 2, width // 40))
        for x, y in face[np.isfinite(face).all(axis=1)].clip(-32768, 32767).round().astype(int).tolist():
            if width >= 48:
                cv2.circle(picture, (x, y), radius + 1, INK, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(picture, (x, y), radius, PAPER, cv2.FILLED, cv2.LINE_AA)
