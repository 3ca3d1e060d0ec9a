"""Is the face live? Two crops of it, near and far, each through a small network of its own, judged together.

The idea of two contexts is MiniFASNet's: the near crop shows skin, print and screen pixels, the far one shows the edge
of the paper, the bezel, the hand that holds it. Both lie in one input, one above the other.
"""

import torch
from torch import Tensor, nn

SIDE = 80  # px, of a crop
CONTEXTS = (2.7, 4.0)  # the face's box so many times over; the first is the upper crop


def unit(inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Block(nn.Module):
    """Look around in each channel, mix the channels, twice; the input is added (He et al., arXiv:1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            unit(channels, channels, 3, groups=channels),
            unit(channels, channels, 1),
            unit(channels, channels, 3, groups=channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layers(x))


class Branch(nn.Module):
    """(B, 3, 80, 80) -> (B, 2 * 8 * width): mean and largest value of each channel of a 5x5 map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            unit(3, width, 3, 2),  # 40x40
            unit(width, 2 * width, 3, 2),  # 20x20
            Block(2 * width),
            unit(2 * width, 4 * width, 3, 2),  # 10x10
            Block(4 * width),
            Block(4 * width),
            unit(4 * width, 8 * width, 3, 2),  # 5x5
            Block(8 * width),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1)


class Liveness(nn.Module):
    """(B, 3, 160, 80) float32 RGB scaled to about -1..1, near crop above far crop -> (B,) logits: above 0 is live."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.near, self.far = Branch(width), Branch(width)
        self.judge = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * 2 * 8 * width, 1))

    def forward(self, images: Tensor) -> Tensor:
        features = torch.cat([self.near(images[:, :, :SIDE]), self.far(images[:, :, SIDE:])], 1)
        logits: Tensor = self.judge(features)[:, 0]
        return logits


class Live(nn.Module):
    """What goes into the file: a score of 0..1, (B,), where 1 is live."""

    def __init__(self, network: Liveness) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.network(images))
