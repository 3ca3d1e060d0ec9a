"""A face that is covered: nobody can be recognized in what is left of it."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

MORE = 0.4  # of a face's sides, around it: it moves between two sightings
SQUARES = 6  # what is left of a face, squares a side
JPEG_QUALITY = 95  # it was a JPEG before: what is not covered is to stay as it was

Box = tuple[float, float, float, float]  # of a face, xyxy pixels


def cover(picture: NDArray[np.uint8], box: Box) -> None:
    """Put a mosaic over a face, `box` in `picture` (H, W, 3), and what is around it."""
    wide, high = MORE * (box[2] - box[0]), MORE * (box[3] - box[1])
    left, top = max(0, int(box[0] - wide)), max(0, int(box[1] - high))
    part = picture[top : max(0, int(box[3] + high)), left : max(0, int(box[2] + wide))]
    if part.size:
        few = cv2.resize(part, (SQUARES, SQUARES), interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(few, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def covered(jpeg: bytes, boxes: Iterable[Box]) -> bytes:
    """A JPEG with the faces at `boxes` covered. Raises ValueError where it is no picture."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if picture is None:
        raise ValueError("this is no picture")
    pixels = np.asarray(picture, np.uint8)
    for box in boxes:
        cover(pixels, box)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
