"""Cut each face out of the frame, turned and scaled so that eyes, nose and mouth lie where the embedder wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.frames import Frames
from pipeline.types import Crops, Detections

Align = Literal["dlib", "arcface"]


@dataclass(frozen=True)
class Template:
    """Where the five points lie in a chip, left eye of the picture first, as in `Detections`."""

    side: int  # pixels
    points: NDArray[np.float32]  # (5, 2) xy pixels of the chip


# ArcFace: the 112x112 template of insightface. dlib: where CenterFace's points lie in the 150x150 chips, padded by a
# quarter, that dlib cuts for its own network (median over 115 faces, made symmetric).
_ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_DLIB = ((45.8, 46.2), (102.3, 46.2), (74.0, 78.4), (50.0, 103.3), (98.1, 103.3))
TEMPLATES: dict[Align, Template] = {
    "arcface": Template(112, np.array(_ARCFACE, np.float32)),
    "dlib": Template(150, np.array(_DLIB, np.float32)),
}


class CropConfig(Config, frozen=True):
    """`[crop]`"""

    align: Align = "dlib"  # how the embedder's faces were aligned; its file says so
    min_face: Annotated[int, Meta(ge=1)] = 24  # pixels, shorter side; a smaller face gets no chip


class Crop:
    """Detections -> Crops: a chip for every face with keypoints that is large enough."""

    def __init__(self, config: CropConfig, frames: Frames) -> None:
        self._template = TEMPLATES[config.align]
        self._min_face = config.min_face
        self._frames = frames

    def __call__(self, found: Detections) -> Crops:
        rows = self._large_enough(found)
        side = self._template.side
        chips = np.empty((len(rows), side, side, 3), np.uint8)
        if found.keypoints is not None and len(rows):
            with self._frames.view(found.frame) as pixels:
                cut(pixels, found.keypoints[rows], self._template, chips)
        return Crops(found=found, rows=rows, chips=chips)

    def _large_enough(self, found: Detections) -> NDArray[np.int32]:
        if found.keypoints is None:
            return np.empty(0, np.int32)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        spread = np.ptp(found.keypoints, axis=1)  # (N, 2); points that all coincide have no direction
        return np.flatnonzero((sides.min(axis=1) >= self._min_face) & (spread.max(axis=1) > 0)).astype(np.int32)


def cut(
    pixels: NDArray[np.uint8], keypoints: NDArray[np.float32], template: Template, chips: NDArray[np.uint8]
) -> None:
    """Fill `chips` (M, S, S, 3) RGB with the faces of `pixels` (H, W, 3) BGR that have `keypoints` (M, 5, 2) xy."""
    size = (template.side, template.side)
    for matrix, chip in zip(similarity(keypoints, template.points), chips, strict=True):
        cv2.cvtColor(cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB, dst=chip)


def similarity(points: NDArray[np.float32], template: NDArray[np.float32]) -> NDArray[np.float64]:
    """(M, 2, 3) matrices that turn, scale and shift `points` (M, K, 2) onto `template` (K, 2), in least squares.

    In the plane, and without mirroring, Umeyama's solution (1991) is one complex division: turn and scale are the
    factor of the least-squares line from centred points to centred template.
    """
    source = points[..., 0] + 1j * points[..., 1].astype(np.float64)  # (M, K)
    target = template[:, 0] + 1j * template[:, 1].astype(np.float64)  # (K,)
    origin, goal = source.mean(axis=1), target.mean()
    centred = source - origin[:, None]
    factor = (centred.conj() @ (target - goal)) / np.square(np.abs(centred)).sum(axis=1)  # (M,)
    shift = goal - factor * origin
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return np.moveaxis(np.array(rows), 2, 0)
