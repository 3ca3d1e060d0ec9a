"""Is the face live, or a picture of one? What a passive network makes of a face and what is around it.

Passive means from one picture, without asking the person for anything; `stages/challenge.py` asks. A score says what
such a network saw; how far it can be trusted is in the card of its file, and `gate evaluate-pad` measures it.
"""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.errors import Failed, Usage
from pipeline.frames import Frames
from pipeline.model import Model, ModelConfig, Provider
from pipeline.types import Picked
from stages.network import BATCH, Planes

SIDE = 80  # pixels of a crop
ALIGN = "x2.7 x4.0"  # an example of what the metadata says

Times = Annotated[float, Meta(gt=0)]
Contexts = Annotated[tuple[Times, ...], Meta(min_length=1)]


class PassiveConfig(Config, frozen=True):
    """The networks, whose scores are averaged, and which faces they can tell."""

    models: Annotated[tuple[str, ...], Meta(min_length=1)]  # names of `models list`, or paths
    provider: Provider = "auto"
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None  # None: the mean of the files' own
    min_face: Annotated[int, Meta(ge=1)] = 48  # pixels, shorter side; a smaller face gets no score


class LivenessConfig(PassiveConfig, frozen=True):
    """`[liveness]`: as `PassiveConfig`; off without `models`."""

    models: tuple[str, ...] = ()


class Liveness:
    """Picked -> Picked with the live score of each face; as it came where no network is named."""

    def __init__(self, config: LivenessConfig, frames: Frames) -> None:
        self._frames = frames
        self._passive = Passive(config) if config.models else None

    def __call__(self, picked: Picked) -> Picked:
        if self._passive is None:
            return picked
        if not len(picked.rows):
            return msgspec.structs.replace(picked, live_threshold=self._passive.threshold)
        with self._frames.view(picked.frame) as pixels:
            live = self._passive(pixels, picked.found.boxes[picked.rows])
        return msgspec.structs.replace(picked, live=live, live_threshold=self._passive.threshold)


class Passive:
    """Boxes in a picture -> live scores. `threshold` is the score from which on a face is taken for live."""

    def __init__(self, config: PassiveConfig) -> None:
        self._networks = [_Network(model, config.provider) for model in config.models]
        self._min_face = config.min_face
        own = [network.threshold for network in self._networks]
        self.threshold = config.threshold if config.threshold is not None else float(np.mean(own))

    def __call__(self, pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) float32 scores, 0..1, of the faces in `pixels` (H, W, 3) BGR with `boxes` (N, 4) xyxy.

        NaN for a face that is too small to tell or not in the picture: no comparison with a threshold passes it.
        """
        height, width = pixels.shape[:2]
        seen = np.minimum(boxes[:, 2:], [width, height]) - np.maximum(boxes[:, :2], 0)
        rows = np.flatnonzero(seen.min(axis=1, initial=np.inf) >= self._min_face)
        scores = np.full(len(boxes), np.nan, np.float32)
        if len(rows):
            scores[rows] = np.mean([network(pixels, boxes[rows]) for network in self._networks], axis=0)
        return scores


class _Network:
    """One file: which crops it takes, and its score."""

    def __init__(self, name: str, provider: Provider) -> None:
        self._model = Model.load(ModelConfig(path=name, provider=provider), batch=BATCH)
        info = self._model.info
        if info.layout not in SCORES:
            raise Failed(f"{info.name} has the layout {info.layout!r}: liveness takes {' or '.join(SCORES)}")
        self._score = SCORES[info.layout]
        self._contexts = _contexts(info.align, info.name)
        if info.size != (SIDE * len(self._contexts), SIDE):
            raise Failed(
                f"{info.name} takes {info.size[0]}x{info.size[1]}, not a crop of 80x80 for each of {info.align}"
            )
        self.threshold = float(info.metadata.get("framewire.threshold") or 0.5)
        self._planes = Planes(info, "BGR", order="BGR", mean=(0, 0, 0), scale=(1, 1, 1))
        self._input = np.empty((BATCH, 3, *info.size), np.float32)

    def __call__(self, pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.empty(len(boxes), np.float32)
        for start in range(0, len(boxes), BATCH):
            part = boxes[start : start + BATCH]
            for box, planes in zip(part, self._input, strict=False):
                self._planes(np.concatenate([context(pixels, box, times) for times in self._contexts]), planes)
            scores[start : start + BATCH] = self._score(self._model(self._input[: len(part)])[0])
        return scores


def context(pixels: NDArray[np.uint8], box: NDArray[np.float32], times: float) -> NDArray[np.uint8]:
    """(80, 80, 3) BGR: what of `pixels` (H, W, 3) is around a face, its box (4,) xyxy `times` over.

    As Silent-Face-Anti-Spoofing has it: near a border the crop is moved into the picture, and where the picture is too
    small for it, it is shrunk with its proportions. So nothing is made up beside the picture.
    """
    height, width = pixels.shape[:2]
    sides = box[2:] - box[:2]
    times = min(times, (width - 1) / sides[0], (height - 1) / sides[1])
    size = sides * times
    corner = ((box[:2] + box[2:]) / 2 - size / 2).clip(0, np.array([width, height]) - size)
    left, top = corner.astype(int)
    right, bottom = np.ceil(corner + size).astype(int)
    part = pixels[top:bottom, left:right]
    shrinks = min(part.shape[:2]) >= SIDE
    crop = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)


def _contexts(align: str, name: str) -> tuple[float, ...]:
    """What the metadata says of the crops, from the uppermost on."""
    try:
        return msgspec.convert(tuple(align.replace("x", "").split()), Contexts, strict=False)
    except msgspec.ValidationError:
        raise Usage(
            f"{name} does not say which crops of a face it takes, as align {ALIGN!r} does: export it again"
        ) from None


def _second_of_three(logits: NDArray[Any]) -> NDArray[np.float32]:
    logits = logits.reshape(len(logits), 3)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    live: NDArray[np.float32] = shares[:, 1] / shares.sum(axis=1)
    return live


def _itself(live: NDArray[Any]) -> NDArray[np.float32]:
    return live.reshape(len(live)).astype(np.float32, copy=False)


# Layout -> from the output to (B,) scores. MiniFASNet's classes are an attack, live, another attack.
SCORES = {"liveness": _itself, "minifasnet": _second_of_three}
