"""Three ways to learn one embedding: triplets, a yes or no over pairs, a margin between classes.

All see embeddings of unit length, as the runtime compares them. Distances of triplets are squared, as in FaceNet.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.embedding.embedder_batches import Batch
from export.models.embedder import LENGTH
from export.train import Losses

LOSSES = ("triplet", "siamese", "chi-square", "arcface")
MININGS = ("random", "semi-hard", "batch-hard")
MARGIN = 0.2  # between squared distances (FaceNet, arXiv:1503.03832)
ANGLE, STRETCH = 0.3, 24.0  # radians and logit scale of ArcFace; the paper's 0.5 and 64 are for 85,000 people
FAR_OFF = 1e4  # more than any distance


def distances(embeddings: Tensor) -> Tensor:
    """(B, B) squared distances, 0..4, of embeddings (B, D) of unit length."""
    return (2 - 2 * embeddings @ embeddings.T).clamp(min=0)


def masks(people: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) bool: two photos of one person; photos of two people."""
    same = people[:, None] == people
    return same & ~torch.eye(len(people), dtype=torch.bool, device=people.device), ~same


def of_pairs(apart: Tensor, people: Tensor, lots: Tensor, mining: str) -> tuple[Tensor, Tensor]:
    """(T,) distances of each anchor to each of its positives, and to the one negative that is chosen for the two.

    "random": the negative with the highest lot. "semi-hard": the nearest one that is farther than the positive, or the
    farthest of all where none is.
    """
    positive, negative = masks(people)
    anchors, others = positive.nonzero(as_tuple=True)
    near = apart[anchors, others]
    if mining == "random":
        lot = (lots[anchors] + lots[others]) % 1  # another for each pair
        return near, apart[anchors].gather(1, lot.masked_fill(~negative[anchors], -1).argmax(1)[:, None])[:, 0]
    rows = apart[anchors]
    farther = negative[anchors] & (rows > near[:, None])
    nearest = rows.masked_fill(~farther, FAR_OFF).amin(1)
    farthest = rows.masked_fill(~negative[anchors], -FAR_OFF).amax(1)
    return near, torch.where(farther.any(1), nearest, farthest)


def of_anchors(apart: Tensor, people: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) distances of each anchor to its farthest positive and its nearest negative (arXiv:1703.07737)."""
    positive, negative = masks(people)
    return apart.masked_fill(~positive, -FAR_OFF).amax(1), apart.masked_fill(~negative, FAR_OFF).amin(1)


class Triplets(nn.Module):
    """A person's photos are nearer to each other than to anybody else's, by MARGIN."""

    def __init__(self, mining: str) -> None:
        super().__init__()
        self.mining = mining

    def forward(self, embeddings: Tensor, batch: Batch) -> Losses:
        """Mean over triplets; batch-hard takes the logistic form in place of the hinge, as its authors advise.

        With the hinge, and distances that are squared, the hardest triplets pull all faces into one point.
        """
        apart = distances(embeddings)
        if self.mining == "batch-hard":
            near, far = of_anchors((apart + 1e-6).sqrt(), batch.people)
            return {"triplet": functional.softplus(near - far).mean()}
        near, far = of_pairs(apart, batch.people, batch.lots, self.mining)
        return {"triplet": (near - far + MARGIN).relu().mean()}


class Verifier(nn.Module):
    """One logistic unit says whether two faces are one person's (DeepFace, Taigman et al., CVPR 2014, section 4.2).

    "siamese": over |a - b|. "chi-square": over (a - b)^2 / (a + b), which needs numbers that are not negative: each is
    parted into its positive and its negative part (CReLU, arXiv:1603.05201), so none is lost and the embedding that
    is exported keeps its signs.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.unit = nn.Linear(LENGTH if form == "siamese" else 2 * LENGTH, 1)
        nn.init.constant_(self.unit.weight, -0.8)  # strangers are about 12 apart in either form: -4 to begin with,
        nn.init.constant_(self.unit.bias, 6.0)  # and a face and itself 6

    def difference(self, embeddings: Tensor) -> Tensor:
        """(B, B, D) or (B, B, 2 D), not negative, of all pairs."""
        if self.form == "siamese":
            return (embeddings[:, None] - embeddings).abs()
        parts = torch.cat([embeddings, -embeddings], 1).relu()
        return (parts[:, None] - parts).square() / (parts[:, None] + parts + 1e-6)

    def forward(self, embeddings: Tensor, batch: Batch) -> Losses:
        """Cross entropy; pairs of one person weigh as much together as pairs of strangers."""
        positive, negative = masks(batch.people)
        logits = self.unit(self.difference(embeddings))[..., 0]
        same, other = functional.softplus(-logits[positive]).mean(), functional.softplus(logits[negative]).mean()
        return {"entropy": (same + other) / 2}


class ArcFace(nn.Module):
    """A class a person; the angle to the own class has to be smaller by ANGLE than it is (arXiv:1801.07698)."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.randn(people, LENGTH) * 0.1)

    def forward(self, embeddings: Tensor, batch: Batch) -> Losses:
        cosine = (embeddings @ functional.normalize(self.classes).T).clamp(-1 + 1e-6, 1 - 1e-6)
        own = functional.one_hot(batch.people, len(self.classes)).bool()
        angle = cosine.acos()
        # past pi - ANGLE the cosine would rise again: there a straight line goes on, as in the authors' code
        harder = torch.where(angle < math.pi - ANGLE, (angle + ANGLE).cos(), cosine - ANGLE * math.sin(ANGLE))
        return {"arcface": functional.cross_entropy(STRETCH * torch.where(own, harder, cosine), batch.people)}


def head(loss: str, mining: str, people: int) -> nn.Module:
    """What learns beside the network and is not exported."""
    if loss == "triplet":
        return Triplets(mining)
    return ArcFace(people) if loss == "arcface" else Verifier(loss)


class Learner(nn.Module):
    """A network and the head that it learns with."""

    embedder: nn.Module
    head: nn.Module

    def __init__(self, embedder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.embedder, self.head = embedder, head


def loss(module: nn.Module, batch: Batch) -> Losses:
    """What `fit` minimizes."""
    learner = cast(Learner, module)
    losses: Losses = learner.head(functional.normalize(learner.embedder(batch.images)), batch)
    return losses
