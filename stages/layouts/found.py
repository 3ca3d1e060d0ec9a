"""What a decoder returns, and the grid that anchor-free detectors count on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Outputs = Sequence[Floats]  # of one image: no batch axis
Shapes = Sequence[tuple[int, ...]]  # of `Outputs`
Size = tuple[int, int]  # (height, width) of the network's input, pixels

STRIDES = (8, 16, 32)


class Found(NamedTuple):
    """What one image's outputs hold, in pixels of the network's input, in no order."""

    boxes: Floats  # (N, 4) xyxy
    scores: Floats  # (N,) 0..1
    classes: NDArray[np.int32]  # (N,)
    keypoints: Floats | None  # (N, 5, 2) xy


def unstacked(outputs: Sequence[NDArray[Any]], count: int) -> list[list[NDArray[Any]]]:
    """The outputs of each image of a batch; some exporters fold the batch axis into the next one."""
    split = [output if len(output) == count else output.reshape(count, -1, *output.shape[1:]) for output in outputs]
    return [[output[image] for output in split] for image in range(count)]


def unlisted(outputs: Sequence[NDArray[Any]], count: int) -> list[list[NDArray[Any]]]:
    """The rows of each image of a batch, where NMS in the graph has left of each as many as there are."""
    *columns, owner = outputs
    return [[column[owner == image] for column in columns] for image in range(count)]


def best(found: Found, top_k: int) -> Found:
    """The `top_k` highest scores, descending; of equal scores the lower index first."""
    order = np.argsort(-found.scores, kind="stable")[:top_k]
    keypoints = None if found.keypoints is None else found.keypoints[order]
    return Found(found.boxes[order], found.scores[order], found.classes[order], keypoints)


def cells(size: Size, strides: Sequence[int] = STRIDES) -> int:
    """How many grid cells the strides have together; a cell may hang over the edge, as padded convolutions have it."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


@lru_cache(maxsize=64)
def grid(size: Size, stride: int, anchors: int = 1) -> Floats:
    """(cells * anchors, 2) column and row of each cell of one stride, row by row, each `anchors` times."""
    rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
    points = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)
    return np.repeat(points, anchors, axis=0)


def from_centres(centres: Floats, sides: Floats) -> Floats:
    """(N, 2) centres and (N, 2) widths and heights -> (N, 4) xyxy."""
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)


def stacked(parts: Sequence[Found]) -> Found:
    """The parts, one for each stride, as one."""
    with_points = [part.keypoints for part in parts if part.keypoints is not None]
    return Found(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate(with_points) if len(with_points) == len(parts) else None,
    )
