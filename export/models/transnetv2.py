"""TransNet V2 (Souček and Lokoč, arXiv:2008.04838): where one shot of a video goes over into the next.

The frames of a window are the batch. So a (2+1)D convolution is one of pictures and, over time, three of points whose
results are moved by `dilation` frames and added up: the same sums, which ONNX Runtime does in three quarters of the
time that it takes for Conv3d.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 100  # frames
FILTERS = (16, 32, 64)  # of each branch, in each stack
DILATIONS = (1, 2, 4, 8)  # frames, of a cell's branches
LOOKUP = 101  # frames that one is compared with, itself in the middle
BINS = 8  # of a colour histogram, for each channel


class Branch(nn.Module):
    """A (2+1)D convolution, (T, C, H, W) -> (T, filters, H, W); the cell's batch norm is in the weights."""

    def __init__(self, entering: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.spatial = nn.Conv2d(entering, 2 * filters, 3, padding=1, bias=False)
        self.before = nn.Conv2d(2 * filters, filters, 1, bias=False)
        self.now = nn.Conv2d(2 * filters, filters, 1)
        self.after = nn.Conv2d(2 * filters, filters, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spatial(x)
        none = (0, 0) * 3
        before = functional.pad(self.before(x)[: -self.dilation], (*none, self.dilation, 0))
        after = functional.pad(self.after(x)[self.dilation :], (*none, 0, self.dilation))
        total: Tensor = self.now(x) + before + after
        return total


class Cell(nn.Module):
    """A dilated cell (DDCNN): the branches side by side, (T, C, H, W) -> (T, 4 * filters, H, W)."""

    def __init__(self, entering: int, filters: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(entering, filters, dilation) for dilation in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cat([branch(x) for branch in self.branches], 1))


class Stack(nn.Module):
    """Two cells, the first one's short cut, and half the size."""

    def __init__(self, entering: int, filters: int) -> None:
        super().__init__()
        self.first = Cell(entering, filters)
        self.second = Cell(len(DILATIONS) * filters, filters)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return functional.avg_pool2d(self.second(x) + x, 2)


class Similarity(nn.Module):
    """Features (T, D) of unit length -> (T, 128): each frame's cosines to its neighbours, through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(LOOKUP, 128)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.linear(band(features @ features.T)))


def band(square: Tensor) -> Tensor:
    """(T, LOOKUP): of each row of a (T, T) matrix what lies about the diagonal; zeros outside of it.

    Rows that are read as one longer each move to the left by one each.
    """
    count = len(square)
    flat = functional.pad(square, (LOOKUP // 2, LOOKUP // 2)).flatten()
    return functional.pad(flat, (0, count)).reshape(count, count + LOOKUP)[:, :LOOKUP]


def histograms(images: Tensor) -> Tensor:
    """(T, BINS ** 3) colour histograms, of unit length, of images (T, 3, H, W) 0..255."""
    red, green, blue = (images * (BINS / 256)).floor().flatten(2).unbind(1)
    places = ((red * BINS + green) * BINS + blue).long()
    counts = torch.zeros(len(images), BINS**3).scatter_add(1, places, torch.ones_like(red))
    return functional.normalize(counts, dim=1)


class TransNetV2(nn.Module):
    """images (T, 3, 27, 48) float32 RGB 0..255, one after the other -> probability (T,) float32 of a transition.

    T is WINDOW, as in training. The head for all frames of a gradual transition is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        entering = (3, *(len(DILATIONS) * filters for filters in FILTERS))
        self.stacks = nn.ModuleList(map(Stack, entering, FILTERS))
        self.projection = nn.Linear(sum(entering[1:]), 128)
        self.likeness = Similarity()
        self.colours = Similarity()
        self.hidden = nn.Linear(2 * 128 + entering[-1] * 3 * 6, 1024)
        self.transition = nn.Linear(1024, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = images / 255
        means = []
        for stack in self.stacks:
            x = stack(x)
            means.append(x.mean((2, 3)))
        likeness = self.likeness(functional.normalize(self.projection(torch.cat(means, 1)), dim=1))
        x = torch.cat([self.colours(histograms(images)), likeness, x.flatten(1)], 1)
        return torch.sigmoid(self.transition(torch.relu(self.hidden(x)))).flatten()
