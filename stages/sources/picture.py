"""One decoded picture, and the way from a decoder's pixels to BGR in a slot of the ring."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.copying import Copier

SECOND = 1_000_000_000  # ns
State = Literal["connecting", "running", "reconnecting", "ended"]
ODDEST = 4  # a pixel that is said to be wider, or higher, than that is a mistake
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED, ITU-T H.273 MatrixCoefficients 2


@dataclass(frozen=True, slots=True)
class Picture:
    """What a source gives: pixels of some format, and where they stand in the source."""

    seq: int
    captured_ns: int  # this host's monotonic clock: when it came out of its decoder, less how late it was
    pts_ns: int  # the stream's own time, strictly rising
    key_seq: int  # the key frame from which this one can be decoded
    key_pts_ns: int
    pixels: VideoFrame | NDArray[np.uint8]  # a decoder's frame, or (H, W, 3) BGR
    damage: int = 0  # places of the source, so far, that did not decode
    aspect: Fraction = Fraction(1)  # of a pixel of `pixels`, width to height, as `pixel_aspect`

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as shown: upright, with square pixels."""
        if isinstance(self.pixels, np.ndarray):
            return self.pixels.shape[1], self.pixels.shape[0]
        sides = square(self.pixels, self.aspect)
        return (sides[1], sides[0]) if quarters(self.pixels) % 2 else sides


def nanoseconds(pts: int, base: Fraction) -> int:
    """`pts` ticks of `base` seconds in ns, rounded down."""
    return pts * base.numerator * SECOND // base.denominator


def ticks(pts_ns: int, base: Fraction) -> int:
    """The pts of which `pts_ns` is the `nanoseconds`."""
    return -(-pts_ns * base.denominator // (base.numerator * SECOND))


class Converter:
    """Writes pictures as BGR, 8 bits, into slots.

    swscale on one thread and a copy take 1.9 ms at 1080p; cv2.cvtColor into the slot itself takes 2.3 ms, as it wants
    the planes in one piece, and knows BT.601 of limited range only.
    """

    def __init__(self, copier: Copier) -> None:
        self._reformatter = VideoReformatter()
        self._copy = copier

    def __call__(self, picture: Picture, slot: NDArray[np.uint8]) -> None:
        """Fill `slot`, (height, width, 3) uint8 BGR of the picture's size."""
        pixels = picture.pixels
        if isinstance(pixels, np.ndarray):
            self._copy(slot, pixels)
            return
        sides = square(pixels, picture.aspect)
        frame = self._reformatter.reformat(pixels, *sides, "bgr24", src_colorspace=matrix(pixels), threads=1)
        plane = frame.planes[0]
        strides = (plane.line_size, 3, 1)
        bgr = np.ndarray((frame.height, frame.width, 3), np.uint8, buffer=memoryview(plane), strides=strides)
        self._copy(slot, np.rot90(bgr, quarters(pixels)))


def pixel_aspect(stream: VideoStream) -> Fraction:
    """How wide a pixel is to be shown, to its height: 1 but for what tape, DVD, HDV and analog cameras left."""
    said = stream.sample_aspect_ratio
    return said if said and Fraction(1, ODDEST) <= said <= ODDEST else Fraction(1)


def square(frame: VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """Width and height of the frame, not turned yet, in square pixels."""
    return max(1, round(frame.width * aspect)), frame.height


def quarters(frame: VideoFrame) -> int:
    """Quarter turns counterclockwise to the upright picture, 0..3, from the display matrix."""
    return round(frame.rotation / 90) % 4


def matrix(frame: VideoFrame) -> int | None:
    """The YUV matrix to assume: where the stream names none, BT.709 from HD on, as players do (swscale says BT.601)."""
    if frame.colorspace == _UNSPECIFIED and (frame.width >= 1280 or frame.height > 576):
        return Colorspace.ITU709
    return None
