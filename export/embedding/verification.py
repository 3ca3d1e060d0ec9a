"""Are two faces of one person? True accepts at a rate of false ones, with intervals over people and what they rest on.

A pair is accepted above a threshold on the cosine. At a FAR (false accept rate) the threshold is the lowest at which at
most that share of impostor pairs is accepted; TAR is the share of genuine pairs accepted there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.detector import Array
from export.packages import Failed

FARS = (1e-2, 1e-3, 1e-4)
SURE = 0.95  # the confidence of the intervals
RESAMPLES = 1000
THIRTY = 30  # errors that a rate ought to rest on (Doddington et al., Speech Communication 31, 2000)


@dataclass(frozen=True)
class Pairs:
    """The cosines of all pairs of faces, and whose they are."""

    genuine: Array  # (G,) of two faces of one person
    person: NDArray[np.int64]  # (G,) which
    impostor: Array  # (I,) of two people's, the highest first
    people: NDArray[np.int64]  # (I, 2) which two
    count: int  # of people


@dataclass(frozen=True)
class Rate:
    """What holds at one FAR; figures are None where there are fewer impostor pairs than 1 / FAR, so nobody knows."""

    far: float
    accepted: int  # impostor pairs that the threshold may accept
    threshold: float | None = None
    tar: float | None = None
    low: float | None = None  # bounds of TAR over people
    high: float | None = None


def pairs(names: Sequence[str], embeddings: Array) -> Pairs:
    """All pairs of embeddings (N, D) of any length; Failed where no two are one person's, or all are."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    _, who = np.unique(names, return_inverse=True)
    first, second = np.triu_indices(len(names), 1)
    cosine, same = (unit @ unit.T)[first, second], who[first] == who[second]
    if not same.any():
        raise Failed("there is one photo of each person, so no pair of one person's; give two or more of some")
    if same.all():
        raise Failed("all photos are of one person, so there is no pair of strangers; give photos of others, too")
    order = np.argsort(-cosine[~same], kind="stable")
    strangers = np.column_stack([who[first], who[second]])[~same][order]
    return Pairs(cosine[same], who[first][same], cosine[~same][order], strangers, int(who.max()) + 1)


def thresholds(impostor: Array, weights: NDArray[np.float64], fars: NDArray[np.float64]) -> Array:
    """The threshold at each FAR; impostor cosines fall, each counts as often as its weight says."""
    above = np.concatenate([[0.0], weights.cumsum()])  # the weight of those before each, and of all
    places = np.searchsorted(above[:-1], fars * above[-1] + 1e-9, side="right") - 1
    return np.asarray(impostor[places], np.float32)


def accepted(found: Pairs, fars: NDArray[np.float64], times: NDArray[np.int64] | None = None) -> Array:
    """TAR at each FAR where each person is there `times` (P,); NaN where those make no pair of either kind."""
    times = np.ones(found.count, np.int64) if times is None else times
    strangers, weights = times[found.people].prod(1).astype(np.float64), times[found.person].astype(np.float64)
    if not weights.any() or not strangers.any():
        return np.full(len(fars), np.nan, np.float32)
    limits = thresholds(found.impostor, strangers, fars)
    order = np.argsort(-found.genuine)
    above = np.concatenate([[0.0], weights[order].cumsum()]) / weights.sum()
    return np.asarray(above[np.searchsorted(-found.genuine[order], -limits, side="left")], np.float32)


def bounds(found: Pairs, fars: NDArray[np.float64]) -> tuple[Array, Array]:
    """The interval of TAR at each FAR: percentiles over resamples of people, each with a threshold of its own.

    Pairs that share a person are not independent: so it is people who are drawn, with replacement, and each brings its
    pairs (the subsets bootstrap of Bolle, Ratha & Pankanti, CVIU 93, 2004). The seed is fixed.
    """
    return interval(resampled(found, fars))


def gain_bounds(before: Pairs, after: Pairs, fars: NDArray[np.float64]) -> tuple[Array, Array]:
    """The interval of what TAR gains at each FAR, over resamples of the same people in both: the pairs are the same."""
    return interval(resampled(after, fars) - resampled(before, fars))


def resampled(found: Pairs, fars: NDArray[np.float64]) -> Array:
    """(RESAMPLES, F) TAR at each FAR of people who are drawn with replacement."""
    random = np.random.default_rng(0)
    share = np.full(found.count, 1 / found.count)
    return np.stack([accepted(found, fars, random.multinomial(found.count, share)) for _ in range(RESAMPLES)])


def interval(drawn: Array) -> tuple[Array, Array]:
    """What SURE of the rows lie between."""
    tail = 100 * (1 - SURE) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail], axis=0)
    return low, high


def rates(found: Pairs) -> list[Rate]:
    """The rate at each of FARS."""
    fars = np.array(FARS)
    limits = thresholds(found.impostor, np.ones(len(found.impostor)), fars)
    tars, (low, high) = accepted(found, fars), bounds(found, fars)
    result = []
    for index, far in enumerate(FARS):
        allowed = int(far * len(found.impostor) + 1e-9)
        figures = [round(float(values[index]), 4) for values in (limits, tars, low, high)]
        result.append(Rate(far, allowed, *figures) if allowed else Rate(far, 0))
    return result


def verification(names: Sequence[str], embeddings: Array) -> dict[str, float]:
    """TAR and threshold at FAR 1e-2 and 1e-3, the numbers of pairs, and d'.

    With fewer pairs of strangers than 1 / FAR the threshold is the best of them: the FAR that it has is not known.
    """
    found = pairs(names, embeddings)
    genuine, impostor = found.genuine, found.impostor
    fars = np.array(FARS[:2])
    limits = thresholds(impostor, np.ones(len(impostor)), fars)
    result: dict[str, float] = {"genuine_pairs": len(genuine), "impostor_pairs": len(impostor)}
    for far, limit, tar in zip(fars, limits, accepted(found, fars), strict=True):
        result[f"TAR@FAR={far:g}"] = round(float(tar), 4)
        result[f"threshold@FAR={far:g}"] = round(float(limit), 4)
    separation = (genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
    return {**result, "d_prime": round(float(separation), 3)}
