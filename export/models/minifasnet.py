"""MiniFASNet: is the face in an 80x80 picture live? The two networks of Silent-Face-Anti-Spoofing (Minivision, 2020).

Inverted residuals as in MobileFaceNet (Chen et al., arXiv:1804.07573), their inner widths left over by pruning. Modules
bear the names of the published state dicts, so these load as they are.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

CONTEXTS = {"V2": 2.7, "V1SE": 4.0}  # how much of the picture each sees: the face's box so many times over

# Inner widths of the residual blocks at 64, 128 and 128 channels; the blocks between them are the same in both.
WIDTHS: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] = {
    "V2": ((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26)),
    "V1SE": ((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26)),
}


class Unit(nn.Module):
    """Convolution and batch norm, with PReLU unless it is linear."""

    def __init__(self, convolution: nn.Conv2d, linear: bool = False) -> None:
        super().__init__()
        self.conv = convolution
        self.bn = nn.BatchNorm2d(convolution.out_channels)
        self.prelu = nn.Identity() if linear else nn.PReLU(convolution.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.prelu(self.bn(self.conv(x)))
        return y


def point(inputs: int, outputs: int, linear: bool = False) -> Unit:
    """A unit that mixes the channels of each place."""
    return Unit(nn.Conv2d(inputs, outputs, 1, bias=False), linear)


def around(channels: int, stride: int = 1) -> Unit:
    """A unit that looks around in each channel by itself."""
    return Unit(nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False))


class Excite(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv:1709.01507): each channel times a gain made of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 4)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        gain = torch.relu(self.bn1(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(self.bn2(self.fc2(gain)))


class Block(nn.Module):
    """Widen, look around in each channel, project; at stride 1 the input is added to the result."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1, excite: bool = False) -> None:
        super().__init__()
        self.conv = point(inputs, inner)
        self.conv_dw = around(inner, stride)
        self.project = point(inner, outputs, linear=True)
        self.se_module = Excite(outputs) if excite else None
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.conv_dw(self.conv(x)))
        if self.se_module is not None:
            y = self.se_module(y)
        return x + y if self.residual else y


class Blocks(nn.Module):
    """Residual blocks of one width, the last one excited where the network has that."""

    def __init__(self, channels: int, widths: Sequence[int], excite: bool) -> None:
        super().__init__()
        last = len(widths) - 1
        self.model = nn.Sequential(
            *(Block(channels, inner, channels, excite=excite and i == last) for i, inner in enumerate(widths))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class MiniFASNet(nn.Module):
    """(B, 3, 80, 80) float32 BGR 0..255 -> logits (B, 3): class 1 is live, 0 and 2 are attacks."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        first, second, third = WIDTHS[kind]
        excite = kind == "V1SE"
        self.conv1 = Unit(nn.Conv2d(3, 32, 3, 2, 1, bias=False))
        self.conv2_dw = around(32)
        self.conv_23 = Block(32, 103, 64, 2)
        self.conv_3 = Blocks(64, first, excite)
        self.conv_34 = Block(64, 231, 128, 2)
        self.conv_4 = Blocks(128, second, excite)
        self.conv_45 = Block(128, 308, 128, 2)
        self.conv_5 = Blocks(128, third, excite)
        self.conv_6_sep = point(128, 512)
        self.conv_6_dw = Unit(nn.Conv2d(512, 512, 5, groups=512, bias=False), linear=True)
        self.linear = nn.Linear(512, 128, bias=False)
        self.bn = nn.BatchNorm1d(128)
        self.prob = nn.Linear(128, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_23(self.conv2_dw(self.conv1(images)))
        x = self.conv_45(self.conv_4(self.conv_34(self.conv_3(x))))
        x = self.conv_6_dw(self.conv_6_sep(self.conv_5(x)))
        logits: Tensor = self.prob(self.bn(self.linear(x.flatten(1))))
        return logits


def minifasnet(state: Mapping[str, Tensor]) -> tuple[MiniFASNet, float]:
    """The network of a published state dict, in eval mode, and its context (`CONTEXTS`).

    Raises RuntimeError (torch's) where the entries are not those of MiniFASNet.
    """
    entries = {name.removeprefix("module."): value for name, value in state.items()}
    kind = "V1SE" if any(".se_module." in name for name in entries) else "V2"
    module = MiniFASNet(kind)
    module.load_state_dict(entries)
    return module.eval(), CONTEXTS[kind]
