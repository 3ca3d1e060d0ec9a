"""Does a network give on the GPU what it gives on the CPU? The pictures to ask it with, and how the answers compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.model import ModelInfo
from stages.layouts import LAYOUTS, Found
from stages.network import Size, feeder
from stages.nms import suppress

PORTRAIT = Path(__file__).resolve().parents[1] / "samples" / "enrol" / "Eileen Collins.jpg"
TILE = 16  # pixels
# Least similarity to the CPU, of an output over a batch: CUDA multiplies in TF32, TensorRT perhaps in half.
COSINE = 0.9995
RELATIVE = 0.02  # largest difference to the CPU, as a share of the output's largest value
ROWS = ("decoded", "nms")  # layouts of boxes, best first: where scores are nearly equal, rounding changes their order
SCORE, IOU = 0.5, 0.3  # what counts as a face, and from which overlap on two boxes are one
# Rounding may also make a neighbouring cell a face's best, with a box of its own: over 240 of these pictures the IoU of
# the two, where their scores are within 0.01, was 0.87 at the least, and points were up to 3.4 % of the box apart.
OVERLAP = 0.85  # least IoU with the CPU's box
POINT = 0.05  # largest difference of a coordinate, as a share of the box's longer side
SCORES = 0.03  # largest difference of a score

Outputs = Sequence[NDArray[Any]]
Floats = NDArray[np.float32]


class Verdict(NamedTuple):
    """Whether two answers agree, and the figures behind it."""

    good: bool
    figures: str


def pictures(info: ModelInfo, count: int, seed: int) -> NDArray[Any]:
    """`count` images like `info.blank`: the portrait in random places on coloured tiles, as the model wants them."""
    rng = np.random.default_rng(seed)
    feed = feeder(info, "BGR", order="RGB", mean=(0, 0, 0), scale=(1, 1, 1))
    images = info.blank(count)
    for image in images:
        feed(_picture(rng, info.size), image)
    return images


def _picture(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR; the portrait takes 60 to 100 % of what fits, so that its face is not too small."""
    height, width = size
    tiles = rng.integers(0, 256, (-(-height // TILE), -(-width // TILE), 3), np.uint8)
    picture = tiles.repeat(TILE, axis=0).repeat(TILE, axis=1)[:height, :width].copy()
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    ratio = rng.uniform(0.6, 1) * min(height / portrait.shape[0], width / portrait.shape[1])
    high, wide = (int(side * ratio) for side in portrait.shape[:2])
    top, left = rng.integers(0, (height - high + 1, width - wide + 1))
    picture[top : top + high, left : left + wide] = cv2.resize(portrait, (wide, high), interpolation=cv2.INTER_AREA)
    return picture


def compare(info: ModelInfo, count: int, found: Outputs, wanted: Outputs) -> Verdict:
    """Two outputs of a model for the same batch of `count`: of rows the faces are compared, else the arrays."""
    if info.layout in ROWS:
        return _compare_faces(_faces(info, count, found), _faces(info, count, wanted))
    cosine, largest, relative = difference(found, wanted)
    figures = f"cosine {cosine:.6f}, max abs {largest:.2g} ({relative:.2%} of the largest value)"
    return Verdict(cosine >= COSINE and relative <= RELATIVE, figures)


def difference(found: Outputs, wanted: Outputs) -> tuple[float, float, float]:
    """Least cosine, largest absolute difference and that as a share of the largest value, over all outputs."""
    cosines, largest, relative = [], [], []
    for one, two in zip(found, wanted, strict=True):
        left, right = one.astype(np.float64).ravel(), two.astype(np.float64).ravel()
        norm = float(np.linalg.norm(left) * np.linalg.norm(right))
        cosines.append(float(left @ right) / norm if norm else float(np.array_equal(left, right)))
        largest.append(float(np.abs(left - right).max()))
        relative.append(largest[-1] / (float(np.abs(right).max()) or 1.0))
    return min(cosines), max(largest), max(relative)


def _faces(info: ModelInfo, count: int, outputs: Outputs) -> list[Found]:
    """The faces of each image; one that fills many rows counts once, by its best."""
    layout, faces = LAYOUTS[info.layout], []
    for rows in layout.images(outputs, count):
        boxes, scores, classes, points = layout.decode(rows, info.size, SCORE)
        kept = suppress(boxes, scores, classes, iou=IOU, top=len(boxes))
        faces.append(Found(boxes[kept], scores[kept], classes[kept], None if points is None else points[kept]))
    return faces


def _compare_faces(found: Sequence[Found], wanted: Sequence[Found]) -> Verdict:
    """In each image as many faces, each of them like one of the other's; no face at all proves nothing."""
    ours, theirs = ([len(each.scores) for each in faces] for faces in (found, wanted))
    if ours != theirs or not any(theirs):
        return Verdict(False, f"faces in each image {ours}, wanted {theirs}")
    pairs = [pair for pair in zip(found, wanted, strict=True) if len(pair[1].scores)]
    columns = zip(*(_apart(*pair) for pair in pairs), strict=True)
    overlap, point, score = (np.concatenate(column) for column in columns)
    figures = f"{sum(ours)} faces, least IoU {overlap.min():.4f}, points {point.max():.2%} of the box off, "
    figures += f"scores {score.max():.4f} off"
    return Verdict(bool(overlap.min() >= OVERLAP and point.max() <= POINT and score.max() <= SCORES), figures)


def _apart(found: Found, wanted: Found) -> tuple[Floats, Floats, Floats]:
    """For each face what `OVERLAP`, `POINT` and `SCORES` bound, beside the one of its class that it overlaps most."""
    areas, wanted_areas = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found.boxes, wanted.boxes))
    corners = found.boxes[:, None], wanted.boxes[None]
    sides = np.minimum(*corners)[..., 2:] - np.maximum(*corners)[..., :2]  # (N, N, 2) of what both cover
    both = sides.clip(0).prod(axis=2)
    overlaps = both / (areas[:, None] + wanted_areas - both) * (found.classes[:, None] == wanted.classes)
    other = overlaps.argmax(axis=1)
    points = np.zeros(len(other), np.float32)
    if found.keypoints is not None and wanted.keypoints is not None:
        longer = (wanted.boxes[other, 2:] - wanted.boxes[other, :2]).max(axis=1)
        points = np.abs(found.keypoints - wanted.keypoints[other]).max(axis=(1, 2)) / longer
    return overlaps.max(axis=1), points, np.abs(found.scores - wanted.scores[other])
