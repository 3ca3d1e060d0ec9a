"""A detector's ONNX file on the CPU, one image at a time: what teachers, evaluations and alignment look through."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from export.decode import decode
from export.packages import Failed

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Classes = NDArray[np.int32]

YUNET_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Faces:
    """What a detector found in one image, best first, after NMS."""

    boxes: Array  # (N, 4) xyxy px
    scores: Array  # (N,) 0..1
    keypoints: Array  # (N, 5, 2) xy px: eyes, tip of the nose, corners of the mouth, the image's left first
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


def letterbox(image: Image, height: int, width: int) -> tuple[Image, Array]:
    """(height, width, 3) uint8: the (H, W, 3) image fitted into the upper left with its proportions, the rest black.

    Also the (2,) factors, x and y, from the result's pixels to the image's.
    """
    shrink = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink))
    canvas = np.zeros((height, width, 3), np.uint8)
    how = cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=how)
    back = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
    return canvas, back


class Detector:
    """A face detector's file with the layout centerface, yunet, decoded or nms, for inputs of height x width."""

    def __init__(self, file: Path, height: int, width: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.said = self.session.get_modelmeta().custom_metadata_map
        names = {output.name for output in self.session.get_outputs()}
        self.layout = self.said.get("framewire.layout") or ("yunet" if {"cls_8", "kps_32"} <= names else "nothing")
        if self.layout not in ("centerface", "yunet", "decoded", "nms") or len(names) == 3:
            raise Failed(
                f"{file.name} has the layout {self.layout!r}; a face detector here has centerface, yunet, or "
                "decoded or nms with landmarks"
            )
        self.height, self.width = height, width

    def input(self, image: Image) -> tuple[NDArray[np.uint8] | Array, Array]:
        """What the session gets for a (H, W, 3) uint8 BGR image, and the factors back to its pixels."""
        canvas, back = letterbox(image, self.height, self.width)
        if self.said.get("framewire.input") == "uint8 NHWC":
            return canvas[None], back
        order = self.said.get("framewire.order") or "BGR"
        pixels = np.asarray(canvas if order == "BGR" else canvas[..., ::-1], np.float32)
        mean, scale = (
            np.array(self.said.get(f"framewire.{name}", default).split(","), np.float32)
            for name, default in (("mean", "0"), ("scale", "1"))
        )
        return np.ascontiguousarray(((pixels - mean) * scale)[None].transpose(0, 3, 1, 2)), back

    def __call__(self, image: Image, score: float = 0.02, limit: float = 0.3) -> Faces:
        """The faces in a (H, W, 3) uint8 BGR image with at least `score`, in its pixels."""
        pixels, back = self.input(image)
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: pixels})
        boxes, scores, classes, keypoints = self.read([np.asarray(output) for output in outputs])
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= score]
        boxes, scores, classes, keypoints = boxes[order], scores[order], classes[order], keypoints[order]
        far = np.float32(2 * max(self.height, self.width)) * classes[:, None]  # classes do not suppress each other
        keep = greedy_nms(boxes + far, limit)
        return Faces(boxes[keep] * np.tile(back, 2), scores[keep], keypoints[keep] * back, classes[keep])

    def read(self, outputs: Sequence[NDArray[Any]]) -> tuple[Array, Array, Classes, Array]:
        """Boxes (N, 4) px of the input, scores and classes (N,), keypoints (N, 5, 2), out of one image's outputs."""
        if self.layout == "yunet":
            return self.read_yunet(outputs)
        if self.layout == "nms":
            return outputs[0], outputs[1], outputs[2], outputs[3]
        if self.layout == "centerface":
            outputs = [tensor.numpy() for tensor in decode(*(torch.from_numpy(output) for output in outputs))]
        return outputs[0][0], outputs[1][0], outputs[2][0], outputs[3][0]

    def read_yunet(self, outputs: Sequence[NDArray[Any]]) -> tuple[Array, Array, Classes, Array]:
        """cls, obj, bbox and kps at three strides (Wu et al. 2023, YuNet); the score is the root of cls and obj."""
        by_name = {output.name: array[0] for output, array in zip(self.session.get_outputs(), outputs, strict=True)}
        boxes, scores, keypoints = [], [], []
        for stride in YUNET_STRIDES:
            cls, obj, box, kps = (by_name[f"{name}_{stride}"] for name in ("cls", "obj", "bbox", "kps"))
            rows, columns = np.mgrid[: self.height // stride, : self.width // stride]
            cell = np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float32)
            centre, side = (box[:, :2] + cell) * stride, np.exp(box[:, 2:]) * stride
            boxes.append(np.concatenate([centre - side / 2, centre + side / 2], 1))
            scores.append(np.sqrt(cls[:, 0].clip(0, 1) * obj[:, 0].clip(0, 1)))
            keypoints.append((kps.reshape(-1, 5, 2) + cell[:, None]) * stride)
        found = np.concatenate(scores)
        return np.concatenate(boxes), found, np.zeros(len(found), np.int32), np.concatenate(keypoints)
