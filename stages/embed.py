"""A face's chip -> its embedding, with anybody's network that takes aligned faces."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.model import ModelInfo
from pipeline.registry import resolve
from stages.crop import Align
from stages.layouts import LAYOUTS
from stages.network import BATCH, NetworkConfig, Triple, feeder

EMBEDDER = "embedder"  # the layout of a file that says itself how it is fed


class Feed(NamedTuple):
    """How a family of embedders is fed where the file does not say: (pixel - mean) * scale, pixels 0..255, RGB."""

    mean: Triple
    scale: Triple


FEEDS = {
    "arcface": Feed((127.5,) * 3, (1 / 127.5,) * 3),  # insightface
    "mobilefacenet": Feed((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),  # foamliu; ImageNet's
    "sface": Feed((0, 0, 0), (1, 1, 1)),  # OpenCV's FaceRecognizerSF
}


class Kind(NamedTuple):
    """What follows from the side of the chips."""

    align: Align  # how the face lies in the chip
    threshold: float  # cosine similarity from which on two faces are one person's, where the file does not say


# dlib's is that of dlib_face: one pair of strangers in 1,000 is above it. ArcFace's is that of MobileFaceNet, which was
# trained with ArcFace's loss: one pair in 499, of 33 photos.
KINDS = {150: Kind("dlib", 0.6), 112: Kind("arcface", 0.4)}


class EmbedderConfig(NetworkConfig, frozen=True):
    """Which network tells faces apart."""

    model: str = "dlib_face"


class Embedder:
    """Chips -> embeddings of unit length: each the mean of the chip's and of its mirror image's.

    The mirror image costs as much again and steadies faces in video: in a real clip's last 60 frames the cosine to the
    one enrolled photo rose from 0.41-0.56 to 0.52-0.65, while the strangers' stayed below 0.5.

    `identity` names the weights and how chips are fed to them: embeddings can be compared where it is the same.
    """

    def __init__(self, config: EmbedderConfig) -> None:
        self._model = config.load()
        info = self._model.info
        mean, scale = _feed(config, info)
        self._feed = feeder(info, "RGB", order="RGB", mean=mean, scale=scale)
        self._input = info.blank(BATCH)
        self.align, threshold = KINDS[info.size[0]]
        self.threshold = float(info.metadata.get("framewire.threshold") or threshold)
        weights = info.metadata.get("framewire.weights_sha256") or _sha256(resolve(config.model).read_bytes())
        self.identity = _sha256(f"{weights} {info.order or 'RGB'} {mean} {scale} mirrored".encode())

    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(M, D) float32, rows of unit length, of `chips` (M, S, S, 3) uint8 RGB; Usage where S does not fit."""
        info = self._model.info
        if chips.shape[1:3] != info.size:
            given, taken = (f"{height}x{width}" for height, width in (chips.shape[1:3], info.size))
            raise Usage(
                f"the chips are {given} but {info.name} takes {taken}: "
                f"set align = {self.align!r} in [crop], at a gate in [pick]"
            )
        embeddings = np.empty((len(chips), info.outputs[0].shape[1]), np.float32)
        for start in range(0, len(chips), BATCH // 2):
            rows = slice(start, start + BATCH // 2)
            embeddings[rows] = self._embed(chips[rows])
        return embeddings

    def _embed(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        for chip, row, mirrored in zip(chips, self._input[::2], self._input[1::2], strict=False):
            self._feed(chip, row)
            self._feed(np.ascontiguousarray(chip[:, ::-1]), mirrored)
        outputs: NDArray[np.float32] = self._model(self._input[: 2 * len(chips)])[0]
        return _unit(_unit(outputs[::2]) + _unit(outputs[1::2]))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _feed(config: EmbedderConfig, info: ModelInfo) -> Feed:
    """Raises Failed where the file is no face embedder, Usage where nothing says how it is fed."""
    shapes = [tensor.shape for tensor in info.outputs]
    if info.layout in LAYOUTS or len(shapes) != 1 or len(shapes[0]) != 2:
        looks = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in info.outputs)
        raise Failed(f"{info.name} is no face embedder, which has one output (batch, length), but puts out {looks}")
    if info.size not in [(side, side) for side in KINDS]:
        height, width = info.size
        raise Failed(f"{info.name} takes {height}x{width} pictures, not aligned faces of 112x112 or 150x150")
    layout = config.layout or info.layout
    if layout in FEEDS:
        return Feed(info.mean or FEEDS[layout].mean, info.scale or FEEDS[layout].scale)
    if layout == EMBEDDER and info.mean and info.scale:
        return Feed(info.mean, info.scale)
    said = f"{layout!r} does not say" if layout else "nothing says"
    raise Usage(f"{said} how {info.name} is fed: set match.layout to one of {', '.join(FEEDS)}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
