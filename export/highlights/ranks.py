"""Do two lists put things into the same order? Kendall's tau-b and Spearman's rho, which both allow for ties.

A score is judged by the order it gives, as Otani et al. (arXiv:1903.11328) found F-scores of summaries to say little.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]


def kendall(a: Values, b: Values) -> float:
    """Tau-b (Kendall, 1945) of two (N,), -1..1; NaN where one of them has a single value."""
    both = pairs_a = pairs_b = 0.0
    for index in range(1, len(a)):  # a row at a time: all pairs of an hour would take a hundred MB
        ordered_a, ordered_b = np.sign(a[index] - a[:index]), np.sign(b[index] - b[:index])
        both += float(ordered_a @ ordered_b)
        pairs_a += np.count_nonzero(ordered_a)
        pairs_b += np.count_nonzero(ordered_b)
    return both / np.sqrt(pairs_a * pairs_b) if pairs_a and pairs_b else np.nan


def spearman(a: Values, b: Values) -> float:
    """Rho of two (N,), -1..1: the correlation of their ranks, ties at their mean rank; NaN as above."""
    one, other = (ranks - ranks.mean() for ranks in map(_ranks, (a, b)))
    length = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / length if length else np.nan


def _ranks(values: Values) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
