"""TransNet V2 (Souček and Lokoč, arXiv:2008.04838): where one shot of a video goes over into the next.

The frames of a window lie one below the other in one tall picture, a row of zeros behind each. So both parts of a
(2+1)D convolution are of pictures, the one over time with a dilation of whole frames: the same sums as Conv3d, which
ONNX Runtime does faster, and in 8 bits with nothing in between that is not.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 100  # frames
HEIGHTS = (27, 13, 6)  # pixels, of what enters each stack
FILTERS = (16, 32, 64)  # of each branch, in each stack
DILATIONS = (1, 2, 4, 8)  # frames, of a cell's branches
LOOKUP = 101  # frames that one is compared with, itself in the middle
BINS = 8  # of a colour histogram, for each channel


class Branch(nn.Sequential):
    """A (2+1)D convolution of tall pictures, (1, C, T * rows, W) -> (1, filters, T * rows, W).

    The cell's batch norm is in the weights.
    """

    def __init__(self, entering: int, filters: int, frames: int, rows: int) -> None:
        away = frames * rows
        super().__init__(
            nn.Conv2d(entering, 2 * filters, 3, padding=1, bias=False),
            nn.Conv2d(2 * filters, filters, (3, 1), padding=(away, 0), dilation=(away, 1)),
        )


class Cell(nn.Module):
    """A dilated cell (DDCNN): the branches side by side, (1, C, T * rows, W) -> (1, 4 * filters, T * rows, W)."""

    def __init__(self, entering: int, filters: int, rows: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(entering, filters, dilation, rows) for dilation in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cat([branch(x) for branch in self.branches], 1))


class Stack(nn.Module):
    """Two cells, the first one's short cut, and half the size: (C, T, H, W) -> (4 * filters, T, H // 2, W // 2)."""

    def __init__(self, entering: int, filters: int, height: int) -> None:
        super().__init__()
        self.rows = height + 1
        self.first = Cell(entering, filters, self.rows)
        self.second = Cell(len(DILATIONS) * filters, filters, self.rows)
        between = torch.arange(WINDOW * self.rows) % self.rows == height
        self.register_buffer("frames", (~between).float()[:, None], persistent=False)  # 0 in the rows between them

    def forward(self, x: Tensor) -> Tensor:
        _, count, height, width = x.shape
        x = functional.pad(x, (0, 0, 0, 1)).reshape(1, -1, count * self.rows, width)
        x = self.first(x) * self.frames
        x = self.second(x) + x
        return functional.avg_pool2d(x.reshape(-1, count, self.rows, width)[:, :, :height], 2)


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
        self.stacks = nn.ModuleList(map(Stack, entering, FILTERS, HEIGHTS))
        self.projection = nn.Linear(sum(entering[1:]), 128)
        self.likeness = Similarity()
        self.colours = Similarity()
        self.hidden = nn.Linear(2 * 128 + entering[-1] * 3 * 6, 1024)
        self.transition = nn.Linear(1024, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = (images / 255).transpose(0, 1)
        means = []
        for stack in self.stacks:
            x = stack(x)
            means.append(x.mean((2, 3)))
        likeness = self.likeness(functional.normalize(self.projection(torch.cat(means).T), dim=1))
        x = torch.cat([self.colours(histograms(images)), likeness, x.transpose(0, 1).flatten(1)], 1)
        return torch.sigmoid(self.transition(torch.relu(self.hidden(x)))).flatten()
