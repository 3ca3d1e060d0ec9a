"""Non-maximum suppression: of boxes that overlap too much keep the best, exactly as the textbook's greedy loop does.

The two loops are plain Python that numba compiles when a stage is built; importing this module does not import numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.types import Candidates, Detections

LANES = 32  # kept boxes tested at once: a few vector registers' worth
CHAINS = 64  # lists of kept boxes; classes share one only when there are more classes than lists


class NmsConfig(Config, frozen=True):
    """How much two boxes may overlap, and how many boxes a frame may have."""

    iou: Annotated[float, Meta(ge=0, le=1)] = 0.45  # a box is dropped when its IoU with a better one is above this
    class_agnostic: bool = False  # true: boxes of different classes suppress each other too
    top: Annotated[int, Meta(ge=1)] = 300  # boxes kept of a frame, best first


class Nms:
    """Candidates in, Detections out: best first, no two of a class that overlap by more than `iou`, at most `top`."""

    def __init__(self, config: NmsConfig) -> None:
        self.config = config
        _compiled()

    def __call__(self, candidates: Candidates) -> Detections:
        kept = suppress(
            candidates.boxes,
            candidates.scores,
            None if self.config.class_agnostic else candidates.classes,
            iou=self.config.iou,
            top=self.config.top,
        )
        return Detections(
            frame=candidates.frame,
            boxes=candidates.boxes[kept],
            scores=candidates.scores[kept],
            classes=candidates.classes[kept],
            keypoints=None if candidates.keypoints is None else candidates.keypoints[kept],
            labels=candidates.labels,
        )


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int32] | None = None,
    images: NDArray[np.int32] | None = None,
    *,
    iou: float,
    top: int,
) -> NDArray[np.int64]:
    """Rows of the boxes that greedy NMS keeps, (M,) int64: best score first, of equal ones the lower row, NaN last.

    boxes (N, 4) xyxy, scores (N,), classes (N,): None for class-agnostic; images (N,): which image each box is of,
    any ids in any order, None for one image; `iou` 0..1, `top` boxes kept of each image. Boxes of different classes
    or images do not touch each other. Raises ValueError when the arguments do not fit together.

    Every step is float32, rounded to nearest, in this order (torchvision's formula): area = (x2 - x1) * (y2 - y1);
    inter = max(min(x2) - max(x1), 0) * max(min(y2) - max(y1), 0); a box goes if
    inter / (area_of_box + area_of_kept - inter) > float32(iou). A box that is empty, inside out, not a number or of
    infinite area has an IoU of 0 or NaN with all others: it neither suppresses nor is suppressed.
    """
    n = len(boxes)
    zeros = np.zeros(n, np.int32)
    groups = zeros if classes is None else np.ascontiguousarray(classes, np.int32)
    shapes = np.shape(boxes), np.shape(scores), np.shape(groups), np.shape(zeros if images is None else images)
    if shapes != ((n, 4), (n,), (n,), (n,)) or not 0 <= iou <= 1:
        raise ValueError(f"boxes, scores, classes, images of shapes {shapes} and iou {iou} do not fit")
    owners = zeros
    if images is not None:
        owners = np.unique(images, return_inverse=True)[1].astype(np.int32)
        groups = np.unique((owners.astype(np.int64) << 32) + groups, return_inverse=True)[1].astype(np.int32)
    descending, greedy = _compiled()
    order = descending(np.ascontiguousarray(scores, np.float32).view(np.uint32))
    return greedy(np.ascontiguousarray(boxes, np.float32), groups, owners, order, iou, top)


def _descending(bits: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Stable radix sort of float32 scores, given as their bits: (N,) int64 rows, best score first, NaN last."""
    n = len(bits)
    keys, order, spare = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    rising = True  # a detector hands its candidates over in order
    for row in range(n):
        order[row] = row
        bit = np.int64(bits[row])
        if bit & 0x7FFFFFFF > 0x7F800000:
            keys[row] = 0xFFFFFFFF  # NaN
        elif bit > 0x80000000:
            keys[row] = bit  # below zero: the bits rise as the score falls
        else:
            keys[row] = ~bit & 0x7FFFFFFF  # both zeros get the same key
        rising = rising and (row == 0 or keys[row - 1] <= keys[row])
    if rising:
        return order
    for shift in (0, 8, 16, 24):
        ends = np.zeros(257, np.int64)
        for row in range(n):
            ends[((keys[row] >> shift) & 255) + 1] += 1
        for value in range(256):
            ends[value + 1] += ends[value]
        for index in order:
            digit = (keys[index] >> shift) & 255
            spare[ends[digit]] = index
            ends[digit] += 1
        order, spare = spare, order
    return order


def _greedy(
    boxes: NDArray[np.float32],
    groups: NDArray[np.int32],
    images: NDArray[np.int32],
    order: NDArray[np.int64],
    iou: np.float32,
    top: int,
) -> NDArray[np.int64]:
    """Compare each box, best first, with the kept boxes of its group; images are numbered from 0, at most N of them.

    Kept boxes lie in blocks of LANES, field by field, and blocks in a chain for each group (modulo CHAINS). A block is
    tested as a whole, without a branch, so that the loop becomes SIMD; free lanes hold zeros, boxes without area.
    One long function, because numba compiles and caches it in one piece.
    """
    n = len(order)
    kept = np.empty(n, np.int64)
    kept_of_image = np.zeros(n, np.int64)
    room = n // LANES + CHAINS + 1  # block 0 stands for none
    fields = np.empty((room, 5, LANES), np.float32)  # x1, y1, x2, y2, area
    labels = np.empty((room, LANES), np.int32)
    following = np.zeros(room, np.int64)  # the next block of the chain
    first, last, filled = np.zeros(CHAINS, np.int64), np.zeros(CHAINS, np.int64), np.zeros(CHAINS, np.int64)
    zero = np.float32(0)
    found = blocks = 0
    for row in order:
        if kept_of_image[images[row]] == top:
            continue
        group = groups[row]
        chain = group % CHAINS
        x1, y1, x2, y2 = boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]
        area = (x2 - x1) * (y2 - y1)
        hit = np.int32(0)
        block = first[chain]
        while block and not hit:
            field = fields[block]
            for lane in range(LANES):
                wide = min(x2, field[2, lane]) - max(x1, field[0, lane])
                high = min(y2, field[3, lane]) - max(y1, field[1, lane])
                inter = (wide if wide > zero else zero) * (high if high > zero else zero)
                over = inter / (area + field[4, lane] - inter) > iou
                hit |= np.int32(over) & np.int32(labels[block, lane] == group)
            block = following[block]
        if hit:
            continue
        lane = filled[chain] % LANES
        if lane == 0:
            blocks += 1
            fields[blocks] = 0
            if not first[chain]:
                first[chain] = blocks
            following[last[chain]] = blocks
            last[chain] = blocks
        block = last[chain]
        field = fields[block]
        field[0, lane], field[1, lane], field[2, lane], field[3, lane], field[4, lane] = x1, y1, x2, y2, area
        labels[block, lane] = group
        filled[chain] += 1
        kept[found] = row
        kept_of_image[images[row]] += 1
        found += 1
    return kept[:found]


@cache
def _compiled() -> tuple[Callable[..., NDArray[np.int64]], Callable[..., NDArray[np.int64]]]:
    """The two loops as machine code; numba caches them beside this file, else in the user's cache folder."""
    from numba import float32, int32, int64, types, uint32

    def given(kind: Any, ndim: int) -> Any:  # what a message holds may be read-only and start at any byte
        return types.Array(kind, ndim, "C", readonly=True, aligned=False)

    rows = int64[::1]
    descending = _compile(_descending, rows(given(uint32, 1)))
    arrays = given(float32, 2), given(int32, 1), given(int32, 1)
    greedy = _compile(_greedy, rows(*arrays, rows, float32, int64))
    return descending, greedy


def _compile(function: Callable[..., NDArray[np.int64]], signature: Any) -> Callable[..., NDArray[np.int64]]:
    import numba

    # error_model: 0 / 0 is NaN, as in numpy, instead of an exception that would also keep the loop from being SIMD.
    try:
        return numba.njit(signature, error_model="numpy", cache=True)(function)  # type: ignore[no-any-return]
    except (RuntimeError, OSError, EOFError):  # no folder can be written, or what lies there was cut short
        return numba.njit(signature, error_model="numpy")(function)  # type: ignore[no-any-return]
