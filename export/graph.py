"""What changes of an ONNX graph start from: constants worked out, who takes a value, where the network ends."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import NodeProto

from export.model_file import inputs
from export.to_onnx import IR_VERSION

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def users(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that take each value."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants worked out (weights stored as float16, batch norms), by ONNX Runtime's basic level."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    given = inputs(model)  # weights that are inputs, too, as older files have them, are no constants
    whole.graph.ClearField("input")
    whole.graph.input.extend(given)
    whole.ir_version = max(model.ir_version, IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(file)
        onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(file)


def behind(graph: onnx.GraphProto) -> tuple[list[str], list[str]]:
    """The names of the last weighted nodes, the heads, and of all nodes that no weighted node comes after."""
    takers, leads = users(graph), dict[str, bool]()
    for node in reversed(graph.node):
        after = [taker for name in node.output for taker in takers.get(name, [])]
        leads[node.name] = any(taker.op_type in WEIGHTED or leads[taker.name] for taker in after)
    last = [node for node in graph.node if not leads[node.name]]
    heads = [node.name for node in last if node.op_type in WEIGHTED]
    return heads, [node.name for node in last if node.op_type not in WEIGHTED]


def front(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes up to a depthwise convolution that comes second, as in MobileNets; else none.

    There are many pixels and few products for each: 8 bits take longer than 32 there, by 13% of a small network's time.
    """
    convolutions = [index for index, node in enumerate(graph.node) if node.op_type == "Conv"]
    if len(convolutions) < 3 or group(graph.node[convolutions[1]]) == 1:
        return []
    return [node.name for node in graph.node[: convolutions[2]]]


def group(convolution: NodeProto) -> int:
    """How many parts the channels are in; as many as channels is depthwise."""
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
