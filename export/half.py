"""A network in float16, between inputs and outputs of float32; decoding behind it stays float32, for pixels' sake."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.graph import behind, folded
from export.packages import Failed

FLOAT16 = (
    "float16: weights and arithmetic, float32 in and out; for GPUs: an x86 CPU computes it in float32, with casts and "
    "without fused ReLU"
)
LARGEST = float(np.finfo(np.float16).max)


def floats(model: onnx.ModelProto) -> set[str]:
    """The names of all values and weights that are float32."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def halved(node: NodeProto, single: set[str]) -> NodeProto:
    """The node with NAME.half for each float32 value NAME; Resize takes its scales as float32 in any case."""
    made = NodeProto()
    made.CopyFrom(node)
    taken = 1 if node.op_type == "Resize" else len(node.input)
    made.input[:taken] = [f"{name}.half" if name in single else name for name in node.input[:taken]]
    made.output[:] = [f"{name}.half" if name in single else name for name in node.output]
    for attribute in made.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if node.op_type in ("Constant", "ConstantOfShape") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(half(attribute.t, attribute.t.name))
    return made


def half(tensor: TensorProto, name: str) -> TensorProto:
    """The tensor in float16; what is too large becomes the largest there is."""
    values = numpy_helper.to_array(tensor).clip(-LARGEST, LARGEST)
    return numpy_helper.from_array(values.astype(np.float16), name)


def cast(name: str, made: str, to: int) -> NodeProto:
    """A Cast of one value."""
    return helper.make_node("Cast", [name], [made], f"cast.{made}", to=to)


def with_casts(graph: onnx.GraphProto, single: set[str]) -> Iterator[NodeProto]:
    """The nodes in order, those before the tail in float16, with a Cast wherever a value changes sides."""
    _, tail = behind(graph)
    held = {tensor.name for tensor in graph.initializer}
    outside = {name for node in graph.node if node.name in tail for name in node.input}
    outside |= {output.name for output in graph.output}
    there = {f"{name}.half" for name in held}
    for node in graph.node:
        if node.name in tail:
            yield node
            continue
        made = halved(node, single)
        for name, wanted in zip(node.input, made.input, strict=True):
            if wanted != name and wanted not in there:
                there.add(wanted)
                yield cast(name, wanted, TensorProto.FLOAT16)
        yield made
        there.update(made.output)
        yield from (
            cast(given, name, TensorProto.FLOAT)
            for name, given in zip(node.output, made.output, strict=True)
            if given != name and name in outside
        )


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float16 inside; Failed where it has something that has to be float32 among its layers."""
    made = folded(model)
    graph, single = made.graph, floats(made)
    nodes = list(with_casts(graph, single))
    graph.ClearField("node")
    graph.node.extend(nodes)
    taken = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in taken]
    tensors += [half(t, f"{t.name}.half") for t in graph.initializer if f"{t.name}.half" in taken]
    graph.ClearField("initializer")
    graph.initializer.extend(tensors)
    graph.ClearField("value_info")
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Failed(f"this network cannot be put into float16 as it is ({error})") from error
    return made
