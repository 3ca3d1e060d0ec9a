"""Anchor boxes by k-means with 1 - IoU as the distance (Redmon & Farhadi, YOLO9000, arXiv:1612.08242)."""

import numpy as np

from export.detection.augment import Augmented
from export.detector import Array
from export.models.yolo import STRIDES
from export.packages import Failed

BATCHES = 24  # whose boxes are looked at


def of(make: Augmented, each: int, seed: int) -> tuple[tuple[tuple[float, float], ...], ...]:
    """`each` anchors (width, height) px for each level, small ones for the finest, for the boxes that training sees."""
    boxes = []
    for index in range(BATCHES):
        batch = make(np.random.default_rng((seed, index)))
        boxes += [box[~ignored].numpy() for box, ignored in zip(batch.boxes, batch.ignored, strict=True)]
    sides = np.concatenate(boxes)
    sides = sides[:, 2:] - sides[:, :2]
    if not len(sides):
        raise Failed("no training picture shows a box that counts; give pictures with larger faces")
    found = k_means(sides, each * len(STRIDES), np.random.default_rng(seed)).round(1).tolist()
    rows = [tuple((width, height) for width, height in found[at : at + each]) for at in range(0, len(found), each)]
    return tuple(rows)


def shape_iou(sides: Array, centres: Array) -> Array:
    """IoU (N, K) of boxes (N, 2) and (K, 2) that share a corner."""
    common = np.minimum(sides[:, None], centres[None]).prod(-1)
    return np.asarray(common / (sides.prod(-1)[:, None] + centres.prod(-1)[None] - common), np.float32)


def k_means(sides: Array, count: int, random: np.random.Generator) -> Array:
    """(count, 2) centres of boxes (N, 2), by area; a centre is the median of its boxes, not the mean."""
    order = np.argsort(sides.prod(1))
    centres = sides[order[np.linspace(0, len(order) - 1, count).astype(int)]] * random.uniform(0.99, 1.01, (count, 1))
    for _ in range(300):
        nearest = shape_iou(sides, centres).argmax(1)
        moved = np.stack(
            [np.median(sides[nearest == k], 0) if (nearest == k).any() else centres[k] for k in range(count)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.asarray(centres[np.argsort(centres.prod(1))], np.float32)
