"""Who is compared with whom, what comes of it at a threshold, and how sure that is: people are resampled, not pairs.

A genuine comparison is a face against the nearest of the person's other photos, as `Gallery.nearest` has it. An
impostor comparison is a face against one photo of somebody else: against all photos of a person its rate would depend
on how many they have, and strangers have fewer than those who are enrolled. Comparisons that share a person hang
together, so a bootstrap over pairs, or 3/n, promises too much: the bounds here draw people with replacement (Bolle,
Ratha & Pankanti 2004, "subsets bootstrap"), both sides of a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SAME = 0.999  # cosine
LEAST = 3  # impostor comparisons above a threshold, and pairs of people behind them, that can say what its rate is


class Rate(NamedTuple):
    """A share, with 95 % bounds."""

    value: float
    low: float
    high: float


class Comparisons(NamedTuple):
    """All of them: people are 0 to P - 1."""

    genuine: NDArray[np.float32]  # (Ng,) cosine
    genuine_person: NDArray[np.intp]  # (Ng,)
    impostor: NDArray[np.float32]  # (Ni,) cosine, of each pair of faces once
    one: NDArray[np.intp]  # (Ni,) whose the faces are
    other: NDArray[np.intp]  # (Ni,) and the larger of the two
    people: int

    @classmethod
    def of(cls, people: Sequence[NDArray[np.float32]]) -> Comparisons:
        """Everybody, (T, D) of unit length each, against everybody; of themselves the photos but the probe's own.

        The same photo twice, of one person, counts once: compared with itself it would be a true accept.
        """
        people = [_distinct(rows) for rows in people]
        owner = np.repeat(np.arange(len(people)), [len(rows) for rows in people])  # (T,)
        faces = np.concatenate(people)
        near = faces @ faces.T
        one, other = np.nonzero(owner[:, None] < owner)
        impostor = near[one, other]
        np.fill_diagonal(near, -np.inf)
        own = near.max(axis=1, where=owner[:, None] == owner, initial=-np.inf)
        paired = np.isfinite(own)  # somebody with one photo has nothing to be compared with
        return cls(own[paired], owner[paired], impostor, owner[one], owner[other], len(people))

    def threshold(self, rate: float) -> float:
        """The lowest cosine at which at most `rate` of the impostor comparisons are accepted."""
        order = np.sort(self.impostor)[::-1]
        passing = min(int(rate * len(order) + 1e-6), len(order) - 1)  # the rate may be that of a whole number itself
        return float(np.nextafter(order[passing], np.float32(2)))

    def smallest_rate(self) -> float:
        """The smallest rate of a comparison that these can support; 1 where they can support none."""
        order = np.argsort(-self.impostor, kind="stable")
        pairs: set[tuple[int, int]] = set()
        for count, index in enumerate(order.tolist(), 1):
            pairs.add((int(self.one[index]), int(self.other[index])))
            if count >= LEAST and len(pairs) >= LEAST:
                return count / len(order)
        return 1.0

    def nearest(self, count: int) -> list[tuple[float, int, int]]:
        """Cosine and people of the pairs of people that look most alike."""
        found: dict[tuple[int, int], float] = {}
        for index in np.argsort(-self.impostor, kind="stable").tolist():
            found.setdefault((int(self.one[index]), int(self.other[index])), float(self.impostor[index]))
            if len(found) == count:
                break
        return [(near, *pair) for pair, near in found.items()]

    def far(self, threshold: float, resamples: int = RESAMPLES) -> Rate:
        """False accept rate of a comparison."""
        shape = (self.people, self.people)
        place = np.ravel_multi_index((self.one, self.other), shape)
        accepted, tried = (
            np.bincount(place, weights, self.people**2).reshape(shape)
            for weights in (self.impostor >= threshold, np.ones(len(place)))
        )
        drawn = _drawn(self.people, resamples)
        of_drawn = ((drawn @ accepted) * drawn).sum(axis=1) / np.maximum(1, ((drawn @ tried) * drawn).sum(axis=1))
        return _rate(float(accepted.sum() / tried.sum()), of_drawn)

    def tar(self, threshold: float, resamples: int = RESAMPLES) -> Rate:
        """True accept rate of a comparison."""
        accepted = np.bincount(self.genuine_person, self.genuine >= threshold, self.people)
        tried = np.bincount(self.genuine_person, minlength=self.people)
        drawn = _drawn(self.people, resamples)
        of_drawn = (drawn @ accepted) / np.maximum(1, drawn @ tried)
        rate = _rate(float(accepted.sum() / tried.sum()), of_drawn[drawn @ tried > 0])
        if (
            rate.value == 1
        ):  # nobody failed, so none of those drawn did: the rule of three, with people as what is counted
            return rate._replace(low=max(0.0, 1 - 3 / int((tried > 0).sum())))
        return rate


def _distinct(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, D) without those that are like an earlier one to a thousandth."""
    near = np.tril(rows @ rows.T, -1)
    distinct: NDArray[np.float32] = rows[near.max(axis=1, initial=-1) < SAME]
    return distinct


def _drawn(people: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, people): how often each was drawn."""
    random = np.random.default_rng(0)
    return random.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)


def _rate(value: float, of_drawn: NDArray[np.float64]) -> Rate:
    low, high = np.percentile(of_drawn, (2.5, 97.5))
    return Rate(value, float(low), float(high))
