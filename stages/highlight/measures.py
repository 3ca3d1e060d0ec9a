"""What an evaluation says: no figure of ours without that of random scorers beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.errors import Usage
from stages.highlight.scored import Doubles

RESAMPLED = 2000  # times that the videos are drawn anew
BOUNDS = (0.025, 0.975)  # of intervals of 95 %


class Figure(msgspec.Struct, frozen=True):
    """A mean and the interval of 95 % around it."""

    value: float
    low: float | None  # None where there is one video only: it says nothing of others
    high: float | None


class Measure(msgspec.Struct, frozen=True):
    """One measure of our scores, and of the same for comparison."""

    ours: Figure  # interval: bootstrap over videos
    random: Figure  # interval: of the mean over the videos, among random scorers
    people: Figure | None  # of one annotator against the others; interval: bootstrap over videos


class Report(msgspec.Struct, frozen=True):
    """What our scores came to on a dataset."""

    dataset: str
    videos: int  # that were compared
    of: int  # that the dataset's file has
    compared: int  # queries of QVHighlights; else the videos
    annotators: tuple[int, int]  # of a video: the fewest and the most
    measures: dict[str, Measure]
    note: str  # what has to be known to read the figures


class Trial(NamedTuple):
    """A measure of one video, or of one query for it."""

    ours: float
    random: Doubles  # (DRAWS,) of each random scorer
    people: float | None = None


class Compared(NamedTuple):
    """What one video, or one query for it, came to."""

    video: str
    annotators: int
    trials: dict[str, Trial]  # by measure: the same ones for all


def report(dataset: str, note: str, of: int, found: Iterable[Compared]) -> Report:
    """Put together what was found on a dataset of so many videos. Raises Usage where that is nothing."""
    compared = list(found)
    if not compared:
        raise Usage(
            f"none of the {of} videos of {dataset} has scores here: a file is to be called like its video there"
        )
    videos = [one.video for one in compared]
    measures = {name: _measure([one.trials[name] for one in compared], videos) for name in compared[0].trials}
    counts = [one.annotators for one in compared]
    return Report(dataset, len(set(videos)), of, len(compared), (min(counts), max(counts)), measures, note)


def _measure(trials: list[Trial], videos: list[str]) -> Measure:
    """The means over all trials."""
    random = np.mean([trial.random for trial in trials], axis=0)  # (DRAWS,)
    people = [trial.people for trial in trials if trial.people is not None]
    return Measure(
        _bootstrapped(np.array([trial.ours for trial in trials]), videos),
        Figure(float(random.mean()), *np.quantile(random, BOUNDS).tolist()),
        _bootstrapped(np.array(people), videos) if len(people) == len(trials) else None,
    )


def _bootstrapped(values: Doubles, videos: list[str]) -> Figure:
    """The mean of values, and its percentile interval (Efron 1979) when whole videos are drawn anew."""
    _, owner = np.unique(videos, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    if len(sums) == 1:
        return Figure(float(values.mean()), None, None)
    times = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLED)
    return Figure(float(values.mean()), *np.quantile(times @ sums / (times @ counts), BOUNDS).tolist())
