"""Find what is in the frames of many cameras at once, with anybody's detector: its layout says how it is read."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.frames import Frames, Overwritten
from pipeline.model import Model, ModelInfo, candidates
from pipeline.registry import DETECTORS, resolve, sha256_of
from pipeline.types import Candidates, Frame
from stages.embed import EMBEDDER, FEEDS
from stages.layouts import LAYOUTS, Found, Layout, best, recognize, unstacked
from stages.network import BATCH, NetworkConfig, Size, feeder

Side = Annotated[int, Meta(ge=32, le=4096, multiple_of=32)]  # pixels; 32 is the coarsest stride of all


class DetectConfig(NetworkConfig, frozen=True):
    """`[detect]`"""

    model: str = ""  # "": the detector that ships for the provider
    size: tuple[Side, Side] | None = None  # [height, width] of the network's input; None: the file's own
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5  # score
    top_k: Annotated[int, Meta(ge=1)] = 1000  # candidates of a frame, before NMS

    def load(self, size: Size | None = None) -> Model:
        """As every network's, of the shipped detector where none is named."""
        return NetworkConfig.load(msgspec.structs.replace(self, model=self.name), size)

    @property
    def name(self) -> str:
        """The model's, of the shipped detector where none is named."""
        return self.model or DETECTORS[candidates(self.provider)[0]]

    @property
    def identity(self) -> str:
        """The file and the size of its input: where it is the same, faces are marked, and so cut out, alike.

        Another size changes an embedding as much as another detector does (cosine 0.97, mean of 6 photos).
        """
        return f"{sha256_of(resolve(self.name))} {self.size or 'of its own'}"


class Detect:
    """Frames -> Candidates; a frame whose pixels are gone gets the `Overwritten` in place of them."""

    batch = BATCH

    def __init__(self, config: DetectConfig, frames: Frames) -> None:
        self._frames = frames
        self._threshold, self._top_k = config.threshold, config.top_k
        self._model = config.load(config.size)
        info = self._model.info
        self._size = info.size
        self._input = info.blank(BATCH)
        outputs = unstacked(self._model(self._input[:1]), 1)[0]
        shapes = [output.shape for output in outputs]
        self._layout = layout = LAYOUTS[_recognized(info, outputs, config.layout or info.layout)]
        self._labels = _labels(info) or layout.names(shapes, info.size)
        _check_threshold(info, config.threshold)
        self._letterbox = Letterbox(info.size, layout)
        self._feed = feeder(info, "BGR", order=layout.order, mean=(layout.mean,) * 3, scale=(layout.scale,) * 3)

    def __call__(self, frames: list[Frame]) -> list[Candidates | Overwritten]:
        gone: dict[int, Overwritten] = {}  # position in `frames`
        for position, frame in enumerate(frames):
            row = self._input[position - len(gone)]
            canvas = self._feed.canvas(row)
            try:
                with self._frames.view(frame) as pixels:
                    self._letterbox(pixels, canvas)
            except Overwritten as error:
                gone[position] = error
            else:
                self._feed(canvas, row)
        outputs = self._model(self._input[: len(frames) - len(gone)])
        images = iter(self._layout.images(outputs, len(frames) - len(gone)))
        return [gone[at] if at in gone else self._candidates(frame, next(images)) for at, frame in enumerate(frames)]

    def _candidates(self, frame: Frame, outputs: Sequence[NDArray[np.float32]]) -> Candidates:
        found = best(self._layout.decode(outputs, self._size, self._threshold), self._top_k)
        found = self._letterbox.undo(found, frame)
        if len(found.classes) and int(found.classes.max()) >= len(self._labels):
            raise Failed(
                f"{self._model.info.name} found class {found.classes.max()} but names {len(self._labels)} classes: "
                "put their names into the file's metadata (framewire.labels)"
            )
        return Candidates(frame, *found, labels=self._labels)


