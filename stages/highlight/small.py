"""Small pictures of frames: all that motion, text and look need of the pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed

LEAST = 32  # pixels, of the shorter side: what optical flow needs
ROWS = 4  # rows of the frame that are looked at for one of the small picture: 1080p takes a third of the time

Picture = NDArray[np.uint8]


def shrunk(pixels: Picture, side: int) -> Picture:
    """(H, W, 3) uint8 -> the same picture with a longer side of `side` pixels; a smaller one is enlarged."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(LEAST, round(width * scale)), max(LEAST, round(height * scale))
    rows = pixels[:: max(1, height // (ROWS * size[1]))]
    return cv2.resize(rows, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def grey(pixels: Picture, side: int) -> Picture:
    """As `shrunk`, (h, w) uint8."""
    return cv2.cvtColor(shrunk(pixels, side), cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)


def packed(picture: Picture) -> bytes:
    """(h, w) uint8 as a PNG, to be kept."""
    return cv2.imencode(".png", picture)[1].tobytes()  # to ask for a level of compression takes twice as long


def unpacked(data: bytes) -> Picture:
    """What was `packed`; raises Failed where it is none."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise Failed("a picture that was kept cannot be read: delete the file of signals of this video")
    return picture.astype(np.uint8, copy=False)
