"""The canvas the sample clip's place is drawn on: a pinhole camera, and paint.

One unit is a metre; the camera stands at the origin at eye level and looks along z. The drawing is larger than the
view, so that the camera can pan and zoom over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

Image = NDArray[Any]  # (H, W, 3) float32 BGR, 0..1
Plane = NDArray[Any]  # (H, W) float32
Colour = tuple[float, float, float]  # BGR, 0..1
Point = tuple[float, float]

FOCAL = 1100.0  # pixels of the view
HORIZON = 385.0  # row of the view
EYE = 1.57  # height of the camera, metres
MARGIN_X, MARGIN_Y = 200, 70  # of the drawing around the view, pixels of the view
SCALE = 1.5  # drawing pixels to a pixel of the view
WIDTH, HEIGHT = 1280, 720


@dataclass(frozen=True)
class Layer:
    """A drawing that covers the view and its margins, SCALE times as fine."""

    colour: Image
    alpha: Plane


def project(x: float, y: float, z: float) -> Point:
    """Where a point lies in the view of the camera at rest, in pixels."""
    return WIDTH / 2 + FOCAL * x / z, HORIZON - FOCAL * (y - EYE) / z


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 5) -> Plane:
    """Fractal noise, zero mean, about unit deviation; `cell` is the size of the largest blobs in pixels."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        grid = rng.normal(0, 0.6**octave, (int(shape[0] / size) + 3, int(shape[1] / size) + 3)).astype(np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def shape_of_drawing() -> tuple[int, int]:
    """(height, width) of the drawing."""
    return round((HEIGHT + 2 * MARGIN_Y) * SCALE), round((WIDTH + 2 * MARGIN_X) * SCALE)


def soften(layer: Layer, sigma: float) -> Layer:
    """The lens is focused on the people."""
    alpha = cv2.GaussianBlur(layer.alpha, (0, 0), sigma * SCALE)
    colour = cv2.GaussianBlur(layer.colour * layer.alpha[..., None], (0, 0), sigma * SCALE)
    return Layer(colour / np.maximum(alpha, 1e-3)[..., None], alpha)


def at(x: float, y: float, z: float) -> Point:
    """The point in the drawing, in its pixels."""
    u, v = project(x, y, z)
    return (u + MARGIN_X) * SCALE, (v + MARGIN_Y) * SCALE


def texture(name: str) -> Plane:
    """A grey texture of scikit-image, mean 1."""
    grey = np.asarray(getattr(skimage.data, name)(), np.float32)
    return grey / float(grey.mean())


def rays() -> tuple[Plane, Plane]:
    """x/z and (y - EYE)/z of each pixel of the drawing."""
    height, width = shape_of_drawing()
    v, u = np.mgrid[:height, :width].astype(np.float32)
    return (u / SCALE - MARGIN_X - WIDTH / 2) / FOCAL, -(v / SCALE - MARGIN_Y - HORIZON) / FOCAL


def tile(pattern: Plane, x: Plane, y: Plane, metre: float) -> Plane:
    """The pattern at (x, y) metres, `metre` of its pixels to a metre, repeated for ever."""
    return cv2.remap(
        pattern,
        np.mod(x * metre, pattern.shape[1]).astype(np.float32),
        np.mod(y * metre, pattern.shape[0]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def mix(below: Image, above: Image, cover: Plane) -> Image:
    """Paint `above` over `below` where `cover` is 1."""
    return np.asarray(below + cover[..., None] * (above - below))


def tint(plane: Plane, bgr: Colour) -> Image:
    """Give brightness a colour."""
    return plane[..., None] * np.asarray(bgr, np.float32)


def fill(image: Image, corners: list[Point], bgr: Colour) -> None:
    """Fill a polygon of drawing pixels, smooth at its edges."""
    cv2.fillPoly(image, [np.round(np.asarray(corners) * 16).astype(np.int32)], bgr, cv2.LINE_AA, 4)


def box(image: Image, low: Point, high: Point, z: float, bgr: Colour) -> None:
    """A rectangle that faces the camera, from (x, y) to (x, y) metres at distance z."""
    (x1, y1), (x2, y2) = low, high
    fill(image, [at(x1, y1, z), at(x2, y1, z), at(x2, y2, z), at(x1, y2, z)], bgr)
