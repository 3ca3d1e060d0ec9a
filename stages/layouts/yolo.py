"""The YOLO families: one tensor of boxes with a score for each class."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stages.layouts.coco import COCO
from stages.layouts.found import STRIDES, Floats, Found, Outputs, Shapes, Size, cells, from_centres, grid

P6 = (*STRIDES, 64)  # the strides of the large-input variants
OBJECTNESS = 0.6  # FastestDet's score is objectness ** 0.6 * class ** 0.4


def yolov5(outputs: Outputs, _: Size, threshold: float) -> Found:
    """(N, 5 + C): centre, width, height in pixels, objectness, class scores (ultralytics/yolov5)."""
    likely = outputs[0][outputs[0][:, 4] >= threshold]  # a class score is at most 1: nothing else can pass
    return _scored(likely[:, :4], likely[:, 5:] * likely[:, 4:5], threshold)


def yolov8(outputs: Outputs, _: Size, threshold: float) -> Found:
    """(4 + C, N): centre, width, height in pixels, class scores (ultralytics v8, v9, 11)."""
    columns = np.flatnonzero(outputs[0][4:].max(axis=0) >= threshold)
    likely = outputs[0][:, columns].T
    return _scored(likely[:, :4], likely[:, 4:], threshold)


def yolov10(outputs: Outputs, _: Size, threshold: float) -> Found:
    """(N, 6): xyxy in pixels, score, class, one row an object (Wang et al. 2024, arXiv:2405.14458)."""
    rows = outputs[0][outputs[0][:, 4] >= threshold]
    return Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), None)


def yolox(outputs: Outputs, size: Size, threshold: float) -> Found:
    """(N, 5 + C) in units of the stride, relative to the cell (Ge et al. 2021, arXiv:2107.08430)."""
    rows = np.flatnonzero(outputs[0][:, 4] >= threshold)
    likely = outputs[0][rows]
    places = _places(size, _strides(len(outputs[0]), size))[rows]
    corner, stride = places[:, :2], places[:, 2:]
    boxes = np.concatenate([(likely[:, :2] + corner) * stride, np.exp(likely[:, 2:4]) * stride], axis=1)
    return _scored(boxes, likely[:, 5:] * likely[:, 4:5], threshold)


def fastestdet(outputs: Outputs, size: Size, threshold: float) -> Found:
    """(5 + C, h, w): objectness, centre, width, height, class scores of each cell (dog-qiuqiu, FastestDet)."""
    cells_of = outputs[0].reshape(len(outputs[0]), -1).T  # (N, 5 + C)
    rows, columns = outputs[0].shape[1:]
    likely = np.flatnonzero(cells_of[:, 0] ** OBJECTNESS >= threshold)
    raw = cells_of[likely]
    corner = np.stack([likely % columns, likely // columns], axis=1).astype(np.float32)
    sides = 1 / (1 + np.exp(-raw[:, 3:5])) * np.array([size[1], size[0]], np.float32)
    centres = (corner + np.tanh(raw[:, 1:3])) * np.array([size[1] / columns, size[0] / rows], np.float32)
    scores = raw[:, 0:1] ** OBJECTNESS * raw[:, 5:] ** (1 - OBJECTNESS)
    return _scored(np.concatenate([centres, sides], axis=1), scores, threshold)


def fits_yolov5(shapes: Shapes, size: Size) -> int:
    """Three anchors a cell."""
    rows, columns = _table(shapes)
    return max(0, columns - 5) if rows in (3 * cells(size), 3 * cells(size, P6)) else 0


def fits_yolov8(shapes: Shapes, size: Size) -> int:
    """One place a cell, along the last axis."""
    rows, columns = _table(shapes)
    return max(0, rows - 4) if columns in (cells(size), cells(size, P6)) else 0


def fits_yolov10(shapes: Shapes, size: Size) -> int:
    """Rows of six, fewer than the cells: a top-K, that does not tell how many classes there are."""
    rows, columns = _table(shapes)
    return len(COCO) if columns == 6 and 0 < rows < cells(size) else 0


def fits_yolox(shapes: Shapes, size: Size) -> int:
    """One place a cell, along the first axis."""
    rows, columns = _table(shapes)
    return max(0, columns - 5) if rows in (cells(size), cells(size, P6)) else 0


def fits_fastestdet(shapes: Shapes, size: Size) -> int:
    """One map at a sixteenth of the input's size."""
    maps = (size[0] // 16, size[1] // 16)
    return max(0, shapes[0][0] - 5) if len(shapes) == 1 and shapes[0][1:] == maps else 0


def _table(shapes: Shapes) -> tuple[int, int]:
    """Rows and columns of the only output; (0, 0) where it is not one table."""
    return (shapes[0][0], shapes[0][1]) if [len(shape) for shape in shapes] == [2] else (0, 0)


def _strides(rows: int, size: Size) -> tuple[int, ...]:
    return P6 if rows == cells(size, P6) else STRIDES


@lru_cache(maxsize=8)
def _places(size: Size, strides: tuple[int, ...]) -> Floats:
    """(N, 3) column, row and stride of every cell."""
    grids = [grid(size, stride) for stride in strides]
    each = np.repeat(np.array(strides, np.float32), [len(points) for points in grids])
    return np.concatenate([np.concatenate(grids), each[:, None]], axis=1)


def _scored(boxes: Floats, scores: Floats, threshold: float) -> Found:
    """The best class of each (N, 4) cxcywh box with its (N, C) scores, where it reaches the threshold."""
    classes = scores.argmax(axis=1)
    top = scores[np.arange(len(scores)), classes]
    keep = top >= threshold
    boxes = boxes[keep]
    return Found(from_centres(boxes[:, :2], boxes[:, 2:]), top[keep], classes[keep].astype(np.int32), None)
