"""F1 of summaries, with that of random scores through the very same selection.

The protocol of TVSum and SumMe (Zhang et al., ECCV 2016): the segments of a video with the highest mean scores that fit
into 15 % of it, by the 0/1 knapsack problem; their frames against those that each annotator chose. Most of what comes
out is the segments' doing: random summaries reach the F1 of published methods, and often of people (Otani et al., CVPR
2019). Those were made with other segments (KTS): figures are not to be compared across segments.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.highlight.measures import Trial
from stages.highlight.scored import Doubles, Scored

SHARE = 0.15  # of the video, for a summary
SEGMENT = 2.0  # seconds
F1 = "F1"
NOTE = (
    "F1 is to be read against the random one only: random summaries reach the F1 of published methods on TVSum and "
    "SumMe (Otani et al., CVPR 2019)."
)
Counts = NDArray[np.int64]


def begins(video: Scored, frames: int, shots: bool) -> Counts:
    """(S,) the first frame of each segment, of 2 seconds or of our shots, where the video has so many frames."""
    bounds = np.array([0.0, *video.cuts]) if shots else np.arange(0, video.duration, SEGMENT)
    found = np.unique(np.ceil(bounds * frames / video.duration - 1e-9).astype(np.int64))
    return found[found < frames]


def selected(scores: Doubles, first: Counts) -> Counts:
    """(M, S) how many frames of each segment, all or none, each of (M, frames) scores chooses; `first` as of begins."""
    sizes = np.diff(first, append=scores.shape[1])
    values = np.add.reduceat(scores, first, axis=1) / sizes
    return np.array([knapsack(row, sizes, int(SHARE * scores.shape[1])) for row in values]) * sizes


def knapsack(values: Doubles, sizes: Counts, capacity: int) -> NDArray[np.bool_]:
    """(S,) which things to take: of all that fit into the capacity together, those of the highest value."""
    best = np.zeros(capacity + 1)  # the value of the things so far, for each capacity
    taken = np.zeros((len(sizes), capacity + 1), np.bool_)
    for thing, (value, size) in enumerate(zip(values, sizes, strict=True)):
        if size <= capacity:
            with_it = best[: capacity + 1 - size] + value
            taken[thing, size:] = with_it > best[size:]
            best[size:] = np.maximum(with_it, best[size:])
    chosen = np.zeros(len(sizes), np.bool_)
    for thing in range(len(sizes))[::-1]:
        chosen[thing] = taken[thing, capacity]
        capacity -= int(sizes[thing]) * int(chosen[thing])
    return chosen


def f1(ours: Counts, theirs: Counts) -> Doubles:
    """(M, A) F1 of (M, S) and (A, S) frames chosen of each segment, ours all of it or none; 0 where nothing is."""
    together = np.minimum(ours[:, None], theirs).sum(2)
    return np.asarray(2 * together / np.maximum(ours.sum(1)[:, None] + theirs.sum(1), 1))


def trial(scores: Doubles, first: Counts, theirs: Counts, over_annotators: Callable[[Doubles, int], Doubles]) -> Trial:
    """F1 of (1 + DRAWS, frames) scores, ours first, against (A, S) frames of each segment that annotators chose.

    `over_annotators` is np.mean (TVSum) or np.max (SumMe).
    """
    ours, *random = over_annotators(f1(selected(scores, first), theirs), 1)
    return Trial(float(ours), np.array(random))