class Letterbox:
    """Fits pictures of any size into the network's input, undistorted, and brings what was found there back."""

    def __init__(self, size: Size, layout: Layout) -> None:
        self._size = size
        self._centred, self._pad = layout.centred, layout.pad

    def __call__(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Draw the network's view of `pixels` (H, W, 3) into `out`, which is of the network's size."""
        top, left, height, width = self._place(*pixels.shape[:2])
        bottom, right = top + height, left + width
        for beside in (out[:top], out[bottom:], out[top:bottom, :left], out[top:bottom, right:]):
            beside[:] = self._pad
        inner = out[top:bottom, left:right]
        cv2.resize(pixels, (width, height), dst=inner, interpolation=cv2.INTER_LINEAR)

    def undo(self, found: Found, frame: Frame) -> Found:
        """`found` in pixels of `frame`: boxes clipped to it, and those outside of it left out."""
        top, left, height, width = self._place(frame.height, frame.width)
        shift = np.array([left, top], np.float32)
        scale = np.array([frame.width / width, frame.height / height], np.float32)
        corners = (found.boxes.reshape(-1, 2, 2) - shift) * scale
        boxes = corners.clip(0, [frame.width, frame.height]).reshape(-1, 4).astype(np.float32)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        keypoints = None if found.keypoints is None else ((found.keypoints - shift) * scale)[inside]
        return Found(boxes[inside], found.scores[inside], found.classes[inside], keypoints)

    def _place(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width that a picture of `height` x `width` has in the network's input."""
        ratio = min(self._size[0] / height, self._size[1] / width)
        high, wide = max(1, round(height * ratio)), max(1, round(width * ratio))
        if not self._centred:
            return 0, 0, high, wide
        return (self._size[0] - high) // 2, (self._size[1] - wide) // 2, high, wide


def _recognized(info: ModelInfo, outputs: Sequence[NDArray[Any]], told: str) -> str:
    """The name in `LAYOUTS`: the one told by config or file, if it fits, else the only one that fits."""
    shapes, kinds = [output.shape for output in outputs], "".join(output.dtype.kind for output in outputs)
    pairs = zip(info.outputs, outputs, strict=True)
    looks = ", ".join(f"{tensor.name} {output.dtype}{list(output.shape)}" for tensor, output in pairs)
    if told in (EMBEDDER, *FEEDS) or [len(shape) for shape in shapes] == [1]:
        raise Failed(f"{info.name} is an embedder ({looks}), not a detector: it belongs to match.model")
    if told and told not in LAYOUTS:
        raise Usage(f"there is no layout {told!r}: detect.layout is one of {', '.join(LAYOUTS)}")
    if (task := info.metadata.get("task", "detect")) != "detect":
        raise Failed(f"{info.name} is made for the task {task!r}: export one that is trained to detect")
    fitting = recognize(shapes, kinds, info.size)
    if told in fitting or (not told and len(fitting) == 1):
        return told or fitting[0]
    wrong = f"cannot have the layout {told}" if told else "does not say its layout"
    hint = f"set detect.layout to {' or '.join(fitting)}" if fitting else f"known are {', '.join(LAYOUTS)}"
    raise Failed(f"{info.name} {wrong}, and each image gives {looks}: {hint}")


def _check_threshold(info: ModelInfo, threshold: float) -> None:
    """Raise Usage where NMS in the graph has dropped what the config asks for."""
    try:
        least = float(info.metadata.get("framewire.score") or 0)
    except ValueError as error:
        raise Failed(f"{info.name} has a framewire.score that is no number: export it again") from error
    if threshold < least:
        raise Usage(
            f"{info.name} drops scores below {least:g} itself: set detect.threshold to {least:g} or more, "
            "or export it with --decode instead of --nms"
        )


def _labels(info: ModelInfo) -> tuple[str, ...]:
    """The names of the classes that the file gives; Ultralytics writes them as a Python dictionary."""
    if info.labels or "names" not in info.metadata:
        return info.labels
    try:
        names = ast.literal_eval(info.metadata["names"])
        return tuple(str(names[index]) for index in range(len(names)))
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        raise Failed(f"{info.name} has names of classes that cannot be read: export it again") from error
