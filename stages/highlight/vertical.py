"""A 9:16 cut-out that follows the action: as still as it can be, and never a jump inside a shot."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stages.highlight.timeline import SECOND, Moment, Timeline

SHAPE = 9 / 16  # width to height
TALLEST = 1920  # pixels
STILL = 0.5  # of the cut-out's width: action that stays within it is watched without a pan
STEP_S = 0.1
CALM_S = 1.0  # sigma of the Gaussian that smooths a pan
FASTEST = 0.25  # of the picture's width, a second

Doubles = NDArray[np.float64]


def crop_path(timeline: Timeline, moment: Moment) -> Callable[[int], float]:
    """The centre of the cut-out across the picture, 0..1, at a time of the moment, ns from the video's first frame.

    The cut-out has the full height and never leaves the picture; one that is wider than the picture stands in its
    middle. Its centre jumps only where a shot begins.
    """
    video = timeline.video
    width = min(1.0, SHAPE * video.height / video.width)
    cuts = [int(cut) for cut in timeline.cuts_ns if moment.start_ns < cut < moment.end_ns]
    edges = [moment.start_ns, *cuts, moment.end_ns]
    shots = [_shot(timeline.centre, begin / SECOND, end / SECOND, width) for begin, end in pairwise(edges)]

    def centre(at_ns: int) -> float:
        times, path = shots[int(np.searchsorted(cuts, at_ns, "right"))]
        return float(np.interp(at_ns / SECOND, times, path))

    return centre


def _shot(action: NDArray[np.float32], begin_s: float, end_s: float, width: float) -> tuple[Doubles, Doubles]:
    """(N,) times, s, and (N,) centres of a cut-out of `width` for `action`, one a second, within a shot."""
    times = np.arange(begin_s, end_s + STEP_S, STEP_S)
    middles = np.arange(len(action)) + 0.5
    seen = (middles >= begin_s) & (middles < end_s) & np.isfinite(action)
    if not seen.any():  # shorter than a second, or empty: what is known of the second it is in
        seen = (middles == np.floor((begin_s + end_s) / 2) + 0.5) & np.isfinite(action)
    lowest, highest = (float(pick(action[seen])) for pick in (np.min, np.max)) if seen.any() else (0.5, 0.5)
    if highest - lowest <= STILL * width:
        path = np.full(len(times), (lowest + highest) / 2)
    else:
        path = _slowed(_smoothed(np.interp(times, middles[seen], action[seen])))
    return times, np.clip(path, width / 2, 1 - width / 2)


def _smoothed(path: Doubles) -> Doubles:
    """A Gaussian over it; both ends go on as they come, so that a steady pan stays one."""
    reach = int(3 * CALM_S / STEP_S)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_S / CALM_S) ** 2)
    return np.convolve(np.pad(path, reach, "reflect", reflect_type="odd"), kernel / kernel.sum(), "valid")


def _slowed(path: Doubles) -> Doubles:
    """Nowhere faster than FASTEST: as late as it is early, as the mean of one that lags and one that leads."""
    return (_lagging(path) + _lagging(path[::-1])[::-1]) / 2


def _lagging(path: Doubles) -> Doubles:
    slowed = path.copy()
    for i in range(1, len(path)):
        slowed[i] = np.clip(path[i], slowed[i - 1] - FASTEST * STEP_S, slowed[i - 1] + FASTEST * STEP_S)
    return slowed
