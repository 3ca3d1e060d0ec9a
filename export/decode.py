"""Boxes out of a detector's maps, in the graph: a fixed top-K for CUDA graphs, or NMS with as many as there are."""

import copy
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from export.models.yolo import Yolo, boxes_of, fold_norms

STRIDE = 4  # pixels a cell of CenterFace's maps
TOP = 256  # candidates an image
SCORE = 0.5  # NMS looks at boxes above this
APART = 10_000.0  # pixels: more than any input has
IOU = 0.45  # NMS drops a box that overlaps a better one by more than this: what a pipeline does by default


class DecodedCenterFace(nn.Module):
    """CenterFace and the decoding of its maps: images (B, 3, H, W) -> the TOP best cells of each image, best first.

    boxes (B, K, 4) float32 xyxy in pixels of the input, not clipped to it; scores (B, K) float32 0..1; classes (B, K)
    int32, all 0; keypoints (B, K, 5, 2) float32 xy in pixels.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return decode(*self.network(images))


def decode(heatmap: Tensor, scale: Tensor, offset: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The maps of CenterFace, (B, C, H/4, W/4) each, as boxes, scores, classes and keypoints of the TOP best cells."""
    batch, _, rows, columns = heatmap.shape
    scores, cells = torch.topk(heatmap.flatten(1), TOP)  # (B, K)

    def at_cells(x: Tensor) -> Tensor:  # (B, C, H/4, W/4) -> (B, K, C)
        flat = x.flatten(2).transpose(1, 2)
        return flat.gather(1, cells[..., None].expand(-1, -1, x.shape[1]))

    across = torch.arange(columns, dtype=scale.dtype, device=scale.device).expand(rows, columns)
    down = torch.arange(rows, dtype=scale.dtype, device=scale.device)[:, None].expand(rows, columns)
    cell_xy = at_cells(torch.stack((across, down)).expand(batch, -1, -1, -1))
    size = at_cells(scale).exp().flip(-1) * STRIDE  # (B, K, 2) width, height
    centre = (cell_xy + 0.5 + at_cells(offset).flip(-1)) * STRIDE
    corner = centre - size / 2
    points = at_cells(landmarks).reshape(batch, TOP, 5, 2).flip(-1)  # fractions of the box, xy
    keypoints = points * size[:, :, None] + corner[:, :, None]
    return torch.cat((corner, corner + size), -1), scores, torch.zeros_like(cells, dtype=torch.int32), keypoints


class DecodedYolo(nn.Module):
    """A YOLO and the top-K of what its heads say: images (B, 3, H, W) -> the TOP best places of each image, best first.

    The outputs are DecodedCenterFace's; keypoints only where the network has landmarks. The batch norms are folded.
    """

    def __init__(self, network: Yolo, half: bool = False) -> None:
        """`half`: the backbone and the neck compute in float16, for GPUs."""
        super().__init__()
        self.network, self.half_features = copy.deepcopy(network).eval(), half
        fold_norms(self.network)
        if half:
            self.network.backbone.half()
            self.network.neck.half()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = self.network.features(images.half() if self.half_features else images)
        logits, objectness, values, places = self.network.read([level.float() for level in levels])
        scores, classes = logits.sigmoid().max(-1)
        if objectness is not None:
            scores = scores * objectness.sigmoid()
        # Small inputs have fewer places than TOP: what is missing scores 0, and stands where the last one does.
        scores, best = torch.topk(functional.pad(scores, (0, TOP)), TOP)
        best = best.clamp(max=logits.shape[1] - 1)
        values = values.gather(1, best[..., None].expand(-1, -1, values.shape[2]))
        boxes, keypoints = boxes_of(values, places[best], anchors=bool(self.network.shape.anchors))
        found = boxes, scores, classes.gather(1, best).to(torch.int32)
        return found if keypoints is None else (*found, keypoints)


def add_nms(model: onnx.ModelProto) -> None:
    """Put NonMaxSuppression behind a decoded graph: outputs (N, ...) over the batch, and image (N,), where in it."""
    graph = model.graph
    names = [output.name for output in graph.output]
    for node in graph.node:  # what was an output becomes a value inside
        node.input[:] = [f"candidates.{name}" if name in names else name for name in node.input]
        node.output[:] = [f"candidates.{name}" if name in names else name for name in node.output]
    constants: dict[str, NDArray[Any]] = {
        "nms.per_class": np.array([TOP], np.int64),
        "nms.iou": np.array([IOU], np.float32),
        "nms.score": np.array([SCORE], np.float32),
        "nms.class_axis": np.array([1], np.int64),
        "nms.image_and_box": np.array([0, 2], np.int64),
        "nms.image": np.array(0, np.int64),
        "nms.apart": np.array(APART, np.float32),
        "nms.last_axis": np.array([-1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    limits = ["nms.per_class", "nms.iou", "nms.score"]
    scores = ["candidates.scores", "nms.class_axis"]
    nodes = [
        helper.make_node("Unsqueeze", scores, ["nms.scores"], "nms.unsqueeze"),
        # Boxes of two classes are put apart, so that each class has an NMS of its own.
        helper.make_node("Cast", ["candidates.classes"], ["nms.class"], "nms.class", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["nms.class", "nms.apart"], ["nms.away"], "nms.away"),
        helper.make_node("Unsqueeze", ["nms.away", "nms.last_axis"], ["nms.shift"], "nms.shift"),
        helper.make_node("Add", ["candidates.boxes", "nms.shift"], ["nms.parted"], "nms.parted"),
        # The corners are x first, not y first as the operator has them: overlap does not change when both axes swap.
        helper.make_node("NonMaxSuppression", ["nms.parted", "nms.scores", *limits], ["nms.selected"], "nms"),
        helper.make_node("Gather", ["nms.selected", "nms.image_and_box"], ["nms.where"], "nms.where", axis=1),
        helper.make_node("Gather", ["nms.selected", "nms.image"], ["image"], "nms.image", axis=1),
    ]
    nodes += [helper.make_node("GatherND", [f"candidates.{n}", "nms.where"], [n], f"nms.{n}") for n in names]
    graph.node.extend(nodes)
    graph.output.append(helper.make_tensor_value_info("image", TensorProto.INT64, ["detections"]))
    for output in graph.output:  # (B, K, ...) -> (N, ...)
        if output.name in names:
            del output.type.tensor_type.shape.dim[0]
