"""A detector's ONNX file on the CPU, one image at a time: what teachers, evaluations and alignment look through."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from export.decode import IOU, decode
from export.model_file import results, session
from export.packages import Failed
from export.preprocess import INPUT

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Classes = NDArray[np.int32]

LAYOUTS = ("centerface", "yunet", "yolox", "decoded", "nms")
STRIDES = (8, 16, 32)
GREY = 114  # what YOLOX's letterbox fills with
YOLOX_IOU = 0.65  # of NMS: what its authors evaluate it with
LEAST = 0.02  # score: AP asks for what a detector is not sure of, too


@dataclass(frozen=True)
class Faces:
    """The faces, or other things, that a detector found in one image, best first, after NMS."""

    boxes: Array  # (N, 4) xyxy px
    scores: Array  # (N,) 0..1
    keypoints: Array  # (N, 5, 2) xy px: eyes, tip of the nose, corners of the mouth, the image's left first; NaN: none
    classes: Classes  # (N,) into the detector's labels


def overlap(box: Array, others: Array) -> Array:
    """IoU of one xyxy box (4,) with others (N, 4)."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = size.clip(0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    return np.asarray(common / union, np.float32)


def greedy_nms(boxes: Array, limit: float) -> list[int]:
    """The textbook algorithm over boxes (N, 4) that are sorted best first: the indices that stay."""
    keep: list[int] = []
    for index, box in enumerate(boxes):
        if not keep or overlap(box, boxes[keep]).max() <= limit:
            keep.append(index)
    return keep


