"""SSDLite on MobileNetV2 (Sandler et al., arXiv:1801.04381) at 300x300, for people: TensorFlow's ssdlite_mobilenet_v2.

The batch norms are in the weights, and what the heads say is decoded into boxes (Liu et al., arXiv:1512.02325).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 300  # pixels of the input, height and width
# Expansion, channels, blocks and first stride of each level of the backbone.
LEVELS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SEEN_BY_HEAD = 13  # the block in whose middle, widened to 576 channels, the first head looks
EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))  # channels within and behind each block after the backbone
HEADS = (576, 1280, *(leaving for _, leaving in EXTRA))  # channels that each head sees
GRIDS = (19, 10, 5, 3, 2, 1)  # cells along a side of each head's map
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # of the input's side; the last one only for a mean
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)  # width by height
CENTRE, SIZE = 10.0, 5.0  # what the training multiplied the codes of centres and sizes by
CLASSES = 2  # nothing, person


def shapes(level: int) -> list[tuple[float, float]]:
    """Width and height of the anchors in a cell, as fractions of the side; the first level has three."""
    if level == 0:
        return [(scale * math.sqrt(r), scale / math.sqrt(r)) for scale, r in zip((0.1, 0.2, 0.2), RATIOS, strict=False)]
    scale, mean = SCALES[level], math.sqrt(SCALES[level] * SCALES[level + 1])
    return [*((scale * math.sqrt(r), scale / math.sqrt(r)) for r in RATIOS), (mean, mean)]


def anchors() -> Tensor:
    """(4, A) float32 centre x, centre y, width, height in pixels: heads in turn, row by row, cell by cell."""
    rows = [
        ((column + 0.5) / cells, (row + 0.5) / cells, width, height)
        for level, cells in enumerate(GRIDS)
        for row in range(cells)
        for column in range(cells)
        for width, height in shapes(level)
    ]
    return torch.tensor(rows).T * SIDE


class Convolution(nn.Module):
    """A convolution with a bias and, unless it is `linear`, ReLU6, padded as TensorFlow's SAME."""

    def __init__(
        self, entering: int, leaving: int, side: int = 1, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        super().__init__()
        padding = side // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(entering, leaving, side, stride, padding, groups=groups)
        self.stride, self.linear = stride, linear

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:  # a map of an even size is padded at its end only
            x = functional.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
        x = self.convolution(x)
        return x if self.linear else functional.relu6(x)


def depthwise(channels: int, stride: int = 1) -> Convolution:
    """3x3, each channel by itself."""
    return Convolution(channels, channels, 3, stride, channels)


class Block(nn.Module):
    """An inverted residual: widen, look around, narrow; with a short cut where the shape stays."""

    def __init__(self, entering: int, leaving: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = entering * expansion
        self.widen = Convolution(entering, wide) if expansion > 1 else nn.Identity()
        self.narrow = nn.Sequential(depthwise(wide, stride), Convolution(wide, leaving, linear=True))
        self.short_cut = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the block makes of a map, and the widened map."""
        wide = self.widen(x)
        made = self.narrow(wide)
        return made + x if self.short_cut else made, wide


class Head(nn.Module):
    """Codes and logits of one level: (B, C, N, N) -> (B, A, 4) y, x, height, width and (B, A, 2) nothing, person."""

    def __init__(self, entering: int, count: int) -> None:
        """`count`: anchors a cell."""
        super().__init__()
        self.codes = nn.Sequential(depthwise(entering), Convolution(entering, 4 * count, linear=True))
        self.logits = nn.Sequential(depthwise(entering), Convolution(entering, CLASSES * count, linear=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes, logits = (made.permute(0, 2, 3, 1) for made in (self.codes(x), self.logits(x)))
        return codes.reshape(x.shape[0], -1, 4), logits.reshape(x.shape[0], -1, CLASSES)


class SsdLite(nn.Module):
    """images (B, 3, 300, 300) float32 RGB, (pixel - 127.5) / 127.5 -> a box for each of A = 1917 anchors.

    boxes (B, A, 4) float32 xyxy in pixels of the input, not clipped to it; scores (B, A) float32 0..1; classes (B, A)
    int32, all 0, which is a person.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        entering = 32
        for expansion, leaving, count, stride in LEVELS:
            for index in range(count):
                blocks.append(Block(entering, leaving, 1 if index else stride, expansion))
                entering = leaving
        self.blocks = nn.ModuleList(blocks)
        self.last = Convolution(entering, HEADS[1])
        self.extra = nn.ModuleList(
            nn.Sequential(Convolution(seen, within), depthwise(within, 2), Convolution(within, leaving))
            for seen, (within, leaving) in zip(HEADS[1:], EXTRA, strict=False)
        )
        self.heads = nn.ModuleList(Head(seen, len(shapes(level))) for level, seen in enumerate(HEADS))
        # Four vectors and no table: a file keeps tables as float16, which is too coarse for pixels.
        self.x, self.y, self.width, self.height = anchors()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = zip(self.heads, self.features(images), strict=True)
        codes, logits = (torch.cat(parts, 1).float() for parts in zip(*(head(x) for head, x in levels), strict=True))
        scores = logits[..., 1].sigmoid()
        return self.boxes(codes), scores, torch.zeros_like(scores, dtype=torch.int32)

    def features(self, images: Tensor) -> list[Tensor]:
        """What each head looks at."""
        x, seen = self.stem(images), []
        for index, block in enumerate(self.blocks):
            x, wide = block(x)
            if index == SEEN_BY_HEAD:
                seen.append(wide)
        seen.append(self.last(x))
        for extra in self.extra:
            seen.append(extra(seen[-1]))
        return seen

    def boxes(self, codes: Tensor) -> Tensor:
        """(B, A, 4) codes, relative to the anchors, as (B, A, 4) xyxy in pixels."""
        y, x, height, width = codes.unbind(-1)
        x, y = self.x + x / CENTRE * self.width, self.y + y / CENTRE * self.height
        width, height = self.width * (width / SIZE).exp() / 2, self.height * (height / SIZE).exp() / 2
        return torch.stack((x - width, y - height, x + width, y + height), -1)
