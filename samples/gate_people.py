"""The people of the sample clip: public-domain portraits cut out of their photographs.

Eileen Collins is scikit-image's `astronaut` (NASA), Grace Hopper is matplotlib's `grace_hopper.jpg` (U.S. Navy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import matplotlib.cbook
import numpy as np
import skimage.data
from gate_canvas import Colour, Image, Plane
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 2) xy, pixels of the portrait


@dataclass(frozen=True)
class Portrait:
    """A person cut out of a photograph, in pixels of the portrait."""

    name: str
    colour: Image  # unmixed from the photograph's background
    alpha: Plane  # 0..1
    eyes: tuple[float, float]  # the point between them: the person's anchor
    face: tuple[float, float, float, float]  # xyxy, brow to chin as face detectors draw it
    metre: float  # pixels

    @cached_property
    def depth(self) -> Plane:
        """How far each pixel stands out of the plane of the neck, 0..1: an ellipsoid for the head."""
        x1, y1, x2, y2 = self.face
        y, x = np.mgrid[: self.alpha.shape[0], : self.alpha.shape[1]].astype(np.float32)
        r2 = ((x - (x1 + x2) / 2) / (0.85 * (x2 - x1))) ** 2 + ((y - (y1 + y2) / 2) / (0.85 * (y2 - y1))) ** 2
        return np.asarray(np.sqrt(np.clip(1 - r2, 0, 1)), np.float32)


def astronaut() -> NDArray[np.uint8]:
    """NASA's portrait of Eileen Collins, (512, 512, 3) BGR."""
    load: Callable[[], NDArray[np.uint8]] = skimage.data.astronaut
    return np.ascontiguousarray(load()[..., ::-1])


def grace_hopper() -> NDArray[np.uint8]:
    """The U.S. Navy's portrait of Grace Hopper, (600, 512, 3) BGR."""
    data = np.fromfile(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def points(text: str) -> Points:
    """A polygon as SVG writes it: "x,y x,y ..."."""
    return np.array([pair.split(",") for pair in text.split()], np.float64)


def collins() -> Portrait:
    """Eileen Collins, her suit continued below the edge of the photograph."""
    outline = [
        _oval(228, 78, 73, 58),
        _oval(224, 110, 46, 78),
        _oval(209, 222, 92, 70),
        points("100,225 52,268 34,310 23,350 19,420 22,470 32,511 300,511 350,345 330,270 290,235"),
        _oval(388, 456, 104, 106),
    ]
    colour, alpha = _cut_out(astronaut(), outline, doubt=10)
    face = (181.0, 64.0, 271.0, 175.0)
    return Portrait("Eileen Collins", *_continue_suit(colour, alpha), eyes=(226.0, 103.0), face=face, metre=560.0)


def hopper() -> Portrait:
    """Grace Hopper, her jacket continued below the edge of the photograph."""
    outline = [
        points("160,172 154,128 178,84 176,62 215,38 262,26 312,38 352,66 352,88 370,110 368,175"),
        points("162,180 160,205 168,255 176,286 194,299 206,318 330,312 352,285 360,250 374,205 366,170"),
        points("200,300 196,330 130,356 56,384 40,430 20,510 14,599 511,599 506,440 486,388 430,362 340,330 330,300"),
    ]
    colour, alpha = _cut_out(grace_hopper(), outline, doubt=8)
    colour, alpha = _continue_jacket(colour, alpha)
    side = (384, 945)  # three quarters: she never comes as near as Collins
    colour, alpha = (
        cv2.resize(colour, side, interpolation=cv2.INTER_AREA),
        cv2.resize(alpha, side, interpolation=cv2.INTER_AREA),
    )
    return Portrait("Grace Hopper", colour, alpha, eyes=(198.0, 143.0), face=(131.0, 87.0, 266.0, 247.0), metre=750.0)


def _oval(x: float, y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 48)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)


def _cut_out(photo: NDArray[np.uint8], outline: list[Points], doubt: int) -> tuple[Image, Plane]:
    """GrabCut decides within `doubt` pixels of the rough outline; the matte is refined against the photo's edges."""
    drawn = np.zeros(photo.shape[:2], np.uint8)
    for part in outline:
        cv2.fillPoly(drawn, [np.round(part).astype(np.int32)], 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * doubt + 1, 2 * doubt + 1))
    mask = np.where(drawn > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    # The lower edge of the photo is inside the body: erosion must not eat into it from below.
    mask[cv2.erode(drawn, kernel, borderType=cv2.BORDER_REPLICATE) > 0] = cv2.GC_FGD
    mask[cv2.dilate(drawn, kernel) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(7)
    cv2.grabCut(photo, mask, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = _largest(cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)))
    image = photo.astype(np.float32) / 255
    matte = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.9)
    matte = cv2.GaussianBlur(_guided(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), matte, 3), (0, 0), 0.8)
    alpha = np.clip((matte - 0.25) / 0.7, 0, 1)  # a little inwards: no halo of the old background
    return _unmix(image, alpha), alpha


