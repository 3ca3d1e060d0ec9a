"""The DET curve (Martin et al. 1997): misses against false accepts, both on the scale of a normal deviate."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.files import replace_file
from stages.gate.calibration import Calibration
from stages.sources.address import check_name

WIDTH, HEIGHT = 1200, 900  # pixels
LEFT, TOP, RIGHT, BOTTOM = 130, 110, 40, 110  # margins
INK, FAINT, GRID = (40, 34, 30), (120, 112, 108), (228, 224, 222)  # BGR
CURVE, POINT = (170, 92, 30), (40, 60, 210)
TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
REGULAR, BOLD = 400, 600
NO_PICTURE = "{} cannot be written as a picture: give a name that ends with .png"
_NORMAL = NormalDist()


class _Axes:
    """Where a pair of rates lies in the picture."""

    def __init__(self, found: Calibration) -> None:
        self.least = 10.0 ** np.floor(np.log10(1 / found.impostor))
        self.least_frr = max(1e-3, 10.0 ** np.floor(np.log10(1 / found.genuine)))

    def x(self, far: float) -> int:
        return LEFT + round((WIDTH - LEFT - RIGHT) * _share(far, self.least, 0.8))

    def y(self, frr: float) -> int:
        return HEIGHT - BOTTOM - round((HEIGHT - TOP - BOTTOM) * _share(frr, self.least_frr, 0.99))


def check_picture(path: Path) -> None:
    """Raises Usage where the name of `path` is none of a picture that can be written."""
    check_name(str(path))
    if not cv2.haveImageWriter(path.suffix):
        raise Usage(NO_PICTURE.format(path))


def write(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as the suffix of `path` says. Raises Failed."""
    encoded, content = cv2.imencode(path.suffix, picture)
    if not encoded:  # formats without colours
        raise Usage(NO_PICTURE.format(path))
    try:
        replace_file(path, content.tobytes(), synced=True)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}; give --plot another path") from error


def det(found: Calibration) -> NDArray[np.uint8]:
    """The curve as a picture, (900, 1200, 3) uint8 BGR, with the point that was chosen and its bounds."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    font, axes = cv2.FontFace("sans"), _Axes(found)

    def write(
        text: str, at: tuple[int, int], size: int, color: tuple[int, int, int] = INK, weight: int = REGULAR
    ) -> None:
        cv2.putText(canvas, text, at, color, font, size, weight)

    for tick in TICKS:
        label = f"{tick * 100:g} %"
        if axes.least <= tick <= 0.8:
            cv2.line(canvas, (axes.x(tick), TOP), (axes.x(tick), HEIGHT - BOTTOM), GRID, 1, cv2.LINE_AA)
            write(label, (axes.x(tick) - 5 * len(label), HEIGHT - BOTTOM + 32), 20, FAINT)
        if axes.least_frr <= tick <= 0.99:
            cv2.line(canvas, (LEFT, axes.y(tick)), (WIDTH - RIGHT, axes.y(tick)), GRID, 1, cv2.LINE_AA)
            write(label, (LEFT - 12 - 11 * len(label), axes.y(tick) + 7), 20, FAINT)
    cv2.rectangle(canvas, (LEFT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM), FAINT, 1)
    line = np.array([(axes.x(point.far), axes.y(point.frr)) for point in found.curve], np.int32)
    cv2.polylines(canvas, [line], False, CURVE, 3, cv2.LINE_AA)
    _chosen(canvas, axes, found)
    write("False accepts and false rejects of a comparison", (LEFT, 48), 30, weight=BOLD)
    counts = f"{found.people} people, {found.genuine} genuine and {found.impostor} impostor comparisons"
    write(f"{counts}; embedder {found.model[:12]}", (LEFT, 84), 20, FAINT)
    write("false accept rate", (LEFT + (WIDTH - LEFT - RIGHT) // 2 - 80, HEIGHT - 36), 22)
    turned = np.full((LEFT - 80, 240, 3), 255, np.uint8)
    cv2.putText(turned, "false reject rate", (0, 30), INK, font, 22, REGULAR)
    canvas[HEIGHT // 2 - 120 : HEIGHT // 2 + 120, : LEFT - 80] = cv2.rotate(turned, cv2.ROTATE_90_COUNTERCLOCKWISE)
    x, y = axes.x(found.measured_far), axes.y(1 - found.tar)
    write(f"threshold {found.threshold:.3f}", (x + 18, y - 34), 24, POINT, BOLD)
    write(f"for {found.far * 100:g} % of passages", (x + 18, y - 8), 20, POINT)
    return canvas


def _chosen(canvas: NDArray[np.uint8], axes: _Axes, found: Calibration) -> None:
    """The operating point, and how far people resampled move it."""
    x, y = axes.x(found.measured_far), axes.y(1 - found.tar)
    (low, high), (tar_low, tar_high) = found.measured_far_span, found.tar_span
    cv2.line(canvas, (axes.x(low), y), (axes.x(high), y), POINT, 2, cv2.LINE_AA)
    cv2.line(canvas, (x, axes.y(1 - tar_high)), (x, axes.y(1 - tar_low)), POINT, 2, cv2.LINE_AA)
    cv2.circle(canvas, (x, y), 9, POINT, cv2.FILLED, cv2.LINE_AA)


def _share(rate: float, low: float, high: float) -> float:
    """0 at `low`, 1 at `high`, evenly by the normal deviate; what lies beyond is on the edge."""
    first, at, last = (_NORMAL.inv_cdf(min(max(value, low), high)) for value in (low, rate, high))
    return (at - first) / (last - first)
