"""`inspect`: what an ONNX file takes, gives, says of itself and costs."""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from rich.console import Console
from rich.table import Table

from export.cli import Commands, command, size
from export.model_file import inputs, load, properties, results, session, sizes
from export.packages import Failed
from export.preprocess import INPUT

COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
CONVENTION = f"one multiply-add is two; of {', '.join(COUNTED)} alone, without bias, for a batch of 1"
WEIGHTS = (  # scales and zero points of quantized weights are among them, shapes and indices (int64) are not
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
)


@dataclass(frozen=True)
class Inspected:
    """All that is told of a file; shapes have numbers for fixed sizes and names for free ones."""

    file: str
    bytes: int
    sha256: str
    opset: dict[str, int]
    ir_version: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    metadata: dict[str, str]
    ops: dict[str, int]
    parameters: int
    weights: dict[str, int]  # numbers by dtype
    at: dict[str, list[int]]  # the shapes that `flops` is for
    flops: int
    convention: str = CONVENTION


def kind(value: onnx.ValueInfoProto) -> str:
    """Dtype and shape of an input or output, as "float32 (batch, 3, height, width)"."""
    return f"{dtype(value.type.tensor_type.elem_type)} ({', '.join(map(str, sizes(value)))})"


def dtype(element: int) -> str:
    """The name of an ONNX data type: float32, int8, bfloat16, ..."""
    return "bfloat16" if element == TensorProto.BFLOAT16 else str(helper.tensor_dtype_to_np_dtype(element))


def bound(model: onnx.ModelProto, wanted: tuple[int, int] | None) -> dict[str, list[int]]:
    """A shape without free sizes for each input: batch 1, height and width as `wanted` or as the file says of itself.

    Failed where pictures go in, at any size, and nobody names one.
    """
    said = properties(model)
    chosen = wanted or (tuple(map(int, said["size"].split("x"))) if said.get("size") else None)
    shapes = {}
    for value in inputs(model):
        shape, first = sizes(value), 1 if said.get("input") == INPUT else 2
        picture = len(shape) == 4
        fixed = []
        for axis, given in enumerate(shape):
            spatial = picture and first <= axis < first + 2
            if spatial and not isinstance(given, int) and chosen is None:
                raise Failed(f"{value.name} takes any size; say with --size HEIGHTxWIDTH for which to count")
            free = chosen[axis - first] if spatial and chosen else 1
            fixed.append(given if isinstance(given, int) and given > 0 else free)
            if spatial and wanted and fixed[-1] != wanted[axis - first]:
                raise Failed(f"{value.name} takes {'x'.join(map(str, shape))} and no other size; leave --size out")
        shapes[value.name] = fixed
    return shapes


def shapes_inside(model: onnx.ModelProto, names: Sequence[str], at: dict[str, list[int]]) -> dict[str, tuple[int, ...]]:
    """The shapes of values inside the graph, by running it once on zeros: right where shapes are computed, too."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    have = {value.name for value in probe.graph.output}
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in have)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inputs(model)}
    zeros: dict[str, NDArray[Any]] = {
        name: np.zeros(shape, helper.tensor_dtype_to_np_dtype(kinds[name])) for name, shape in at.items()
    }
    found = results(session(probe.SerializeToString()), zeros, names)
    return {name: np.shape(value) for name, value in zip(names, found, strict=True)}


def multiply_adds(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Of one node, out of the shapes of its inputs and of its output."""
    x, weight, out = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":  # each number of the output: a window of (C / group, rows, columns)
        return prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":  # each number of the input goes to (C' / group, rows, columns)
        return prod(x) * prod(weight[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(out) * x[0 if transposed else -1]


def flops(model: onnx.ModelProto, at: dict[str, list[int]]) -> int:
    """Multiplications and additions for inputs of the shapes `at`, by CONVENTION."""
    counted = [node for node in model.graph.node if node.op_type in COUNTED]
    held = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    names = {name for node in counted for name in (*node.input[:2], node.output[0])}
    inside = sorted(names - held.keys() - at.keys())
    shapes = held | {name: tuple(shape) for name, shape in at.items()}
    if inside:
        shapes |= shapes_inside(model, inside, at)
    return 2 * sum(multiply_adds(node, shapes) for node in counted)


def inspect(file: Path, wanted: tuple[int, int] | None = None) -> Inspected:
    """Read, count and once run a file; Failed where it is no ONNX file or its size is open."""
    model, data = load(file), file.read_bytes()
    at = bound(model, wanted)
    weights: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        if tensor.data_type in WEIGHTS:
            weights[dtype(tensor.data_type)] += prod(tensor.dims)
    return Inspected(
        file=str(file),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        opset={opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        ir_version=model.ir_version,
        inputs={value.name: kind(value) for value in inputs(model)},
        outputs={value.name: kind(value) for value in model.graph.output},
        metadata={prop.key: prop.value for prop in model.metadata_props},
        ops=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=weights.total(),
        weights=dict(weights.most_common()),
        at=at,
        flops=flops(model, at),
    )


def show(found: Inspected) -> None:
    """The same as a table."""
    table = Table(show_header=False, title=found.file)
    table.add_row("size", f"{found.bytes:,} bytes, sha256 {found.sha256}")
    table.add_row("opset", ", ".join(f"{name} {version}" for name, version in found.opset.items()))
    for title, values in (("input", found.inputs), ("output", found.outputs)):
        for name, text in values.items():
            table.add_row(title, f"{name}: {text}")
    table.add_row("parameters", f"{found.parameters:,} " + str(found.weights))
    shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in found.at.items())
    table.add_row("FLOPs", f"{found.flops:,} for {shapes}: {found.convention}")
    table.add_row("ops", ", ".join(f"{count} {op}" for op, count in found.ops.items()))
    for key, text in found.metadata.items():
        table.add_row(key, text)
    Console().print(table, markup=False)


def run(arguments: argparse.Namespace) -> None:
    """`inspect`: a table, or JSON."""
    found = inspect(arguments.model, arguments.size)
    if arguments.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        show(found)


def add(commands: Commands) -> None:
    """The command `inspect`."""
    sub = command(commands, "inspect", run, "what an ONNX file takes, gives, says of itself and costs")
    sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    sub.add_argument("--size", type=size, metavar="HxW", help="what to count FLOPs for, where the file leaves it free")
    sub.add_argument("--json", action="store_true", help="print it as JSON")
