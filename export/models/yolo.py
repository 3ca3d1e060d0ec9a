"""A small YOLO: MobileNetV2 (arXiv:1801.04381) and a pyramid, shaped so that CenterFace's weights fit, and two heads.

The heads see maps of 1/8, 1/16 and 1/32 of the input. `AnchorHead` is the textbook's (Redmon et al., arXiv:1804.02767):
k anchor boxes a cell, objectness, classes. `FreeHead` is decoupled and has no anchors (Ge et al., arXiv:2107.08430).
"""

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES = (8, 16, 32)
NECK = 24  # channels
# Leaving channels, and the stride of the first block, of each stage; the last one's are the neck's coarsest map.
STAGES = ((16, 1), (24, 2), (32, 2), (64, 2), (96, 1), (160, 2), (NECK, 1))
FINE = 1  # the stage whose map, at 1/4, tells the finest head where within its cells things lie
TAPS = (2, 4)  # stages whose maps the neck adds on its way up, at 1/8 and 1/16
# Channels inside of each block of each stage: `tiny` has MobileNetV2's, `nano` three in five of them. ONNX Runtime
# works in blocks of 16 channels, so everything else would be paid for and not used.
WIDTHS = {
    "tiny": ((32,), (96, 144), (144, 192, 192), (192, 384, 384, 384), (384, 576, 576), (576, 960, 960), (960,)),
    "nano": ((32,), (64, 96), (96, 128, 128), (128, 256, 256, 256), (256, 352, 352), (384, 512, 512), (512,)),
}
HEAD = 64  # channels of the heads: the same for all, so that one network can begin with another's
# Where the five points of a face lie in its box, in parts of its sides: what the head starts from.
POINTS = ((0.30, 0.41), (0.70, 0.41), (0.50, 0.61), (0.34, 0.79), (0.66, 0.79))


@dataclass(frozen=True)
class Shape:
    """All that makes one network of the family."""

    size: str = "nano"  # of WIDTHS
    labels: tuple[str, ...] = ("face",)
    landmarks: bool = True
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()  # level, anchor, (width, height) px; (): none, FreeHead

    def __str__(self) -> str:
        return f"yolo {json.dumps(asdict(self))}"


class Raw(NamedTuple):
    """What the heads say of all N cells (and anchors) of all levels, finest first."""

    logits: Tensor  # (B, N, C) of each class
    objectness: Tensor | None  # (B, N) logit; None where the class says it all
    values: Tensor  # (B, N, 4 or 14) for the box and the five points, as `boxes_of` reads them
    places: Tensor  # (N, 5) px: the cell's middle x and y, its stride, and the width and height that sides are told by


def presence(raw: Raw) -> Tensor:
    """(B, N, C or 1) logits of something being there, float32."""
    return (raw.logits if raw.objectness is None else raw.objectness[..., None]).float()


