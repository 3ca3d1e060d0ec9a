"""NMS beside `cv2.dnn.NMSBoxesBatched`: the same boxes in one run, a call of each in turn, one thread each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.table import Row, report
from stages.nms import Nms, NmsConfig, suppress

IOU = 0.45
SIDE = 640.0  # pixels, the input of a YOLO
REPEATS = {100: 301, 1_000: 101, 8_400: 15, 25_200: 7}  # 8,400 and 25,200: the rows of YOLOv8's and YOLOv5's head
GATES = {100: 5.0, 1_000: 8.0, 8_400: 8.0, 25_200: 8.0}
SAME = ">= 99"  # %: the two may round an IoU differently, but otherwise they do the same
Scene = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]  # boxes xyxy, scores, classes


def head(n: int, classes: int) -> Scene:
    """The raw output of a detector's head: 5 to 100 objects of 16 to 256 px, each found many times, a little off."""
    rng = np.random.default_rng(n + classes)
    objects = int(np.clip(n // 80, 5, 100))
    size = np.exp(rng.uniform(np.log(16), np.log(256), (objects, 1)) + rng.normal(0, 0.25, (objects, 2)))
    centre, label = rng.uniform(0, SIDE, (objects, 2)), rng.integers(0, classes, objects)
    which = rng.integers(0, objects, n)
    middle = centre[which] + rng.normal(0, 0.05, (n, 2)) * size[which]
    boxes = _boxes(middle, size[which] * np.exp(rng.normal(0, 0.07, (n, 2))))
    return boxes, rng.beta(2, 5, n).astype(np.float32), label[which].astype(np.int32)


def uniform(n: int, classes: int) -> Scene:
    """Boxes of 8 to 128 px anywhere: few go, so every box meets many kept ones."""
    rng = np.random.default_rng(n + classes)
    boxes = _boxes(rng.uniform(0, SIDE, (n, 2)), rng.uniform(8, 128, (n, 2)))
    return boxes, rng.random(n).astype(np.float32), rng.integers(0, classes, n).astype(np.int32)


def _boxes(centre: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).clip(0, SIDE).astype(np.float32)


def corner_and_size(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """xyxy -> xywh, as cv2 wants them."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def race(calls: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    """Median milliseconds of each, called in turn."""
    times = np.empty((repeats, len(calls)))
    for turn in times:
        for column, call in enumerate(calls):
            start = perf_counter()
            call()
            turn[column] = perf_counter() - start
    return [float(each) for each in np.median(times, axis=0) * 1e3]


def agreement(title: str, ours: NDArray[np.int64], theirs: Any) -> Row:
    """How many of the boxes that either keeps both keep: speed counts for the same result only."""
    mine, other = set(ours.tolist()), set(np.asarray(theirs).ravel().tolist())
    either = len(mine | other)
    return Row(f"{title}: kept by both, of {either:,} kept by either", 100 * len(mine & other) / either, "%", SAME)


def measure(title: str, scene: Scene, repeats: int, gate: float) -> list[Row]:
    """The rows of one scene."""
    boxes, scores, classes = scene
    batched: Callable[..., Any] = cv2.dnn.NMSBoxesBatched  # its stubs know lists only; arrays work too
    xywh = corner_and_size(boxes)
    lists = xywh.tolist(), scores.tolist(), classes.tolist()

    def ours() -> NDArray[np.int64]:
        return suppress(boxes, scores, classes, iou=IOU, top=len(boxes))

    def theirs() -> Any:
        return batched(xywh, scores, classes, 0.0, IOU)

    def theirs_on_lists() -> Any:
        return batched(*lists, 0.0, IOU)

    same = agreement(title, ours(), theirs())
    fast, slow, bare = race((ours, theirs, theirs_on_lists), repeats)
    return [
        Row(f"{title}: framewire", fast, "ms"),
        Row(f"{title}: cv2", slow, "ms"),
        Row(f"{title}: cv2 / framewire", slow / fast, "x", f">= {gate:g}"),
        Row(f"{title}: cv2 on ready lists / framewire", bare / fast, "x"),
        same,
    ]


def many(images: int, n: int, classes: int) -> list[Row]:
    """The boxes of many images: all in one call, and in cv2, which knows of no images, a call for each."""
    scenes = [head(n + number, classes) for number in range(images)]
    boxes, scores, labels = (np.concatenate(column) for column in zip(*scenes, strict=True))
    owners = np.repeat(np.arange(images, dtype=np.int32), [len(scene[0]) for scene in scenes])
    batched: Callable[..., Any] = cv2.dnn.NMSBoxesBatched
    xywh = [corner_and_size(scene[0]) for scene in scenes]

    def ours() -> NDArray[np.int64]:
        return suppress(boxes, scores, labels, owners, iou=IOU, top=len(boxes))

    def theirs() -> list[Any]:
        return [batched(sides, one[1], one[2], 0.0, IOU) for sides, one in zip(xywh, scenes, strict=True)]

    title = f"head, {images} images of {n:,} boxes, {classes} classes"
    starts = np.searchsorted(owners, range(images))  # cv2 counts from 0 in each image
    kept = np.concatenate([start + np.ravel(rows) for start, rows in zip(starts, theirs(), strict=True)])
    same = agreement(title, ours(), kept)
    fast, slow = race((ours, theirs), REPEATS[n])
    return [
        Row(f"{title}: framewire", fast, "ms"),
        Row(f"{title}: cv2", slow, "ms"),
        Row(f"{title}: cv2 / framewire", slow / fast, "x"),
        same,
    ]


def start() -> float:
    """Milliseconds to build the stage in a fresh process, machine code from the cache (numba's import included)."""
    code = "from time import perf_counter as t; from stages.nms import *; a = t(); Nms(NmsConfig()); print(t() - a)"
    spent = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(3)]
    return float(np.median([float(each) for each in spent])) * 1e3


def main() -> int:
    """Run all scenes; 1 when a gate fails."""
    cv2.setNumThreads(1)
    Nms(NmsConfig())
    rows = [Row("build the stage, cached", start(), "ms")]
    for name, scene, classes in (
        ("head", head, 1),
        ("head", head, 80),
        ("uniform", uniform, 1),
        ("uniform", uniform, 80),
    ):
        for n, repeats in REPEATS.items():
            few = repeats if scene is head or n < 8_400 else 3  # cv2 takes seconds
            title = f"{name}, {n:,} boxes, {classes} class{'es' * (classes > 1)}"
            rows += measure(title, scene(n, classes), few, GATES[n])
    rows += many(8, 1_000, 80)
    notes = [
        f"Median of calls in turn, the same boxes in random order, IoU {IOU}, no limit on the kept, one thread each.",
        "The gate: both get the same float32 and int32 arrays (cv2's as xywh), as a detector gives them.",
        "cv2 on ready lists: Python lists made before the clock starts; cv2 reads arrays slowly, so this is its best.",
        f"head: {head.__doc__}",
        f"uniform: {uniform.__doc__}",
    ]
    return report("nms", rows, versions=("opencv-python", "numba", "numpy"), notes=notes)


if __name__ == "__main__":
    raise SystemExit(main())
