"""How good an embedder is with people it never saw: pairs, one-shot enrolment, clear faces and small ones."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from export import plots
from export.detector import Array, Image
from export.embedding import verification
from export.embedding.embedder_batches import scaled, small
from export.embedding.face_folders import People
from export.report import Facts, table

SIDE = 16  # px of a small chip: the face in it is some 11 px wide
DRAWS = 200  # of the photos that are enrolled
BATCH = 32
FARS = (1e-2, 1e-3)  # of the table


@dataclass(frozen=True)
class Rating:
    """Over held-out people; `small` are the same faces, SIDE px a chip."""

    clear: verification.Pairs
    small: verification.Pairs
    one_shot: float  # share of clear faces that are nearest to their person's one enrolled face
    one_shot_small: float  # the same of small faces; those enrolled are clear


def embedded(module: nn.Module, chips: Image) -> Array:
    """(N, 128) float32 of unit length for (N, 150, 150, 3) uint8 RGB, by a module in eval mode.

    As `stages.embed` does it: each is the mean of the chip's and of its mirror image's, so the threshold is of those.
    """

    def unit(some: Image) -> Tensor:
        parts = [module(scaled(some[start : start + BATCH])) for start in range(0, len(some), BATCH)]
        return normalize(torch.cat(parts))

    with torch.inference_mode():
        return np.asarray(normalize(unit(chips) + unit(chips[:, :, ::-1])).numpy(), np.float32)


def one_shot(names: NDArray[np.str_], enrolled: Array, probes: Array) -> float:
    """Rank-1 identification with one photo a person, mean over DRAWS of which; both (N, D) of the same N photos.

    Everybody is enrolled, and all other photos are asked for. The seed is fixed.
    """
    random, who = np.random.default_rng(0), np.unique(names, return_inverse=True)[1]
    rows = [np.flatnonzero(who == person) for person in range(who.max() + 1)]
    cosine, right, asked = probes @ enrolled.T, 0, 0
    for _ in range(DRAWS):
        chosen = np.array([random.choice(some) for some in rows])
        others = np.setdiff1d(np.arange(len(who)), chosen)
        right += int((cosine[np.ix_(others, chosen)].argmax(1) == who[others]).sum())
        asked += len(others)
    return right / asked


def rate(module: nn.Module, people: People) -> Rating:
    """All figures of a module in eval mode over the faces of people."""
    names = people.names.tolist()
    clear = embedded(module, people.chips)
    tiny = embedded(module, np.stack([small(chip, SIDE) for chip in people.chips]))
    return Rating(
        verification.pairs(names, clear),
        verification.pairs(names, tiny),
        one_shot(people.names, clear, clear),
        one_shot(people.names, clear, tiny),
    )


def area(found: verification.Pairs) -> float:
    """The share of (genuine, impostor) couples of pairs where the genuine one is more alike: 0.5 is chance."""
    return float(np.searchsorted(found.impostor[::-1], found.genuine).mean() / len(found.impostor))


def rows(name: str, rating: Rating) -> list[list[object]]:
    """Two lines of the table: clear and small."""
    lines: list[list[object]] = []
    for kind, found, rank in (("clear", rating.clear, rating.one_shot), ("small", rating.small, rating.one_shot_small)):
        known = [one for one in verification.rates(found) if one.far in FARS]
        tars = [None if one.tar is None else f"{one.tar:.3f} ({one.low:.3f} to {one.high:.3f})" for one in known]
        lines.append([name, kind, *tars, f"{area(found):.4f}", f"{rank:.3f}"])
    return lines


def compared(ratings: dict[str, Rating]) -> str:
    """The Markdown table."""
    heads = ["network", "faces", *(f"TAR at FAR {far:g} (95% over people)" for far in FARS), "AUC", "one-shot rank 1"]
    return table(heads, [line for name, rating in ratings.items() for line in rows(name, rating)])


def gained(before: Rating, after: Rating) -> str:
    """The Markdown table of what training changed, each face compared with itself."""
    fars = np.array(FARS)
    lines: list[list[object]] = []
    for kind, old, new in (("clear", before.clear, after.clear), ("small", before.small, after.small)):
        gain = verification.accepted(new, fars) - verification.accepted(old, fars)
        low, high = verification.gain_bounds(old, new, fars)
        shown = [f"{g:+.3f} ({a:+.3f} to {b:+.3f})" for g, a, b in zip(gain, low, high, strict=True)]
        lines.append([kind, *shown, f"{area(new) - area(old):+.4f}"])
    heads = ["faces", *(f"TAR gained at FAR {far:g} (95% over people)" for far in FARS), "AUC gained"]
    return table(heads, lines)


def facts(rating: Rating) -> Facts:
    """The same for report.json."""
    return {
        kind: {"rates": [asdict(one) for one in verification.rates(found)], "auc": area(found), "one_shot": rank}
        for kind, found, rank in (
            ("clear", rating.clear, rating.one_shot),
            ("small", rating.small, rating.one_shot_small),
        )
    }


def curves(ratings: dict[str, Rating]) -> plots.Curves:
    """False and true accept rates by network and kind of faces, for plots.draw."""
    lines = {}
    for name, rating in ratings.items():
        for kind, found in (("clear", rating.clear), ("small", rating.small)):
            every = np.concatenate([np.arange(len(found.impostor)) / len(found.impostor), [1.0]])
            lines[f"{name}, {kind}"] = every, verification.accepted(found, every)
    return lines


def threshold(found: verification.Pairs) -> float:
    """The cosine at FAR 1e-3, or at 1e-2 with fewer than a thousand pairs of strangers; the best of fewer than 100."""
    known = [one.threshold for one in verification.rates(found) if one.threshold is not None and one.far in FARS]
    return known[-1] if known else round(float(found.impostor[0]), 4)