class ConvNorm(nn.Sequential):
    """Convolution and batch norm, and ReLU unless it is to be linear."""

    def __init__(self, entering: int, leaving: int, side: int, stride: int = 1, groups: int = 1, linear: bool = False):
        layers: list[nn.Module] = [nn.Conv2d(entering, leaving, side, stride, side // 2, groups=groups, bias=False)]
        layers.append(nn.BatchNorm2d(leaving))
        super().__init__(*layers, *([] if linear else [nn.ReLU()]))


def fold_norms(network: nn.Module) -> None:
    """Put each batch norm into the weights of the convolution before it."""
    for layer in network.modules():
        if isinstance(layer, ConvNorm) and isinstance(layer[1], nn.BatchNorm2d):
            assert isinstance(layer[0], nn.Conv2d)
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()


class Block(nn.Module):
    """MobileNetV2's: widen to `hidden`, filter each channel by itself, narrow; a short cut where the shape stays."""

    def __init__(self, entering: int, hidden: int, leaving: int, stride: int, widen: bool, linear: bool = True) -> None:
        super().__init__()
        self.widen = ConvNorm(entering, hidden, 1) if widen else nn.Identity()
        self.filter = ConvNorm(hidden, hidden, 3, stride, hidden)
        self.narrow = ConvNorm(hidden, leaving, 1, linear=linear)
        self.short_cut = widen and stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(self.filter(self.widen(x)))
        return x + y if self.short_cut else y


class Backbone(nn.Module):
    """images (B, 3, H, W) float32 RGB 0..255, H and W multiples of 32 -> maps at 1/4, 1/8, 1/16, 1/32 for the neck."""

    def __init__(self, widths: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        entering = widths[0][0]
        self.stem = ConvNorm(3, entering, 3, 2)
        self.stages = nn.ModuleList()
        for index, ((leaving, stride), hidden) in enumerate(zip(STAGES, widths, strict=True)):
            blocks = []
            for first, wide in enumerate(hidden):
                linear = index < len(STAGES) - 1
                blocks.append(Block(entering, wide, leaving, stride if first == 0 else 1, index > 0, linear))
                entering = leaving
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*(maps[tap] for tap in (FINE, *TAPS)), x]


class Up(nn.Module):
    """Double the size of the coarse map and add the backbone's map of that size."""

    def __init__(self, tapped: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(NECK, NECK, 2, 2)
        self.lateral = ConvNorm(tapped, NECK, 1)

    def forward(self, coarse: Tensor, tap: Tensor) -> Tensor:
        up: Tensor = torch.relu(self.deconv(coarse)) + self.lateral(tap)
        return up


class Neck(nn.Module):
    """The pyramid (Lin et al., arXiv:1612.03144): three maps of NECK channels at STRIDES, and before them FINE's."""

    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList(Up(STAGES[tap][0]) for tap in reversed(TAPS))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine, *taps, x = maps
        levels = [x]
        for up, tap in zip(self.ups, reversed(taps), strict=True):
            x = up(x, tap)
            levels.insert(0, x)
        return [fine, *levels]


class BottomUp(nn.Module):
    """Fine to coarse once more (Liu et al., arXiv:1803.01534): the neck's maps -> maps of HEAD channels at STRIDES.

    A large face's points are found on the fine map, but its box is answered for on a coarse one.
    """

    def __init__(self) -> None:
        super().__init__()
        finer = (STAGES[FINE][0], *[HEAD] * (len(STRIDES) - 1))
        self.stems = nn.ModuleList(ConvNorm(NECK, HEAD, 1) for _ in STRIDES)
        self.downs = nn.ModuleList(
            nn.Sequential(ConvNorm(channels, channels, 3, 2, channels), ConvNorm(channels, HEAD, 1))
            for channels in finer
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        x, *levels = maps
        out = []
        for level, stem, down in zip(levels, self.stems, self.downs, strict=True):
            x = stem(level) + down(x)
            out.append(x)
        return out


def branch() -> nn.Sequential:
    """What a head does before it speaks: filter each channel by itself, then mix them."""
    return nn.Sequential(ConvNorm(HEAD, HEAD, 3, groups=HEAD), ConvNorm(HEAD, HEAD, 1))


def rows(x: Tensor, values: int) -> Tensor:
    """(B, A * values, H, W) -> (B, H * W * A, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def places(x: Tensor, stride: int, anchors: Tensor) -> Tensor:
    """(H * W * A, 5), as in `Raw`, for the cells of a map and its anchors (A, 2) px."""
    height, width = x.shape[2:]
    across = torch.arange(width, dtype=torch.float32, device=x.device).expand(height, width)
    down = torch.arange(height, dtype=torch.float32, device=x.device)[:, None].expand(height, width)
    middle = (torch.stack((across, down), -1).reshape(-1, 1, 2) + 0.5) * stride
    told = torch.cat((torch.full_like(anchors[:, :1], stride), anchors), 1)
    told = told.expand(height * width, -1, -1)
    return torch.cat((middle.expand(-1, len(anchors), -1), told), -1).reshape(-1, 5)


def boxes_of(values: Tensor, places: Tensor, *, anchors: bool) -> tuple[Tensor, Tensor | None]:
    """Boxes (..., 4) xyxy px, and keypoints (..., 5, 2) px or None, of values (..., 4 or 14) at places (..., 5)."""
    middle, stride, told = places[..., :2], places[..., 2:3], places[..., 3:]
    shift = values[..., :2]
    if anchors:
        # The sigmoid reaches half a cell beyond the cell, so that a centre on its edge can be told (arXiv:2004.10934).
        shift = shift.sigmoid() * 2 - 1
    centre = middle + shift * stride
    sides = values[..., 2:4].clamp(max=6).exp() * told
    boxes = torch.cat((centre - sides / 2, centre + sides / 2), -1)
    if values.shape[-1] == 4:
        return boxes, None
    usual = torch.tensor(POINTS, device=values.device) - 0.5
    away = values[..., 4:].reshape(*values.shape[:-1], 5, 2) * 0.1
    return boxes, (usual + away) * sides[..., None, :] + centre[..., None, :]


class FreeHead(nn.Module):
    """One level, decoupled: class logits; centre and log sides from the cell's middle, in strides; five points."""

    def __init__(self, shape: Shape, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.classes = len(shape.labels)
        self.score = nn.Conv2d(HEAD, self.classes, 1)
        self.box = nn.Conv2d(HEAD, 4, 1)
        self.score_branch, self.box_branch = branch(), branch()
        self.points = nn.Sequential(branch(), nn.Conv2d(HEAD, 10, 1)) if shape.landmarks else None
        with torch.no_grad():
            assert self.score.bias is not None
            assert self.box.bias is not None
            self.score.bias.fill_(-4.6)  # a hundredth, as in RetinaNet (arXiv:1708.02002)
            self.box.bias[2:] = 1.0

    def forward(self, x: Tensor) -> Raw:
        logits = rows(self.score(self.score_branch(x)), self.classes)
        box = self.box(self.box_branch(x))
        values = box if self.points is None else torch.cat((box, self.points(x)), 1)
        told = torch.full((1, 2), float(self.stride), device=x.device)
        return Raw(logits, None, rows(values, values.shape[1]), places(x, self.stride, told))


class AnchorHead(nn.Module):
    """One level, the textbook's: for each anchor objectness, classes, the centre in the cell, sides by the anchor's."""

    def __init__(self, shape: Shape, stride: int) -> None:
        super().__init__()
        self.stride = stride
        anchors = shape.anchors[STRIDES.index(stride)]
        self.register_buffer("anchors", torch.tensor(anchors))  # (A, 2) width, height px
        self.parts = [1, len(shape.labels), 14 if shape.landmarks else 4]
        self.branch = branch()
        self.out = nn.Conv2d(HEAD, len(anchors) * sum(self.parts), 1)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.view(len(anchors), -1)[:, 0] = -4.6

    def forward(self, x: Tensor) -> Raw:
        assert isinstance(self.anchors, Tensor)
        said = rows(self.out(self.branch(x)), sum(self.parts))
        objectness, logits, values = torch.split(said, self.parts, -1)
        return Raw(logits, objectness[..., 0], values, places(x, self.stride, self.anchors))


class Yolo(nn.Module):
    """images (B, 3, H, W) float32 RGB 0..255, H and W multiples of 32 -> `Raw`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = Backbone(WIDTHS[shape.size])
        self.neck = Neck()
        self.path = BottomUp()
        head = AnchorHead if shape.anchors else FreeHead
        self.heads = nn.ModuleList(head(shape, stride) for stride in STRIDES)

    def features(self, images: Tensor) -> list[Tensor]:
        """What `Neck` hands on: maps (B, C, H/s, W/s) at 1/4 and at STRIDES."""
        levels: list[Tensor] = self.neck(self.backbone(images))
        return levels

    def read(self, levels: list[Tensor]) -> Raw:
        """What the heads say of the neck's maps."""
        raws = [head(level) for head, level in zip(self.heads, self.path(levels), strict=True)]
        logits, objectness, values, where = zip(*raws, strict=True)
        return Raw(
            torch.cat(logits, 1),
            None if objectness[0] is None else torch.cat(objectness, 1),
            torch.cat(values, 1),
            torch.cat(where),
        )

    def forward(self, images: Tensor) -> Raw:
        return self.read(self.features(images))

    @torch.no_grad()
    def shift_scores(self, shift: float) -> None:
        """Add to the logits of `presence`, at every place."""
        for head in self.heads:
            if isinstance(head, FreeHead):
                assert head.score.bias is not None
                head.score.bias += shift
            elif isinstance(head, AnchorHead):
                assert head.out.bias is not None
                head.out.bias.view(-1, sum(head.parts))[:, 0] += shift

    def boxes(self, raw: Raw) -> tuple[Tensor, Tensor | None]:
        """Boxes (B, N, 4) xyxy px and keypoints (B, N, 5, 2) px, or None, of what the heads said."""
        return boxes_of(raw.values, raw.places, anchors=bool(self.shape.anchors))
