"""What other people's detectors put out, and how to read it: one decoder a layout.

A layout is known by its name (in the file's metadata or the config) or recognized from its outputs; which file it is
never matters. Decoders filter by score before they do anything else, so their work follows what is in the picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from stages.layouts import faces, yolo
from stages.layouts.coco import COCO
from stages.layouts.found import Found, Outputs, Shapes, Size, best, unlisted, unstacked

Decode = Callable[[Outputs, Size, float], Found]
Fits = Callable[[Shapes, Size], int]

UNIT = 1 / 255


@dataclass(frozen=True)
class Layout:
    """How a family of detectors is fed and read; mean, scale, order and labels hold where the file does not say."""

    decode: Decode  # outputs of one image, (height, width) of the input, score threshold -> Found
    fits: Fits  # shapes of the outputs of one image, (height, width) -> how many classes; 0: not this layout
    mean: float = 0.0  # input = (pixel - mean) * scale, pixels 0..255
    scale: float = 1.0
    order: str = "RGB"
    pad: int = 0  # 0..255, beside the picture
    centred: bool = False  # the picture in the middle of the input; else in its top left corner
    labels: tuple[str, ...] = ("face",)
    listed: bool = False  # the outputs are rows of all images; the last one says of which image each is
    kinds: str = "f+"  # NumPy's kinds of the outputs' dtypes, a regular expression

    def images(self, outputs: Sequence[NDArray[Any]], count: int) -> list[list[NDArray[Any]]]:
        """What the network gave for a batch of `count`, image by image: what `decode` takes."""
        return (unlisted if self.listed else unstacked)(outputs, count)

    def names(self, shapes: Shapes, size: Size) -> tuple[str, ...]:
        """A name for each class where the file gives none: `labels` if that is how many there are."""
        count = self.fits(shapes, size)
        return self.labels if len(self.labels) == count else tuple(f"class {index}" for index in range(count))


LAYOUTS = {
    "yolov5": Layout(yolo.yolov5, yolo.fits_yolov5, scale=UNIT, pad=114, centred=True, labels=COCO),
    "yolov8": Layout(yolo.yolov8, yolo.fits_yolov8, scale=UNIT, pad=114, centred=True, labels=COCO),
    "yolov10": Layout(yolo.yolov10, yolo.fits_yolov10, scale=UNIT, pad=114, centred=True, labels=COCO),
    "yolox": Layout(yolo.yolox, yolo.fits_yolox, order="BGR", pad=114, labels=COCO),
    "fastestdet": Layout(yolo.fastestdet, yolo.fits_fastestdet, scale=UNIT, order="BGR", labels=COCO),
    "yunet": Layout(faces.yunet, faces.fits_yunet, order="BGR"),
    "scrfd": Layout(faces.scrfd, faces.fits_scrfd, mean=127.5, scale=1 / 128),
    "ultraface": Layout(faces.ultraface, faces.fits_ultraface, mean=127.0, scale=1 / 128),
    "centerface": Layout(faces.centerface, faces.fits_centerface),
    "decoded": Layout(faces.decoded, faces.fits_decoded, kinds="ff[fiu]f?"),
    "nms": Layout(faces.decoded, faces.fits_nms, listed=True, kinds="ff[fiu]f?[iu]"),
}


def recognize(shapes: Shapes, kinds: str, size: Size) -> list[str]:
    """The layouts that outputs of these shapes (batch axis left out) could have for an input of (height, width).

    `kinds` is a letter an output, NumPy's kind of its dtype: f, i or u.
    """
    return [name for name, layout in LAYOUTS.items() if re.fullmatch(layout.kinds, kinds) and layout.fits(shapes, size)]


__all__ = ["COCO", "LAYOUTS", "Found", "Layout", "Shapes", "best", "recognize", "unstacked"]
