"""A detector looks at the training picture itself: what it still sees there is what can be learned.

A face that was made small, blurred or half hidden may show nothing any more; its label would teach to see faces in
nothing. And what nobody labelled may be a face. So the witness's score is what the score is to become (soft labels:
Hinton et al., arXiv:1503.02531), its points are what the points are to become (the label's are of the face at its full
size, which nobody can find to the pixel in a small one), and where it sees what no label says, nothing is taught.
"""

from collections.abc import Iterable

import torch
from torch import nn

from export.decode import decode
from export.detection.augment import Batch
from export.detection.yolo_loss import pairwise_iou
from export.models.yolo import Yolo, presence

MATCH = 0.3  # IoU from which on the witness sees what is labelled; small boxes are labelled within a pixel or two
DOUBT = 0.15  # a label that scores less is neither a face nor background, and so is a place without a label above it


@torch.no_grad()
def witnessed(network: nn.Module, batch: Batch) -> Batch:
    """The batch with what a CenterFace says of its pictures."""
    boxes, scores, _, points = decode(*network(batch.images.float().contiguous(memory_format=torch.channels_last)))
    out = Batch(batch.images, [], [], [], [], [])
    for index, labelled in enumerate(batch.boxes):
        likely = scores[index] > DOUBT
        found, score, seen_points = (x[index][likely] for x in (boxes, scores, points))
        same = pairwise_iou(labelled, found) > MATCH
        seen, keypoints = labelled.new_zeros(len(labelled)), batch.keypoints[index]
        if len(score):
            seen, best = (same * score).max(1)
            keypoints = torch.where((seen > 0)[:, None, None], seen_points[best], keypoints)
        more = found[~same.any(0)]
        unknown, none = more.new_full((len(more), 5, 2), torch.nan), more.new_zeros(len(more))
        out.boxes.append(torch.cat((labelled, more)))
        out.keypoints.append(torch.cat((keypoints, unknown)))
        out.classes.append(torch.cat((batch.classes[index], none.long())))
        out.ignored.append(torch.cat((batch.ignored[index] | (seen < DOUBT), none == 0)))
        out.scores.append(torch.cat((seen, none)))
    return out


@torch.no_grad()
def level(yolo: Yolo, network: nn.Module, batches: Iterable[Batch]) -> float:
    """What to add to the logits of `yolo`'s scores, so that faces score on average what a CenterFace says of them.

    Who learns which of some cells is to answer is less sure of each than of the face. This is Platt's scaling (1999)
    with the slope 1, so a threshold means the same in both networks.
    """
    peaks, scores = [], []
    for batch in batches:
        said = witnessed(network, batch)
        raw = yolo(batch.images.float().contiguous(memory_format=torch.channels_last))
        found, there = yolo.boxes(raw)[0], presence(raw)[..., 0]
        for index, ignored in enumerate(said.ignored):
            near = pairwise_iou(said.boxes[index][~ignored], found[index]) > MATCH
            seen = near.any(1)
            peaks.append(there[index].masked_fill(~near, -torch.inf).amax(1)[seen])
            scores.append(said.scores[index][~ignored][seen])
    peak, score, shift = torch.cat(peaks).double(), torch.cat(scores).double(), torch.zeros((), dtype=torch.float64)
    for _ in range(20):  # Newton's steps; the sum of the entropies is convex in the shift
        chance = (peak.cpu() + shift).sigmoid()
        step = (score.cpu() - chance).sum() / (chance * (1 - chance)).sum().clamp(min=1e-9)
        shift += step.clamp(-1, 1)  # far away a full step would overshoot
    return float(shift)
