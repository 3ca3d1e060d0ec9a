"""What a YOLO's heads are to say, and how far they are from it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from export.detection.augment import Batch
from export.models.yolo import STRIDES, Raw, Shape, boxes_of

RADIUS = 1.5  # strides around a box's middle in which a cell may answer for it (FCOS's sampling, arXiv:1904.01355)
# Cells of a level answer for boxes whose longer side is within this, in strides; the levels overlap.
SIDES = ((0.0, 10.0), (1.5, 14.0), (3.0, float("inf")))
MOST = 9  # cells that answer for one box
LIKE = 4.0  # the power of IoU beside the score's: both of task alignment (Feng et al., arXiv:2108.07755)
SCORE = 0.5
ANCHOR_IOU = 0.5  # a cell whose box is this right is not told that there is nothing, even if another one answers
GAIN = {"score": 1.0, "box": 2.0, "points": 8.0}


@dataclass
class Answer:
    """Which of the P cells answer, for what, over the whole batch."""

    image: Tensor  # (P,) index in the batch
    cell: Tensor  # (P,) index of N
    box: Tensor  # (P, 4) xyxy px
    keypoints: Tensor  # (P, 5, 2) px; NaN where nobody says
    label: Tensor  # (P,)
    quality: Tensor  # (P,) 0..1, what the score is to be
    silent: Tensor  # (B, N) bool: nothing is asked of the score here


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (A, B) of xyxy boxes (A, 4) and (B, 4)."""
    size = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(min=0)
    common = size.prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b))
    return common / (area_a[:, None] + area_b[None] - common).clamp(min=1e-9)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (P,) of xyxy boxes (P, 4), -1..1: overlap, distance, shape (Zheng et al., arXiv:1911.08287)."""
    size = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    common = size.prod(-1)
    sides_a, sides_b = ((x[:, 2:] - x[:, :2]).clamp(min=1e-6) for x in (a, b))
    iou = common / (sides_a.prod(-1) + sides_b.prod(-1) - common)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(-1) / hull.square().sum(-1).clamp(min=1e-9)
    shape = (
        4 / torch.pi**2 * (torch.atan(sides_b[:, 0] / sides_b[:, 1]) - torch.atan(sides_a[:, 0] / sides_a[:, 1])) ** 2
    )
    with torch.no_grad():
        weight = shape / (1 - iou + shape).clamp(min=1e-9)
    return iou - apart - weight * shape


def inside(middles: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """(N, G) bool: does the cell's middle lie within the box, or within half a cell of it?"""
    half = strides[:, None, None] / 2
    return ((middles[:, None] > boxes[None, :, :2] - half) & (middles[:, None] < boxes[None, :, 2:] + half)).all(-1)


