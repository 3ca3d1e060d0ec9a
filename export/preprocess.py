"""Pictures go in as the pipeline has them, pixels of uint8: channel order, mean and scale are part of the graph.

A picture (H, W, 3) lies in memory as H rows of 3 W numbers, the channels in turn. A convolution with C = 3 planes and
kernels of k x k is one with a single plane of H x 3W and kernels of k x 3k, at three times the stride and the padding
along the rows. So nothing is transposed: a Cast, two views and the same products, with scale and channel order in the
weights. CenterFace at 640x384 on one core, network alone: 35.0 ms from float planes, 35.0 to 35.3 ms with a Transpose
of the pixels, 34.6 ms like this; up to the first layer's end 2.1, 2.2 to 2.3 and 1.8 ms.

The mean is taken away before the convolution and not folded into its bias: its padding is 0 after the subtraction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from export.packages import Failed
from export.to_onnx import name_sizes, weights_sha256

INPUT = "uint8 NHWC"  # what framewire.input says of such a file
AXES = {0: 0, 2: 1, 3: 2}  # of (B, 3, H, W) -> of (B, H, W, 3)
Floats = NDArray[np.float32]


def planes(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """The weight (filters, 3, rows, columns) over planes out of (filters, 1, rows, columns x 3) over pixels."""
    filters, _, rows, _ = weight.shape
    return weight.reshape(filters, rows, -1, 3).transpose(0, 3, 1, 2)


def add(model: onnx.ModelProto) -> None:
    """Let the input of `model`, float32 (B, 3, H, W), be uint8 (B, H, W, 3): BGR, or RGB where chips of faces go in.

    The metadata say so afterwards, with mean 0 and scale 1. Raises Failed where the first layer is no convolution, or
    where it is so already.
    """
    graph, said = model.graph, {prop.key: prop.value for prop in model.metadata_props}
    if said.get("framewire.input") == INPUT:
        raise Failed("pictures of uint8 go into this file already; leave --preprocess out")
    pictures = "RGB" if said["framewire.layout"] == "embedder" else "BGR"
    turn = [said["framewire.order"].index(channel) for channel in pictures]
    mean, scale = (np.array(said[f"framewire.{key}"].split(","), np.float32)[turn] for key in ("mean", "scale"))
    convolution = _first(graph)
    weight = _take_weight(graph, convolution)
    _set_weight(graph, convolution, weight[:, turn] * scale[:, None, None].astype(weight.dtype))
    _spread(convolution, weight.shape[2:])
    _feed(graph, mean)
    said |= {"framewire.mean": "0.0,0.0,0.0", "framewire.scale": "1.0,1.0,1.0", "framewire.order": pictures}
    said |= {"framewire.input": INPUT, "framewire.weights_sha256": weights_sha256(model)}
    helper.set_model_props(model, said)
    onnx.checker.check_model(model, full_check=True)


def _first(graph: GraphProto) -> NodeProto:
    """The convolution that the images go into, perhaps through a Cast."""
    users: list[NodeProto] = _users(graph, graph.input[0].name)
    if [node.op_type for node in users] == ["Cast"]:
        users = _users(graph, users[0].output[0])
    if [node.op_type for node in users] != ["Conv"]:
        kinds = ", ".join(node.op_type for node in users)
        raise Failed(f"the images go into {kinds}, not into a convolution: export it without pre-processing")
    return users[0]


def _users(graph: GraphProto, name: str) -> list[NodeProto]:
    """The nodes that compute with a value; Shape does not."""
    return [node for node in graph.node if name in node.input and node.op_type != "Shape"]


def _take_weight(graph: GraphProto, convolution: NodeProto) -> NDArray[np.floating]:
    """The weight (filters, 3, rows, columns) of the convolution, out of the graph; a Cast that widens it goes, too."""
    name, dtype = convolution.input[1], None
    for node in graph.node:
        if node.output[0] == name and node.op_type == "Cast":
            name, dtype = node.input[0], helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            graph.node.remove(node)
            break
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    graph.initializer.remove(tensor)
    weight = numpy_helper.to_array(tensor)
    return weight if dtype is None else weight.astype(dtype)


def _set_weight(graph: GraphProto, convolution: NodeProto, weight: NDArray[np.floating]) -> None:
    """Give it the weight (filters, 3, rows, columns) as (filters, 1, rows, columns x 3), channels in turn."""
    filters, _, rows, _ = weight.shape
    interleaved = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(filters, 1, rows, -1)
    graph.initializer.append(numpy_helper.from_array(interleaved, convolution.input[1]))


def _spread(convolution: NodeProto, kernel: Sequence[int]) -> None:
    """Make its kernel, stride and padding three times as wide."""
    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in convolution.attribute}
    if set(said.get("dilations", [1])) != {1} or said.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise Failed("the first convolution is dilated or pads by itself: export it without pre-processing")
    top, left, bottom, right = said.get("pads", [0] * 4)
    down, along = said.get("strides", [1] * 2)
    wide = {
        "kernel_shape": [kernel[0], 3 * kernel[1]],
        "strides": [down, 3 * along],
        "pads": [top, 3 * left, bottom, 3 * right],
    }
    convolution.ClearField("attribute")
    convolution.attribute.extend(helper.make_attribute(name, value) for name, value in (said | wide).items())


def _feed(graph: GraphProto, mean: Floats) -> None:
    """Put pixels (B, H, W, 3) uint8 in the place of the input, and what makes rows of them before all else."""
    images = graph.input[0]
    nodes = _rows(graph, images.name, mean)
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] == images.name:
            _move_axis(node)
        else:
            node.input[:] = [nodes[-1].output[0] if name == images.name else name for name in node.input]
    nodes += graph.node
    graph.ClearField("node")
    graph.node.extend(nodes)
    batch, _, height, width = (dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim)
    images.type.tensor_type.elem_type = TensorProto.UINT8
    name_sizes(images, (batch, height, width, 3))


def _rows(graph: GraphProto, images: str, mean: Floats) -> list[NodeProto]:
    """Nodes from pixels (B, H, W, 3) uint8 to rows (B, 1, H, 3W) float32, less `mean` (3,); constants go to `graph`."""
    constants: dict[str, NDArray[Any]] = {
        "pixels.plane": np.array([1]),
        "pixels.shape": np.array([0, 0, 0, -1]),  # 0: as it was
    }
    nodes = [
        _node("Cast", [images], "pixels.float", to=TensorProto.FLOAT),
        _node("Unsqueeze", ["pixels.float", "pixels.plane"], "pixels.planes"),
        _node("Reshape", ["pixels.planes", "pixels.shape"], "pixels.rows"),
    ]
    if mean.any():  # as one long row: subtracting (3,) from each pixel by itself took 20 times as long
        constants["pixels.mean"] = mean
        nodes += [
            _node("Shape", [images], "pixels.width", start=2, end=3),
            _node("Tile", ["pixels.mean", "pixels.width"], "pixels.means"),
            _node("Sub", ["pixels.rows", "pixels.means"], "pixels.centred"),
        ]
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return nodes


def _node(kind: str, inputs: list[str], name: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [name], name, **attributes)


def _move_axis(shape: NodeProto) -> None:
    """Let a Shape of one axis of the images ask for where that axis is now; torch's exporter asks for no other."""
    said = {attribute.name: attribute for attribute in shape.attribute}
    axis = AXES[said["start"].i]
    said["start"].i, said["end"].i = axis, axis + 1