def _largest(inside: Plane) -> Plane:
    """The largest piece, without its small holes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside)
    body = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - body)
    outside = [i for i, s in enumerate(stats) if i and s[cv2.CC_STAT_AREA] > 1500]
    return (~np.isin(holes, outside)).astype(np.uint8)


def _guided(guide: Plane, plane: Plane, radius: int, eps: float = 1e-4) -> Plane:
    """Guided filter (He, Sun, Tang, ECCV 2010): smooth `plane`, keeping the edges of `guide`."""

    def mean(values: Plane) -> Plane:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_plane = mean(guide), mean(plane)
    slope = (mean(guide * plane) - mean_guide * mean_plane) / (mean(guide * guide) - mean_guide**2 + eps)
    return mean(slope) * guide + mean(mean_plane - slope * mean_guide)


def _unmix(image: Image, alpha: Plane) -> Image:
    """Replace the colour of half-covered pixels by that of the nearest fully covered ones."""
    sure = (cv2.erode(alpha, np.ones((3, 3), np.uint8)) > 0.97).astype(np.float32)
    weight, total = sure.copy(), image * sure[..., None]
    for sigma in (1.5, 3.0, 8.0, 24.0):
        near = cv2.GaussianBlur(sure, (0, 0), sigma)
        spread = cv2.GaussianBlur(image * sure[..., None], (0, 0), sigma)
        empty = (weight < 0.02).astype(np.float32)
        total += empty[..., None] * spread
        weight += empty * near
    filled = total / np.maximum(weight, 1e-4)[..., None]
    return (sure[..., None] * image + (1 - sure[..., None]) * filled).astype(np.float32)


def _grow(colour: Image, alpha: Plane, height: int) -> tuple[Image, Plane]:
    rows = height - colour.shape[0]
    return np.pad(colour, ((0, rows), (0, 0), (0, 0)), mode="edge"), np.pad(alpha, ((0, rows), (0, 0)))


def _cloth(shape: tuple[int, int], seed: int) -> Plane:
    """Soft folds, about 1.0."""
    rng = np.random.default_rng(seed)
    folds = sum(
        cv2.resize(
            rng.normal(0, s, (shape[0] // n, shape[1] // n)).astype(np.float32),
            shape[::-1],
            interpolation=cv2.INTER_CUBIC,
        )
        for n, s in ((48, 0.09), (14, 0.05), (3, 0.02))
    )
    return np.asarray(1 + folds, np.float32)


def _paint(colour: Image, alpha: Plane, outline: Points, paint: Colour, below: int, seed: int) -> None:
    """Fill a polygon with shaded cloth, on the rows from `below` on."""
    shape = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(shape, [np.round(outline).astype(np.int32)], 255)
    cover = cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), 2.0)
    inside = cv2.distanceTransform(shape, cv2.DIST_L2, 3)
    shade = (0.55 + 0.45 * np.clip(inside / 60, 0, 1) ** 0.6) * _cloth(alpha.shape, seed)
    cover[:below] = 0
    cover *= np.clip((np.arange(alpha.shape[0]) - below) / 10, 0, 1)[:, None].astype(np.float32)
    colour += cover[..., None] * (np.asarray(paint, np.float32) * shade[..., None] - colour)
    np.maximum(alpha, cover, out=alpha)


def _continue_suit(colour: Image, alpha: Plane) -> tuple[Image, Plane]:
    cut = colour.shape[0]
    colour, alpha = _grow(colour, alpha, 720)
    alpha[cut:] = np.where(np.arange(alpha.shape[0] - cut)[:, None] < 12, alpha[cut - 3], 0)
    _paint(
        colour,
        alpha,
        points("30,480 36,530 72,600 80,720 345,720 352,480"),
        (0.16, 0.30, 0.80),
        cut - 2,
        seed=11,
    )
    _paint(colour, alpha, _oval(388, 456, 108, 112), (0.05, 0.05, 0.06), cut - 3, seed=12)
    return colour, alpha


def _continue_jacket(colour: Image, alpha: Plane) -> tuple[Image, Plane]:
    cut = colour.shape[0]
    button = colour[570:600, 228:264].copy()
    rim = cv2.GaussianBlur(cv2.circle(np.zeros((30, 36), np.float32), (16, 17), 12, (1.0,), -1), (0, 0), 1.5)[..., None]
    colour, alpha = _grow(colour, alpha, 1260)
    navy = (0.075, 0.052, 0.05)
    for side, arm in enumerate(
        (
            points("14,560 30,900 70,1010 130,1010 120,560"),
            points("400,560 390,1010 440,1010 480,900 506,560"),
        )
    ):
        _paint(colour, alpha, arm, navy, cut - 10, seed=21 + side)
    _paint(
        colour,
        alpha,
        points("100,560 112,900 96,1260 420,1260 404,900 412,560"),
        navy,
        cut - 10,
        seed=23,
    )
    for y in (690, 800, 910):
        colour[y : y + 30, 228:264] += rim * (button - colour[y : y + 30, 228:264])
    return colour, alpha
