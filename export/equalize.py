"""Give the channels between two convolutions like ranges before they share one 8-bit scale; the result stays the same.

relu(s x) = s relu(x) for s > 0, so a channel can be divided by s behind one convolution and multiplied by s in the
next (Nagel et al. 2019, Data-Free Quantization, arXiv:1906.04721; here with ranges seen on real photos, as in Xiao et
al. 2022, SmoothQuant, arXiv:2211.10438). Weights have a scale for each output channel. So the factors cost nothing
where the next convolution is depthwise, and there all channels get one range; where it mixes channels, its weights
take half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from export.graph import group, users
from export.model_file import results, session

Floats = NDArray[np.float32]
MIXED = 0.5  # how much of a channel's range goes into weights that mix channels; 0.3 and 0.7 measured no better
SMALLEST = 1e-3  # of the largest: quieter channels and weights count as this
LIMIT = 100.0  # no factor is larger, or smaller than one part in so many


@dataclass(frozen=True)
class Pair:
    """Two convolutions with nothing but ReLU between them."""

    first: NodeProto
    value: str  # what the second takes
    second: NodeProto
    depthwise: bool


def pairs(graph: onnx.GraphProto, held: Mapping[str, Floats]) -> list[Pair]:
    """All pairs whose weights and biases nobody else uses, and whose value in between goes nowhere else."""
    takers, outputs, found = users(graph), {output.name for output in graph.output}, []

    def own(node: NodeProto) -> bool:
        return all(name in held and len(takers[name]) == 1 for name in node.input[1:])

    for first in (node for node in graph.node if node.op_type == "Conv" and own(node)):
        value = first.output[0]
        while len(takers.get(value, [])) == 1 and takers[value][0].op_type == "Relu" and value not in outputs:
            value = takers[value][0].output[0]
        if value in outputs or [node.op_type for node in takers.get(value, [])] != ["Conv"]:
            continue
        (second,) = takers[value]
        depthwise = group(second) == len(held[first.input[1]])
        if own(second) and (depthwise or group(second) == 1):
            found.append(Pair(first, value, second, depthwise))
    return found


def peaks(model: onnx.ModelProto, names: Sequence[str], batches: Sequence[Mapping[str, NDArray[Any]]]) -> list[Floats]:
    """The largest absolute value (C,) of each channel of each named value (B, C, H, W), over all batches."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    run = session(probe.SerializeToString())
    found = [np.float32(0)] * len(names)
    for batch in batches:
        values = results(run, batch, names)
        found = [np.maximum(peak, np.abs(value).max((0, 2, 3))) for peak, value in zip(found, values, strict=True)]
    return [np.asarray(peak, np.float32) for peak in found]


def factors(peak: Floats, weight: Floats, depthwise: bool) -> Floats:
    """What to divide each channel (C,) by, given its peak and the second convolution's weight; their mean log is 0."""
    peak = np.maximum(peak / max(float(peak.max()), 1e-30), SMALLEST)
    if depthwise:
        factor = peak
    else:
        demand = np.abs(weight).max((0, 2, 3))
        factor = peak**MIXED / np.maximum(demand / max(float(demand.max()), 1e-30), SMALLEST) ** (1 - MIXED)
    return np.asarray((factor / np.exp(np.log(factor).mean())).clip(1 / LIMIT, LIMIT), np.float32)


def equalize(model: onnx.ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]]) -> int:
    """Change the weights of the model in place; the number of pairs that it was done to."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    held = {name: np.asarray(numpy_helper.to_array(tensor)) for name, tensor in tensors.items()}
    found = pairs(model.graph, held)
    if not found:  # ONNX Runtime takes no names for all outputs
        return 0
    for pair, peak in zip(found, peaks(model, [pair.value for pair in found], batches), strict=True):
        factor = factors(peak, held[pair.second.input[1]], pair.depthwise)
        for name in pair.first.input[1:]:  # weight (C, ...) and bias (C,)
            held[name] = held[name] / factor.reshape(-1, *[1] * (held[name].ndim - 1))
        weight = pair.second.input[1]
        held[weight] = held[weight] * (factor[:, None, None, None] if pair.depthwise else factor[None, :, None, None])
        for name in (*pair.first.input[1:], weight):
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(held[name], np.float32), name))
    return len(found)