def chosen(boxes: Array, scores: Array, classes: Classes, least: float, limit: float = IOU) -> NDArray[np.int64]:
    """Which of boxes (N, 4) with at least the score stay after an NMS of each class, best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[(scores[order] >= least) & np.isfinite(boxes[order]).all(1)]
    far = 2 * np.abs(boxes[order]).max(initial=0) * classes[order, None]  # classes do not suppress each other
    return np.asarray(order[greedy_nms(boxes[order] + far.astype(np.float32), limit)], np.int64)


def letterbox(image: Image, height: int, width: int, pad: int = 0) -> tuple[Image, Array]:
    """(height, width, 3) uint8: the (H, W, 3) image fitted into the upper left with its proportions, the rest `pad`.

    Also the (2,) factors, x and y, from the result's pixels to the image's.
    """
    shrink = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink))
    canvas = np.full((height, width, 3), pad, np.uint8)
    how = cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=how)
    back = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
    return canvas, back


def scaled(picture: Image, said: Mapping[str, str]) -> NDArray[Any]:
    """A batch of one for the session out of a (H, W, 3) uint8 BGR picture of the input's size; of T out of a window.

    `said` is what the file says of itself, without the `framewire.` in front.
    """
    batch = picture.reshape(-1, *picture.shape[-3:])
    ordered = batch if (said.get("order") or "BGR") == "BGR" else batch[..., ::-1]
    if said.get("input") == INPUT:
        return np.ascontiguousarray(ordered)
    mean, scale = (
        np.array((said.get(key) or default).split(","), np.float32) for key, default in (("mean", "0"), ("scale", "1"))
    )
    return np.ascontiguousarray(((ordered - mean) * scale).transpose(0, 3, 1, 2), np.float32)


class Detector:
    """A detector's file with one of LAYOUTS, for inputs of height x width."""

    def __init__(self, file: Path, height: int, width: int) -> None:
        self.session = session(file)
        whole = self.session.get_modelmeta().custom_metadata_map
        self.said = {key.removeprefix("framewire."): value for key, value in whole.items()}
        self.height, self.width = height, width
        outputs = {output.name: output.shape for output in self.session.get_outputs()}
        self.layout = self.said.get("layout") or self.recognized(outputs)
        if self.layout not in LAYOUTS:
            raise Failed(f"{file.name} has the layout {self.layout!r}; a detector here has {' or '.join(LAYOUTS)}")
        self.landmarks = self.layout in ("centerface", "yunet") or "keypoints" in outputs
        names = self.said.get("labels")
        # What the classes are called; None: the file does not say, and they are not known to be faces alone.
        self.labels = tuple(json.loads(names)) if names else (("face",) if self.landmarks else None)

    def recognized(self, outputs: Mapping[str, Sequence[int | str]]) -> str:
        """The layout of a file that says none: YuNet's by its names, YOLOX's by a row of 5 + C for each cell."""
        if {"cls_8", "kps_32"} <= outputs.keys():
            return "yunet"
        shapes = list(outputs.values())
        rows = sum((self.height // stride) * (self.width // stride) for stride in STRIDES)
        return "yolox" if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == rows else "nothing"

    def input(self, image: Image) -> tuple[NDArray[np.uint8] | Array, Array]:
        """What the session gets for a (H, W, 3) uint8 BGR image, and the factors back to its pixels."""
        canvas, back = letterbox(image, self.height, self.width, GREY if self.layout == "yolox" else 0)
        return scaled(canvas, self.said), back

    def __call__(self, image: Image, score: float = LEAST) -> Faces:
        """What is in a (H, W, 3) uint8 BGR image with at least `score`, in its pixels."""
        pixels, back = self.input(image)
        outputs = results(self.session, {self.session.get_inputs()[0].name: pixels})
        boxes, scores, classes, keypoints = self.read(outputs)
        keep = chosen(boxes, scores, classes, score, YOLOX_IOU if self.layout == "yolox" else IOU)
        return Faces(boxes[keep] * np.tile(back, 2), scores[keep], keypoints[keep] * back, classes[keep])

    def read(self, outputs: Sequence[NDArray[Any]]) -> tuple[Array, Array, Classes, Array]:
        """Boxes (N, 4) px of the input, scores and classes (N,), keypoints (N, 5, 2), out of one image's outputs."""
        if self.layout == "yunet":
            return self.read_yunet(outputs)
        if self.layout == "yolox":
            return self.read_yolox(outputs[0][0])
        if self.layout == "centerface":
            outputs = [tensor.numpy() for tensor in decode(*(torch.from_numpy(output) for output in outputs))]
        if self.layout != "nms":
            outputs = [output[0] for output in outputs]
        boxes, scores, classes = outputs[:3]
        return boxes, scores, classes, outputs[3] if self.landmarks else nowhere(len(boxes))

    def read_yunet(self, outputs: Sequence[NDArray[Any]]) -> tuple[Array, Array, Classes, Array]:
        """cls, obj, bbox and kps at three strides (Wu et al. 2023, YuNet); the score is the root of cls and obj."""
        by_name = {output.name: array[0] for output, array in zip(self.session.get_outputs(), outputs, strict=True)}
        boxes, scores, keypoints = [], [], []
        for stride in STRIDES:
            cls, obj, box, kps = (by_name[f"{name}_{stride}"] for name in ("cls", "obj", "bbox", "kps"))
            cell = self.cells(stride)
            centre, side = (box[:, :2] + cell) * stride, np.exp(box[:, 2:]) * stride
            boxes.append(np.concatenate([centre - side / 2, centre + side / 2], 1))
            scores.append(np.sqrt(cls[:, 0].clip(0, 1) * obj[:, 0].clip(0, 1)))
            keypoints.append((kps.reshape(-1, 5, 2) + cell[:, None]) * stride)
        found = np.concatenate(scores)
        return np.concatenate(boxes), found, np.zeros(len(found), np.int32), np.concatenate(keypoints)

    def read_yolox(self, rows: Array) -> tuple[Array, Array, Classes, Array]:
        """(N, 5 + C): centre from the cell and log sides in strides, objectness, classes (arXiv:2107.08430)."""
        cells = [self.cells(stride) for stride in STRIDES]
        stride = np.repeat(STRIDES, [len(each) for each in cells])[:, None].astype(np.float32)
        centre, side = (rows[:, :2] + np.concatenate(cells)) * stride, np.exp(rows[:, 2:4]) * stride
        scores = rows[:, 4:5] * rows[:, 5:]
        boxes = np.concatenate([centre - side / 2, centre + side / 2], 1)
        return boxes, scores.max(1), scores.argmax(1).astype(np.int32), nowhere(len(rows))

    def cells(self, stride: int) -> Array:
        """(N, 2) column and row of each cell of a map of the input, row by row."""
        rows, columns = np.mgrid[: self.height // stride, : self.width // stride]
        return np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float32)


def nowhere(count: int) -> Array:
    """Keypoints (count, 5, 2) of what has none."""
    return np.full((count, 5, 2), np.nan, np.float32)
