"""What is each second of a video worth? A temporal convolution network over the signals of the minute around it.

Residual blocks of dilated convolutions, as Bai, Kolter & Koltun have them (arXiv:1803.01271), but they look both ways:
the whole video is there when it is scored.
"""

import torch
from torch import Tensor, nn

DILATIONS = (1, 2, 4, 8)  # seconds between the three taps of a block's convolutions
REACH = 2 * sum(DILATIONS)  # seconds that a score depends on, to each side
DROPOUT = 0.2


class Block(nn.Module):
    """Look around twice; the input is added. What lies outside of the video is 0 for every layer."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout1d(DROPOUT)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        y = self.dropout(torch.relu(self.first(x))) * inside
        return torch.relu(x + self.second(y)) * inside


class HighlightScorer(nn.Module):
    """(B, F + 1, T) float32 -> (B, T) logits: F signals 0..1, one value a second, then 1 inside of the video, else 0.

    So a video scores the same, whatever is padded to it. What the network makes of the minute comes to a weighted sum
    of the second itself, and is nothing before training: with few marks, the weights are learned first.
    """

    def __init__(self, signals: int, width: int = 24) -> None:
        super().__init__()
        self.mix = nn.Conv1d(signals, width, 1)
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in DILATIONS)
        self.judge = nn.Conv1d(width, 1, 1, bias=False)
        self.weigh = nn.Conv1d(signals, 1, 1)
        nn.init.zeros_(self.judge.weight)

    def forward(self, signals: Tensor) -> Tensor:
        inside = signals[:, -1:]
        x = torch.relu(self.mix(signals[:, :-1])) * inside
        for block in self.blocks:
            x = block(x, inside)
        logits: Tensor = (self.judge(x) + self.weigh(signals[:, :-1]))[:, 0]
        return logits


class Scored(nn.Module):
    """What goes into the file: scores of 0..1, (B, T)."""

    def __init__(self, network: HighlightScorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, signals: Tensor) -> Tensor:
        return torch.sigmoid(self.network(signals))
