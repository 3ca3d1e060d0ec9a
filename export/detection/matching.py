"""What a detector found against what is on the photos: matching, average precision, recall by size, landmarks.

A labelled box is *asked for* if it is not to be ignored and is not too small. What is found on any other labelled box,
or is too small itself, is neither right nor wrong, at any overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from export.detector import Array, overlap

IOU = 0.5  # a found box and a labelled one that overlap this much are one
SIZES = ((0, 16), (16, 32), (32, 64), (64, np.inf))  # heights in px of the network's input, the upper end excluded
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Boxes:
    """Boxes on one photo; found ones best first."""

    corners: Array  # (N, 4) xyxy px of the photo
    classes: Indices  # (N,)
    scores: Array  # (N,) 0..1; labelled ones have 1


@dataclass(frozen=True)
class Photo:
    """A photo's labelled boxes, what was found on it, and which of them are one."""

    truth: Boxes
    found: Boxes
    heights: Array  # (M,) of the labelled boxes, px of the network's input
    asked: Flags  # (M,)
    ignored: Flags  # (M,) as the labels say
    hit: Indices  # (M,) the found box on each labelled one, -1 where there is none
    right: Flags  # (N,) on a box that is asked for
    counts: Flags  # (N,) right or wrong


def covered(box: Array, others: Array) -> Array:
    """The share of one xyxy box (4,) that lies in each of others (N, 4)."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return np.asarray(size.clip(0).prod(1) / (box[2:] - box[:2]).prod(), np.float32)


def take(found: Boxes, truth: Boxes, wanted: Flags, hit: Indices) -> None:
    """Give each `wanted` labelled box the best found one that is free, in place of a -1 in `hit`.

    As COCO does: by falling score, each takes the free box of its class that it overlaps most, if by IOU or more.
    """
    taken = set(hit.tolist())
    for index, box in enumerate(found.corners):
        free = wanted & (hit < 0) & (truth.classes == found.classes[index])
        if index not in taken and free.any():
            overlaps = np.where(free, overlap(box, truth.corners), 0)
            if overlaps.max() >= IOU:
                hit[overlaps.argmax()] = index


def match(found: Boxes, truth: Boxes, ignored: Flags, shrink: float, smallest: float) -> Photo:
    """Match the boxes of a photo that the network sees `shrink` times as large; `smallest` is px of its input."""
    heights = (truth.corners[:, 3] - truth.corners[:, 1]) * shrink
    asked = ~ignored & (heights >= smallest)
    hit = np.full(len(asked), -1)
    take(found, truth, asked, hit)
    right = np.isin(np.arange(len(found.scores)), hit)
    take(found, truth, ~ignored & ~asked, hit)
    counts = right | ((found.corners[:, 3] - found.corners[:, 1]) * shrink >= smallest)
    for index in np.flatnonzero(counts & ~right):
        spared = ~asked & (truth.classes == found.classes[index])
        counts[index] = not (covered(found.corners[index], truth.corners[spared]) >= IOU).any()
    return Photo(truth, found, heights, asked, ignored, hit, right, counts)


def annotations(photos: Sequence[Photo], *, truth: bool) -> list[dict[str, object]]:
    """The boxes asked for, or found ones that count, as COCO has them: x, y, width, height."""
    rows: list[dict[str, object]] = []
    for image, photo in enumerate(photos, 1):
        boxes, which = (photo.truth, photo.asked) if truth else (photo.found, photo.counts)
        for index in np.flatnonzero(which):
            left, top, right, bottom = boxes.corners[index].astype(float).tolist()
            row: dict[str, object] = {"image_id": image, "category_id": int(boxes.classes[index]) + 1}
            row |= {"bbox": [left, top, right - left, bottom - top], "score": float(boxes.scores[index])}
            rows.append(row | {"id": len(rows) + 1, "area": (right - left) * (bottom - top), "iscrowd": 0})
    return rows


def average_precisions(photos: Sequence[Photo], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """AP at IoU 0.5 and the mean of APs at IoU 0.5, 0.55, ... 0.95, for each class that is asked for.

    COCO's: precision at 101 recalls (Lin et al., arXiv:1405.0312), by faster-coco-eval. All found boxes take part, not
    100 an image.
    """
    images = [{"id": image, "width": 1, "height": 1} for image in range(1, len(photos) + 1)]
    classes = [{"id": index, "name": name} for index, name in enumerate(names, 1)]
    coco = COCO({"images": images, "categories": classes, "annotations": annotations(photos, truth=True)})
    evaluation = COCOeval_faster(coco, coco.loadRes(annotations(photos, truth=False)), "bbox")
    evaluation.params.maxDets = [max(1, *(len(photo.found.scores) for photo in photos))]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # (10 overlaps, 101 recalls, classes); -1: not asked for
    asked = [index for index in range(len(names)) if precision[0, 0, index] >= 0]
    return {names[i]: (float(precision[0, :, i].mean()), float(precision[..., i].mean())) for i in asked}


def recalls(photos: Sequence[Photo], score: float) -> dict[str, tuple[int, int]]:
    """How many labelled boxes of each of SIZES were found with `score` or more, and how many there are."""
    counted = {}
    for low, high in SIZES:
        found = there = 0
        for photo in photos:
            which = ~photo.ignored & (photo.heights >= low) & (photo.heights < high)
            there += int(which.sum())
            found += int((which & hits(photo, score)).sum())
        counted["under 16" if low == 0 else f"{low} and more" if np.isinf(high) else f"{low} to {high}"] = found, there
    return counted


def hits(photo: Photo, score: float) -> Flags:
    """(M,) which labelled boxes were found with `score` or more."""
    scores = np.append(photo.found.scores, -1)  # of -1, the box that nothing found
    return np.asarray(scores[photo.hit] >= score, bool)


def curve(photos: Sequence[Photo]) -> tuple[Array, Array]:
    """Recall and precision (K,) over all classes together as the score falls, at each found box that counts."""
    scores = np.concatenate([photo.found.scores[photo.counts] for photo in photos])
    right = np.concatenate([photo.right[photo.counts] for photo in photos])[np.argsort(-scores, kind="stable")]
    asked = sum(int(photo.asked.sum()) for photo in photos)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    return (right.cumsum() / asked).astype(np.float32), precision.astype(np.float32)


def landmarks_apart(photo: Photo, other: Photo, points: Array, others: Array, score: float) -> list[float]:
    """For each face asked for that two detectors found with `score` or more: how far apart their five points are.

    The mean distance over the other's eye distance, at least 1 px; `points` (N, 5, 2) are of the found boxes.
    """
    both = photo.asked & hits(photo, score) & hits(other, score)
    apart = []
    for index in np.flatnonzero(both):
        ours, theirs = points[photo.hit[index]], others[other.hit[index]]
        eyes = max(1.0, float(np.linalg.norm(theirs[0] - theirs[1])))
        apart.append(float(np.linalg.norm(ours - theirs, axis=1).mean()) / eyes)
    return apart
