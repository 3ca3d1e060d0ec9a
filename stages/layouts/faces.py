"""Face detectors: a box and five points a face."""

from __future__ import annotations

import numpy as np

from stages.layouts.found import STRIDES, Floats, Found, Outputs, Shapes, Size, cells, from_centres, grid, stacked

CENTERFACE_STRIDE = 4


def yunet(outputs: Outputs, size: Size, threshold: float) -> Found:
    """cls, obj (N, 1), bbox (N, 4), kps (N, 10) at strides 8, 16, 32 (Wu et al. 2023, libfacedetection)."""
    ones, boxes, points = (_of_width(outputs, width) for width in (1, 4, 10))
    parts = []
    for level, stride in enumerate(STRIDES):
        cls, obj = (np.clip(part[:, 0], 0, 1) for part in ones[2 * level : 2 * level + 2])
        scores = np.sqrt(cls * obj)
        rows = np.flatnonzero(scores >= threshold)
        cell = grid(size, stride)[rows]
        found = boxes[level][rows]
        corners = from_centres((found[:, :2] + cell) * stride, np.exp(found[:, 2:]) * stride)
        keypoints = (points[level][rows].reshape(-1, 5, 2) + cell[:, None]) * stride
        parts.append(Found(corners, scores[rows], np.zeros(len(rows), np.int32), keypoints))
    return stacked(parts)


def scrfd(outputs: Outputs, size: Size, threshold: float) -> Found:
    """Scores (N, 1), distances to the sides (N, 4), points (N, 10) a stride (Guo et al. 2021, arXiv:2105.04714)."""
    ones, boxes, points = (_of_width(outputs, width) for width in (1, 4, 10))
    parts = []
    for level, column in enumerate(ones):
        stride = STRIDES[0] << level
        anchors = len(column) // cells(size, [stride])
        scores = column[:, 0]
        rows = np.flatnonzero(scores >= threshold)
        centre = grid(size, stride, anchors)[rows] * stride
        side = boxes[level][rows] * stride
        corners = np.concatenate([centre - side[:, :2], centre + side[:, 2:]], axis=1)
        keypoints = points[level][rows].reshape(-1, 5, 2) * stride + centre[:, None] if points else None
        parts.append(Found(corners, scores[rows], np.zeros(len(rows), np.int32), keypoints))
    return stacked(parts)


def centerface(outputs: Outputs, _: Size, threshold: float) -> Found:
    """Heat map (1, h, w), log sizes, offsets (2, h, w) and points (10, h, w) (Xu et al. 2019, arXiv:1911.03599).

    All are y first; the points are in units of the box from its top left corner.
    """
    heat, sizes, offsets, points = outputs
    rows, columns = np.nonzero(heat[0] >= threshold)
    sides = np.exp(sizes[:, rows, columns].T[:, ::-1]) * CENTERFACE_STRIDE  # (N, 2) width, height
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    centres = (cells + offsets[:, rows, columns].T[:, ::-1] + 0.5) * CENTERFACE_STRIDE
    boxes = from_centres(centres, sides)
    relative = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    keypoints = relative * sides[:, None] + boxes[:, None, :2]
    return Found(boxes, heat[0, rows, columns], np.zeros(len(rows), np.int32), keypoints)


def decoded(outputs: Outputs, _: Size, threshold: float) -> Found:
    """Boxes (K, 4) xyxy, scores (K,), classes (K,) and, of face detectors, points (K, 5, 2): top-K or NMS inside."""
    boxes, scores, classes = outputs[:3]
    rows = np.flatnonzero(scores >= threshold)
    keypoints = outputs[3][rows] if len(outputs) == 4 else None
    return Found(boxes[rows], scores[rows], classes[rows].astype(np.int32), keypoints)


def ultraface(outputs: Outputs, size: Size, threshold: float) -> Found:
    """Scores (N, 2) of nothing and face, boxes (N, 4) xyxy in 0..1 of the input (Linzaer, UltraFace)."""
    scores, boxes = outputs
    rows = np.flatnonzero(scores[:, 1] >= threshold)
    sides = np.array([size[1], size[0]] * 2, np.float32)
    return Found(boxes[rows] * sides, scores[rows, 1], np.zeros(len(rows), np.int32), None)


def fits_yunet(shapes: Shapes, size: Size) -> int:
    """Two scores, a box and points for each cell at three strides."""
    return int(sorted(shapes) == _levels(size, 3, 1, (1, 1, 4, 10)))


def fits_scrfd(shapes: Shapes, size: Size) -> int:
    """A score, a box and perhaps points for one or two anchors of each cell at three or five strides."""
    return int(
        any(
            sorted(shapes) == _levels(size, levels, anchors, widths)
            for levels in (3, 5)
            for anchors in (1, 2)
            for widths in ((1, 4), (1, 4, 10))
        )
    )


def fits_centerface(shapes: Shapes, size: Size) -> int:
    """Four maps at a quarter of the input's size."""
    maps = (size[0] // CENTERFACE_STRIDE, size[1] // CENTERFACE_STRIDE)
    return int(list(shapes) == [(channels, *maps) for channels in (1, 2, 2, 10)])


def fits_ultraface(shapes: Shapes, _: Size) -> int:
    """Two scores and a box a row."""
    return int([shape[1:] for shape in shapes] == [(2,), (4,)] and shapes[0][0] == shapes[1][0])


def fits_decoded(shapes: Shapes, _: Size) -> int:
    """Boxes, scores and classes of one length, perhaps with points."""
    rows = shapes[0][0] if shapes and shapes[0] else 0
    plain = [(rows, 4), (rows,), (rows,)]
    return int(list(shapes) in (plain, [*plain, (rows, 5, 2)]))


def fits_nms(shapes: Shapes, _: Size) -> int:
    """As many rows as were found in all images, boxes, scores and classes, perhaps points, and which image it is."""
    rows = shapes[0][0] if shapes and shapes[0] else 0
    plain = [(rows, 4), (rows,), (rows,)]
    return int(list(shapes) in ([*plain, (rows,)], [*plain, (rows, 5, 2), (rows,)]))


def _levels(size: Size, levels: int, anchors: int, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The sorted shapes of outputs of these widths at so many strides, from the finest on."""
    strides = [STRIDES[0] << level for level in range(levels)]
    return sorted((anchors * cells(size, [stride]), width) for stride in strides for width in widths)


def _of_width(outputs: Outputs, width: int) -> list[Floats]:
    """The outputs with so many columns, finest stride first: files differ in the order and in the names."""
    return sorted((output for output in outputs if output.shape[1] == width), key=len, reverse=True)
