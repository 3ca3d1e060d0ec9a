"""Faces to vectors: a small residual network for training from little, and dlib's ResNet as the warm start."""

from pathlib import Path

import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export.model_file import load
from export.models.dlib_face import DlibFace
from export.packages import Failed

LENGTH = 128  # of an embedding
LEVELS = (32, 48, 96, 128)  # channels; every level but the first halves the size


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a short cut (He et al., arXiv:1512.03385, with option B)."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(entering, leaving, 3, stride, 1, bias=False),
            nn.BatchNorm2d(leaving),
            nn.ReLU(),
            nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False),
            nn.BatchNorm2d(leaving),
        )
        self.short_cut = nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.short_cut(x))


class SmallEmbedder(nn.Module):
    """images (B, 3, S, S) float32 RGB, S 112 or 150 -> embedding (B, 128) float32, of any length; 0.47M parameters.

    The pooling takes whatever size is left, so one set of weights takes both sizes; it should see the one it learned.
    """

    def __init__(self) -> None:
        super().__init__()
        first = 24
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = (first, *LEVELS)
        self.blocks = nn.Sequential(
            *(Block(a, b, 1 if level == 0 else 2) for level, (a, b) in enumerate(zip(widths, LEVELS, strict=False)))
        )
        self.embedding = nn.Linear(LEVELS[-1], LENGTH)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.embedding(self.blocks(self.stem(images)).mean((2, 3)))
        return embedding


def warm_start(file: Path) -> DlibFace:
    """dlib's ResNet with the weights out of an ONNX file of it, in eval mode; Failed where it is another file."""
    graph = load(file).graph
    values = {
        tensor.name.removesuffix(".half"): torch.tensor(numpy_helper.to_array(tensor)).float()
        for tensor in graph.initializer
    }
    module = DlibFace()
    wanted = module.state_dict()
    missing = [name for name, value in wanted.items() if name not in values or values[name].shape != value.shape]
    if missing:
        raise Failed(f"{file} is not dlib's face network ({missing[0]} is not in it); give models/dlib_face.onnx")
    module.load_state_dict({name: values[name] for name in wanted})
    return module.eval()
