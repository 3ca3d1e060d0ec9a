"""Where one moment ends and the next begins: at shot changes, in pauses of speech, where little happens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.highlight.timeline import SECOND, Floats, Moment, Scores, Timeline

SHORTEST_NS, USUAL_NS, LONGEST_NS = 2 * SECOND, 5 * SECOND, 10 * SECOND
STEP_NS = SECOND // 4  # the shortest pause has one of these in it
# What a bound costs, beside the score there: nothing at a shot change, little in a pause, much in the middle of a word.
IN_PAUSE, IN_SPEECH, CUT_INSIDE = 0.3, 1.3, 1.0
OF_LENGTH = 0.5  # for a moment that is SHORTEST or, in the other direction, as far from USUAL
TOO_SHORT = 10.0
# For a second whose score is 1 off the moment's mean, squared: what is worth seeing is apart from the rest.
SPREAD = 10.0


class Course:
    """A quantity of each second, (T,) or (T, D), and its mean over any stretch of time."""

    def __init__(self, values: Floats) -> None:
        self._sums = np.concatenate(
            [np.zeros_like(values[:1], np.float64), np.cumsum(values, axis=0, dtype=np.float64)]
        )

    def mean(self, start_ns: int, end_ns: int) -> NDArray[np.float64]:
        """Over [start, end); a scalar, or (D,)."""
        begin, end = self._until(start_ns), self._until(end_ns)
        return np.asarray((end - begin) / ((end_ns - start_ns) / SECOND))

    def _until(self, at_ns: int) -> NDArray[np.float64]:
        last = len(self._sums) - 1
        whole = min(at_ns // SECOND, last)
        part = at_ns / SECOND - whole if whole < last else 0.0
        return np.asarray(self._sums[whole] + part * (self._sums[min(whole + 1, last)] - self._sums[whole]))


def describe(number: int, scores: Scores) -> Callable[[int, int, bool], Moment]:
    """What makes a stretch [start, end) of video `number` a Moment, with its score and where that comes from."""
    score, shares = Course(scores.score), {name: Course(share) for name, share in scores.shares.items()}

    def moment(start_ns: int, end_ns: int, must: bool = False) -> Moment:
        parts = {name: round(float(course.mean(start_ns, end_ns)), 4) for name, course in shares.items()}
        why = dict(sorted(((name, part) for name, part in parts.items() if part > 0), key=lambda item: -item[1]))
        return Moment(number, start_ns, end_ns, float(score.mean(start_ns, end_ns)), why, must)

    return moment


def divide(timeline: Timeline, score: Floats, bounds_ns: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """(N + 1,) ns: where the N moments of a video begin and end, from 0 to its length.

    They are the cheapest of all ways to divide it, by dynamic programming. `bounds_ns` are the places that may be
    bounds, where not all may: the key frames of a file that is cut without encoding it again.
    """
    length = timeline.video.duration_ns
    cuts = timeline.cuts_ns[(timeline.cuts_ns > 0) & (timeline.cuts_ns < length)]
    if bounds_ns is None:
        bounds_ns = np.union1d(np.arange(0, length, STEP_NS, dtype=np.int64), cuts)
    points = np.union1d(bounds_ns[(bounds_ns >= 0) & (bounds_ns < length)], np.array([0, length], np.int64))
    at_point = _cost_of_bounds(points, timeline, score)
    sums, squares = _until(points, score), _until(points, np.square(score))
    passed = np.searchsorted(cuts, points, "right")  # cuts up to and with each point
    before = np.searchsorted(cuts, points, "left")
    best, back = np.zeros(len(points)), np.zeros(len(points), np.int64)
    for end in range(1, len(points)):
        first = min(end - 1, int(np.searchsorted(points, points[end] - LONGEST_NS)))
        lengths = points[end] - points[first:end]
        inside = before[end] - passed[first:end]
        spread = squares[end] - squares[first:end] - (sums[end] - sums[first:end]) ** 2 / (lengths / SECOND)
        costs = best[first:end] + _cost_of_length(lengths) + CUT_INSIDE * inside + SPREAD * spread
        chosen = int(np.argmin(costs))
        best[end], back[end] = costs[chosen] + at_point[end], first + chosen
    found = [len(points) - 1]
    while found[-1]:
        found.append(int(back[found[-1]]))
    return points[found[::-1]]


def _until(points: NDArray[np.int64], values: Floats) -> NDArray[np.float64]:
    """The sum of the values of each second up to each point."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(np.interp(points / SECOND, np.arange(len(sums)), sums), np.float64)


def quiet_before(timeline: Timeline, at_ns: int, least_ns: int) -> int:
    """The last pause in speech or shot change up to `at_ns`, and not before `least_ns`; `at_ns` where there is none."""
    pauses = timeline.pauses_ns[timeline.pauses_ns[:, 0] <= at_ns]
    points = np.concatenate([np.minimum(pauses[:, 1], at_ns), timeline.cuts_ns[timeline.cuts_ns <= at_ns]])
    last = int(points.max(initial=-1))
    return last if last >= least_ns else at_ns


def quiet_after(timeline: Timeline, at_ns: int, most_ns: int) -> int:
    """The first pause in speech or shot change from `at_ns` on, up to `most_ns`; `at_ns` where there is none."""
    pauses = timeline.pauses_ns[timeline.pauses_ns[:, 1] > at_ns]
    points = np.concatenate([np.maximum(pauses[:, 0], at_ns), timeline.cuts_ns[timeline.cuts_ns >= at_ns]])
    first = int(points.min(initial=most_ns + 1))
    return first if first <= most_ns else at_ns


def _cost_of_bounds(points: NDArray[np.int64], timeline: Timeline, score: Floats) -> NDArray[np.float64]:
    seconds = np.minimum(points // SECOND, timeline.seconds - 1)
    worth = score[seconds].astype(np.float64)
    number = np.searchsorted(timeline.pauses_ns[:, 0], points, "right") - 1
    pausing = (number >= 0) & (points < np.append(timeline.pauses_ns[:, 1], 0)[number])
    costs = worth + np.where(pausing, IN_PAUSE, IN_SPEECH)
    costs[np.isin(points, timeline.cuts_ns)] = 0
    return costs


def _cost_of_length(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    off = (lengths - USUAL_NS) / (USUAL_NS - SHORTEST_NS)
    return OF_LENGTH * off**2 + np.where(lengths < SHORTEST_NS, TOO_SHORT, 0.0)
