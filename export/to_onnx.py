"""A torch module to an ONNX file that describes itself and comes out the same, bit for bit, from any directory."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from export.files import write_whole

OPSET = 18
IR_VERSION = 10
Shape = tuple[str | int, ...]


@dataclass(frozen=True)
class Interface:
    """The input and the outputs of a network: an example's shape, which sizes are free, what comes out."""

    shape: tuple[int, ...]  # of the example: (B, 3, H, W) of images
    dynamic: tuple[str | None, ...]  # a name for each free size, None for a fixed one
    outputs: Mapping[str, Shape]
    multiple: int = 1  # what a free height or width has to be a multiple of
    input: str = "images"


class Described(Protocol):
    """What a file says of itself."""

    def props(self) -> dict[str, str]:
        """The entries of metadata_props, but for the hash of the weights."""


@dataclass(frozen=True)
class Metadata:
    """What a file of images says, as `framewire.*` in metadata_props; x = (pixel - mean) * scale, pixels 0..255."""

    layout: str
    size: str  # HEIGHTxWIDTH
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    licence: str
    origin: str
    order: str = "RGB"
    labels: tuple[str, ...] = ()
    anchors: str = ""
    align: str = ""  # embedders: how the face lies in the chip
    threshold: float | None = None  # embedders: the cosine from which on two faces are taken for one person's
    score: float | None = None  # NMS in the graph: what scores less is dropped
    shape: str = ""  # of a network that its own file can be trained on or exported from: its words for itself

    def props(self) -> dict[str, str]:
        """The entries, but for the hash of the weights."""
        score = {} if self.score is None else {"framewire.score": str(self.score)}
        shape = {"framewire.shape": self.shape} if self.shape else {}
        return (
            score
            | shape
            | {
                "framewire.layout": self.layout,
                "framewire.size": self.size,
                "framewire.mean": ",".join(map(str, self.mean)),
                "framewire.scale": ",".join(map(str, self.scale)),
                "framewire.order": self.order,
                "framewire.labels": json.dumps(list(self.labels)),
                "framewire.anchors": self.anchors,
                "framewire.align": self.align,
                "framewire.threshold": "" if self.threshold is None else str(self.threshold),
                "framewire.licence": self.licence,
                "framewire.origin": self.origin,
            }
        )


def trace(module: nn.Module, interface: Interface) -> onnx.ModelProto:
    """torch's own export of the module, with names for the input, the outputs and the free sizes."""
    dims: dict[int, object] = {}
    for axis, name in enumerate(interface.dynamic):
        if name is not None:
            unit = interface.multiple if axis >= 2 else 1
            dims[axis] = torch.export.Dim(name) if unit == 1 else unit * torch.export.Dim(f"{name}_{unit}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (torch.rand(interface.shape),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[interface.input],
            output_names=list(interface.outputs),
            dynamic_shapes=(dims,),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    proto: onnx.ModelProto = program.model_proto
    return proto


def name_sizes(value: onnx.ValueInfoProto, shape: Shape) -> None:
    """Give a graph's input or output this shape; a name stands for a free size."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(shape):
        raise ValueError(f"{value.name} has {len(dims)} sizes, not {len(shape)}")
    for dim, size in zip(dims, shape, strict=True):
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = size


def clean(model: onnx.ModelProto) -> None:
    """Drop what depends on who exported it, where and with what: source paths, doc strings, shapes, producer."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ir_version = IR_VERSION
    model.producer_name = "framewire"
    model.producer_version = ""
    graph.name = "framewire"


def store_half(model: onnx.ModelProto) -> None:
    """Keep weights as float16, each with a Cast back to float32, which a session does once, when it loads."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], f"cast.{name}", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    graph.ClearField("node")
    graph.node.extend(nodes)


def weights_sha256(model: onnx.ModelProto) -> str:
    """The hash over all initializers in the order of their names: name, dtype, shape, raw little-endian bytes."""
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        values = numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name}\n{values.dtype}\n{'x'.join(map(str, values.shape))}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def export(
    module: nn.Module,
    interface: Interface,
    metadata: Described,
    *,
    half: bool = False,
    then: Callable[[onnx.ModelProto], None] | None = None,
    outputs: Mapping[str, Shape] | None = None,
) -> onnx.ModelProto:
    """The module as an ONNX model: opset 18, named and clean, with its metadata and the hash of its weights.

    `then` may change the graph, whose outputs are `outputs` afterwards.
    """
    model = trace(module, interface)
    clean(model)
    if then:
        then(model)
    given = (name or size for name, size in zip(interface.dynamic, interface.shape, strict=True))
    name_sizes(model.graph.input[0], tuple(given))
    for value, shape in zip(model.graph.output, (outputs or interface.outputs).values(), strict=True):
        name_sizes(value, shape)
    if half:
        store_half(model)
    onnx.helper.set_model_props(model, {**metadata.props(), "framewire.weights_sha256": weights_sha256(model)})
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: onnx.ModelProto, file: Path) -> str:
    """Write the model, whole or not at all, and return the sha256 of the file."""
    data = model.SerializeToString(deterministic=True)
    write_whole(file, data)
    return hashlib.sha256(data).hexdigest()