def by_alignment(score: Tensor, iou: Tensor, near: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cells (P,), boxes (P,) and quality (P,) for anchor-free heads: of the cells `near` (N, G) the best aligned ones.

    `score` (N, G) is of the box's class. Alignment is score^0.5 * IoU^4; each box's best cell is to score what is
    `wanted` (G,) of it, or its IoU where that is NaN.
    """
    aligned = (score.clamp(min=1e-6) ** SCORE * iou.clamp(min=1e-4) ** LIKE) * near
    chosen = torch.zeros_like(near)
    top, rows = aligned.topk(min(MOST, len(aligned)), 0)
    chosen.scatter_(0, rows, top > 0)
    best = (aligned * chosen).argmax(1)  # a cell answers for one box
    cell = chosen.any(1).nonzero()[:, 0]
    box = best[cell]
    strength = aligned[cell, box] / (aligned * chosen).amax(0)[box].clamp(min=1e-30)
    wanted = torch.where(wanted.isnan(), (iou * chosen).amax(0).clamp(min=0.05), wanted)
    return cell, box, strength * wanted[box]


def by_anchor(boxes: Tensor, middles: Tensor, strides: Tensor, levels: Tensor, shape: Shape) -> Tensor:
    """Which cell (G,) answers for each box: the one that holds its middle, of the anchor most like it (YOLOv3)."""
    anchors = torch.tensor(shape.anchors, device=boxes.device)  # (L, A, 2)
    sides = boxes[:, 2:] - boxes[:, :2]
    flat = anchors.reshape(-1, 2)
    common = torch.minimum(sides[:, None], flat[None]).prod(-1)
    best = (common / (sides.prod(-1)[:, None] + flat.prod(-1)[None] - common)).argmax(1)
    level, anchor = best // anchors.shape[1], best % anchors.shape[1]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = (middles[:, None] - centre[None]).abs().amax(-1) / strides[:, None]
    number = torch.arange(len(middles), device=boxes.device) % anchors.shape[1]
    right = (levels[:, None] == level[None]) & (number[:, None] == anchor[None])
    return away.masked_fill(~right, torch.inf).argmin(0)


@torch.no_grad()
def answers(raw: Raw, found: Tensor, batch: Batch, shape: Shape) -> Answer:
    """Who is to say what, where the heads' boxes are `found` (B, N, 4): by alignment, or by the best anchor."""
    device = found.device
    middles, strides = raw.places[:, :2], raw.places[:, 2]
    levels = (strides / STRIDES[0]).log2().round().long()
    least, most = torch.tensor(SIDES, device=device).T
    rows, silent = [], torch.zeros(found.shape[:2], dtype=torch.bool, device=device)
    for index in range(len(batch.images)):
        ignored = batch.ignored[index]
        if ignored.any():
            silent[index] = inside(middles, strides, batch.boxes[index][ignored]).any(1)
        boxes, keypoints, labels, wanted = (
            x[index][~ignored] for x in (batch.boxes, batch.keypoints, batch.classes, batch.scores)
        )
        if not len(boxes):
            continue
        iou = pairwise_iou(found[index], boxes)
        if shape.anchors:
            silent[index] |= (iou > ANCHOR_IOU).any(1)
            cell = by_anchor(boxes, middles, strides, levels, shape)
            box, quality = torch.arange(len(boxes), device=device), wanted.nan_to_num(1.0)
        else:
            longest = (boxes[:, 2:] - boxes[:, :2]).amax(1)
            centre = (boxes[:, :2] + boxes[:, 2:]) / 2
            near = (middles[:, None] - centre[None]).abs().amax(-1) < RADIUS * strides[:, None]
            fits = (longest[None] >= (least[levels] * strides)[:, None]) & (
                longest[None] < (most[levels] * strides)[:, None]
            )
            score = raw.logits[index].float().sigmoid()[:, labels]
            cell, box, quality = by_alignment(score, iou, near & fits, wanted)
        silent[index, cell] = False
        image = torch.full_like(cell, index)
        rows.append(Answer(image, cell, boxes[box], keypoints[box], labels[box], quality, silent))
    if not rows:
        none = torch.zeros(0, dtype=torch.long, device=device)
        empty = torch.zeros(0, device=device)
        return Answer(none, none, empty.reshape(0, 4), empty.reshape(0, 5, 2), none, empty, silent)
    names = ("image", "cell", "box", "keypoints", "label", "quality")
    return Answer(**{name: torch.cat([getattr(one, name) for one in rows]) for name in names}, silent=silent)


def losses(raw: Raw, batch: Batch, shape: Shape) -> dict[str, Tensor]:
    """Score, box and landmark losses, weighted by GAIN; each summed over cells and divided by what answered."""
    objectness = None if raw.objectness is None else raw.objectness.float()
    raw = raw._replace(logits=raw.logits.float(), objectness=objectness)  # they may come in bfloat16
    found, keypoints = boxes_of(raw.values.float(), raw.places, anchors=bool(shape.anchors))
    answer = answers(raw, found, batch, shape)
    total = answer.quality.sum().clamp(min=1.0)
    at = (answer.image, answer.cell)
    parts: dict[str, Tensor] = {}
    if raw.objectness is None:
        wanted = torch.zeros_like(raw.logits)
        wanted[(*at, answer.label)] = answer.quality
        score = functional.binary_cross_entropy_with_logits(raw.logits, wanted, reduction="none").sum(-1)
        # Cells that are sure of nothing weigh little: the many would drown the few (Li et al., arXiv:2008.13367).
        easy = torch.where(wanted.amax(-1) > 0, 1.0, raw.logits.detach().sigmoid().amax(-1).square())
        parts["score"] = (score * easy * ~answer.silent).sum() / total * GAIN["score"]
    else:
        there = torch.zeros_like(raw.objectness)
        there[at] = answer.quality
        score = functional.binary_cross_entropy_with_logits(raw.objectness, there, reduction="none")
        parts["score"] = (score * ~answer.silent).sum() / total * GAIN["score"]
        # Which class it is, is sure: what is exported is the product, so objectness alone says how sure a box is.
        classes = functional.one_hot(answer.label, raw.logits.shape[-1]).float()
        unsure = functional.binary_cross_entropy_with_logits(raw.logits[at], classes, reduction="none").sum(-1)
        parts["class"] = (unsure * answer.quality).sum() / total
    boxes = found[at]
    parts["box"] = ((1 - ciou(boxes, answer.box)) * answer.quality).sum() / total * GAIN["box"]
    if keypoints is not None:
        sides = (answer.box[:, 2:] - answer.box[:, :2]).clamp(min=1.0)
        away = (keypoints[at] - answer.keypoints) / sides[:, None]
        known = away.isfinite().all(-1).all(-1)
        smooth = functional.smooth_l1_loss(away[known], torch.zeros_like(away[known]), beta=0.01, reduction="none")
        parts["points"] = (smooth.mean((1, 2)) * 10 * answer.quality[known]).sum() / total * GAIN["points"]
    return parts
