"""dlib's face ResNet (He et al., arXiv:1512.03385): dlib_face_recognition_resnet_model_v1, less the mean descriptor."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Channels and blocks of each level; the first block of every level but the first one halves the size.
LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


def zero_padded_sum(a: Tensor, b: Tensor) -> Tensor:
    """Add two (B, C, H, W) maps of different shapes; missing channels, rows and columns are zeros (dlib's add_prev)."""
    shape = [max(m, n) for m, n in zip(a.shape[1:], b.shape[1:], strict=True)]

    def padded(x: Tensor) -> Tensor:
        missing = [full - have for full, have in zip(shape, x.shape[1:], strict=True)]
        if not any(missing):
            return x
        channels, rows, columns = missing
        return functional.pad(x, (0, columns, 0, rows, 0, channels))

    return padded(a) + padded(b)


class Residual(nn.Module):
    """Two 3x3 convolutions and a short cut; the frozen batch norm (dlib's affine) is in the weights."""

    def __init__(self, entering: int, leaving: int, *, halve: bool) -> None:
        super().__init__()
        # dlib pads a convolution only where its stride is 1, so a halving block can be smaller than its short cut.
        first = nn.Conv2d(entering, leaving, 3, 2, 0) if halve else nn.Conv2d(entering, leaving, 3, 1, 1)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Conv2d(leaving, leaving, 3, 1, 1))
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        short_cut = functional.avg_pool2d(x, 2) if self.halve else x
        return torch.relu(zero_padded_sum(short_cut, self.layers(x)))


class DlibFace(nn.Module):
    """images (B, 3, 150, 150) float32 RGB, (pixel - mean) / 256 -> embedding (B, 128) float32, of any length.

    dlib compares descriptors by distance, and they all lie in one narrow cone: strangers have a cosine of 0.8. The bias
    of the last layer takes the mean descriptor away, so that the cosine tells people apart too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2))
        blocks: list[nn.Module] = []
        entering = 32
        for level, (channels, count) in enumerate(LEVELS):
            for index in range(count):
                blocks.append(Residual(entering, channels, halve=level > 0 and index == 0))
                entering = channels
        self.blocks = nn.Sequential(*blocks)
        self.embedding = nn.Linear(entering, 128)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.stem(images))
        embedding: Tensor = self.embedding(x.mean((2, 3)))
        return embedding
