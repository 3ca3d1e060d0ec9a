"""Weights to begin with: CenterFace's in a YOLO of full width, and a slim YOLO pruned out of a wide one."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.detection.prune import put, surgeon
from export.models.centerface import CenterFace
from export.models.yolo import Block, ConvNorm, Yolo, fold_norms

PLACES = 40_000  # that a regression looks at
CHUNK = 8  # pictures at a time
# What comes with the weights: trained already, so frozen at first or trained at a lower rate.
OLD = ("backbone.", "neck.")


def parts(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution, or of a ConvNorm whose norm is folded."""
    convolution = layer[0] if isinstance(layer, ConvNorm) else layer
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


@torch.no_grad()
def fill_from_centerface(yolo: Yolo, source: CenterFace) -> None:
    """Backbone and neck of a YOLO of full width: they compute what CenterFace computes down to 1/8."""
    put(yolo.backbone.stem, *parts(source.stem[0]))
    last = len(yolo.backbone.stages) - 1
    for index, (stage, taken) in enumerate(zip(yolo.backbone.stages, source.stages, strict=True)):
        assert isinstance(stage, nn.Sequential)
        assert isinstance(taken, nn.Sequential)
        for block, from_block in zip(stage, taken, strict=True):
            assert isinstance(block, Block)
            *wide, filtered, narrow = [layer for layer in from_block.modules() if isinstance(layer, nn.Conv2d)]
            if wide:
                put(block.widen, *parts(wide[0]))
            put(block.filter, *parts(filtered))
            weight, bias = parts(narrow)
            if index == last:  # two linear layers without anything between them are one
                top_weight, top_bias = parts(source.top[0])
                weight, bias = top_weight[:, :, 0, 0] @ weight[:, :, 0, 0], top_weight[:, :, 0, 0] @ bias + top_bias
            put(block.narrow, weight, bias)
    for up, from_up in zip(yolo.neck.ups, source.neck, strict=False):
        up.deconv.load_state_dict(from_up.deconv.state_dict())  # type: ignore[union-attr]
        put(up.lateral, *parts(from_up.lateral))  # type: ignore[arg-type]


@torch.inference_mode()
def slim(yolo: Yolo, wide: Yolo, images: Tensor) -> None:
    """Fill `yolo` out of a wider one; `images` (M, 3, H, W) RGB 0..255 are what the pruning looks at.

    The slim network's own maps go into each regression and the wide one's come out of it, so that a block also mends
    what was lost before it. The neck is the same in both, and so are heads of one kind and the path to them.
    """
    wide = copy.deepcopy(wide).eval()
    fold_norms(wide)
    yolo.eval()
    generator = torch.Generator().manual_seed(0)
    ours, theirs = list(torch.split(images, CHUNK)), list(torch.split(images, CHUNK))
    for index, (stage, taken) in enumerate(zip(yolo.backbone.stages, wide.backbone.stages, strict=True)):
        assert isinstance(stage, nn.Sequential)
        assert isinstance(taken, nn.Sequential)
        for block, from_block in zip(stage, taken, strict=True):
            assert isinstance(block, Block)
            assert isinstance(from_block, Block)
            last = len(block.narrow) > 2  # a ReLU behind
            widen, from_widen = block.widen, from_block.widen
            if index == 0:  # nothing widens here: the channels are those of the stem
                widen, from_widen = yolo.backbone.stem, wide.backbone.stem
            wanted = [before_relu(from_block, from_widen, x) for x in theirs]
            prune(block, widen, from_block, from_widen, ours, wanted, generator)
            theirs = [torch.relu(y) if last else y for y in wanted]
            ours = [before_relu(block, widen, x) for x in ours]
            ours = [torch.relu(x) if last else x for x in ours]
    copied(yolo.neck, wide.neck)
    if yolo.shape.anchors == wide.shape.anchors and yolo.shape.labels == wide.shape.labels:
        copied(yolo.path, wide.path)
        copied(yolo.heads, wide.heads)


def before_relu(block: Block, widen: nn.Module, x: Tensor) -> Tensor:
    """What a block puts out, before a ReLU if it has one there."""
    y: Tensor = block.narrow[1](block.narrow[0](block.filter(widen(x))))
    return x + y if block.short_cut else y


def copied(to: nn.Module, source: nn.Module) -> None:
    """The weights of a part with folded norms, into the same part with norms; what only one of them has stays."""
    theirs = dict(source.named_modules())
    for name, layer in to.named_modules():
        if isinstance(layer, ConvNorm) and name in theirs:
            put(layer, *parts(theirs[name]))
    own, other = to.state_dict(), source.state_dict()
    fitting = {name: other[name] for name in own if name in other and other[name].shape == own[name].shape}
    to.load_state_dict({**own, **fitting})


def prune(
    block: Block,
    widen: nn.Module,
    from_block: Block,
    from_widen: nn.Module,
    ours: Sequence[Tensor],
    wanted: Sequence[Tensor],
    generator: torch.Generator,
) -> None:
    """Fill one block, and the layer that widens for it, so that it makes `wanted` out of `ours`."""
    inputs, outputs = [], []
    for x, y in zip(ours, wanted, strict=True):
        hidden = from_block.filter(from_widen(x))
        rest = y - x if block.short_cut else y
        places = torch.randperm(hidden[:, 0].numel(), generator=generator)[: PLACES * len(x) // sum(map(len, ours))]
        inputs.append(hidden.movedim(1, -1).flatten(0, 2)[places])
        outputs.append(rest.movedim(1, -1).flatten(0, 2)[places])
    filters = block.filter[0]
    assert isinstance(filters, nn.Conv2d)
    kept, weights, bias = surgeon(torch.cat(inputs), torch.cat(outputs), filters.out_channels)
    for layer, source in ((widen, from_widen), (block.filter, from_block.filter)):
        weight, shift = parts(source)
        put(layer, weight[kept], shift[kept])
    put(block.narrow, weights, bias)
