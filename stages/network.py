"""What the stages that run a network share: the keys of its config, and the way from a picture to its input."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.model import Model, ModelConfig, ModelInfo, Provider

BATCH = 8  # pictures that go through a network at once

Size = tuple[int, int]  # (height, width), pixels
Triple = tuple[float, float, float]


class NetworkConfig(Config, frozen=True):
    """Which network a stage runs, and on what."""

    model: str  # a name of `models list`, or a path
    provider: Provider = "auto"
    layout: str = ""  # "": what the file says, or what its outputs look like
    sha256: str = ""  # "": what the card beside the file says
    half: bool = False  # TensorRT computes in float16

    def load(self, size: Size | None = None) -> Model:
        """The network, for batches of up to `BATCH` pictures of `size` (None: the file's own)."""
        config = ModelConfig(path=self.model, provider=self.provider, sha256=self.sha256, half=self.half)
        return Model.load(config, size=size, batch=BATCH)


def feeder(info: ModelInfo, pictures: str, *, order: str, mean: Triple, scale: Triple) -> Planes | Pixels:
    """What puts pictures (H, W, 3) uint8, "BGR" or "RGB", into the rows of a batch like `info.blank(B)`."""
    if info.inputs[0].dtype == "uint8":
        return Pixels(turn=pictures != (info.order or order))
    return Planes(info, pictures, order=order, mean=mean, scale=scale)


class Pixels:
    """Leaves pictures (H, W, 3) uint8 as they are, but for the order of channels: the network does the rest itself."""

    def __init__(self, turn: bool) -> None:
        """`turn`: BGR becomes RGB, or RGB BGR."""
        self._turn = turn

    def canvas(self, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Where a picture for `out` is best drawn: right there."""
        return out

    def __call__(self, picture: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Have `picture` in `out`."""
        if self._turn:
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=out)
        elif picture is not out:
            np.copyto(out, picture)


class Planes:
    """Turns pictures (H, W, 3) uint8 into input planes (3, H, W) float32: (pixel - mean) * scale, in `order`.

    Splitting as uint8 and widening plane by plane took 0.25 ms at 640x384, cv2.dnn.blobFromImage 0.71.
    """

    def __init__(self, info: ModelInfo, pictures: str, *, order: str, mean: Triple, scale: Triple) -> None:
        """What the file says goes before `order`, `mean` and `scale`; `pictures` is "BGR" or "RGB"."""
        self._picture = np.empty((*info.size, 3), np.uint8)
        self._split = [np.empty(info.size, np.uint8) for _ in range(3)]
        self._fed = self._split if pictures == (info.order or order) else self._split[::-1]
        self._mean, self._scale = info.mean or mean, info.scale or scale

    def canvas(self, _: NDArray[Any]) -> NDArray[np.uint8]:
        """Where a picture is best drawn; good until the next one."""
        return self._picture

    def __call__(self, picture: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write the planes of `picture` into `out`."""
        cv2.split(picture, self._split)
        for source, plane, mean, scale in zip(self._fed, out, self._mean, self._scale, strict=True):
            np.copyto(plane, source)
            if mean:
                np.subtract(plane, np.float32(mean), out=plane)
            if scale != 1:
                np.multiply(plane, np.float32(scale), out=plane)
