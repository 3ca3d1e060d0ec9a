"""Does an ONNX file compute what the torch module computes?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """The worst difference over all outputs, and the worst cosine between an image's outputs, each as one vector."""

    max_abs: float
    cosine: float  # 1 is the same direction


@dataclass(frozen=True)
class Difference:
    """How far one output (B, ...) is from what was expected; the last two are of the worst image, as one vector."""

    max_abs: float
    mean_abs: float
    cosine: float  # 1 is the same direction
    relative: float  # the length of the difference over that of what was expected


def run(model: Path | bytes, images: Array) -> list[Array]:
    """All outputs of an ONNX file (or its bytes) on the CPU for images (B, 3, H, W), in the order of the file."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {session.get_inputs()[0].name: images})]


def compare(expected: list[Array], found: list[Array]) -> Parity:
    """The worst difference and the worst cosine of two lists of outputs, each (B, ...)."""
    apart = [difference(e, f) for e, f in zip(expected, found, strict=True)]
    return Parity(max(one.max_abs for one in apart), min(one.cosine for one in apart))


def differences(names: Sequence[str], expected: Sequence[Array], found: Sequence[Array]) -> dict[str, Difference]:
    """Compare two lists of outputs, each (B, ...), one by one; a vector of zeros is only near to another one."""
    return {name: difference(e, f) for name, e, f in zip(names, expected, found, strict=True)}


def difference(expected: Array, found: Array) -> Difference:
    """Compare one output, (B, ...), with another of the same shape."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (expected, found))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    apart = np.linalg.norm(a - b, axis=1)
    tiny = np.finfo(np.float64).tiny
    cosine = np.where(apart == 0, 1.0, (a * b).sum(1) / np.maximum(lengths[0] * lengths[1], tiny))
    relative = apart / np.maximum(lengths[0], tiny)
    return Difference(
        float(np.abs(a - b).max()), float(np.abs(a - b).mean()), float(cosine.min()), float(relative.max())
    )


def check(module: nn.Module, file: Path, images: Array) -> Parity:
    """Run the module and the ONNX file on the same images (B, 3, H, W) float32, scaled as the network wants them."""
    with torch.inference_mode():
        outputs = module(torch.from_numpy(images))
    tensors = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return compare([tensor.numpy() for tensor in tensors], run(file, images))
