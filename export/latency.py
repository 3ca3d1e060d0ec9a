"""How long models take: in turns, so that a shared machine's drift hits all alike.

On a busy machine a run is interrupted for longer than it lasts, so the time that the thread had a core is taken, too:
ratios of that hold where ratios of the clock do not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

ROUNDS = 50
WARM_UP = 3  # rounds that do not count


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one model over all rounds."""

    p50: float
    p95: float
    core: float  # the median of the time that its one thread had a core


def in_turns(runs: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> NDArray[np.float64]:
    """(rounds, N, 2) milliseconds of each of N runs, by the clock and on a core; each round starts with another one."""
    took = np.zeros((rounds + WARM_UP, len(runs), 2))
    for turn, times in enumerate(took):
        for place in range(len(runs)):
            index = (turn + place) % len(runs)
            start = time.perf_counter(), time.thread_time()
            runs[index]()
            times[index] = 1000 * (time.perf_counter() - start[0]), 1000 * (time.thread_time() - start[1])
    return took[WARM_UP:]


def latencies(fed: Sequence[tuple[onnxruntime.InferenceSession, NDArray[Any]]]) -> list[Latency]:
    """The times of each network alone, which has one thread, on a batch that is prepared beforehand."""
    took = in_turns([partial(run.run, None, {run.get_inputs()[0].name: batch}) for run, batch in fed])
    figures = [(*np.percentile(clock, (50, 95)), np.median(core)) for clock, core in took.transpose(1, 2, 0)]
    return [Latency(*(round(float(value), 2) for value in figure)) for figure in figures]
