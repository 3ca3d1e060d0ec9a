"""TVSum (Song et al., CVPR 2015): do our scores rank the frames of a video as people do?

`ydata-tvsum50-anno.tsv` has a line for each annotator of a video: its id, a category, and a score of 1 to 5 for each
frame, with commas; tabs lie between them. The same in MATLAB's format (`ydata-tvsum50.mat`) is not read.

Measured as Otani et al. (CVPR 2019) do: Kendall's tau-b and Spearman's rho over the frames, with each annotator, mean
over annotators, then over videos; for people, of each annotator with the others. No rate of frames is asked for: the
scores of a line fill the video evenly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from itertools import combinations
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Usage
from stages.highlight import summaries
from stages.highlight.annotations import check_frames, lines
from stages.highlight.measures import Compared, Report, Trial, report
from stages.highlight.scored import Doubles, Scored

LEVELS = 5
SCORES = re.compile(r"[1-5](,[1-5])*")
Levels = NDArray[np.int64]


def compared(path: Path, videos: dict[str, Scored], shots: bool, shown: Callable[[list[str]], Iterable[str]]) -> Report:
    """Compare our scores with a file's; summaries are of shots or of 2 seconds. Raises Usage."""
    rows, of = _read(path, videos)
    rng = np.random.default_rng(0)
    for video, (where, theirs) in rows.items():
        check_frames(where, len(theirs[0]), videos[video])
    found = (_compared(videos[video], np.array(rows[video][1]), shots, rng) for video in shown(list(rows)))
    return report("TVSum", summaries.NOTE, of, found)


def correlations(one: Levels, other: Levels) -> Doubles:
    """Kendall's tau-b and Spearman's rho of two (N,) arrays of whole numbers from 0; 0 where one of them is constant.

    Out of the table that counts the pairs of values (Kendall, Biometrika 1945): of 18000 frames it takes a twentieth
    of the time that scipy.stats needs, and there are a hundred random scorers.
    """
    width = int(other.max()) + 1
    table = np.bincount(one * width + other, minlength=(int(one.max()) + 1) * width).reshape(-1, width).astype(float)
    count, rows, columns = len(one), table.sum(1), table.sum(0)
    apart = (count**2 - rows @ rows) * (count**2 - columns @ columns) / 4  # pairs without a tie in one, and in other
    if not apart:
        return np.zeros(2)
    x, y = (half.cumsum() - half / 2 - count / 2 for half in (rows, columns))  # ranks, from the middle
    tau = (_concordant(table) - _concordant(table[:, ::-1])) / sqrt(apart)
    return np.array([tau, x @ table @ y / sqrt((rows @ x**2) * (columns @ y**2))])


def _concordant(table: Doubles) -> float:
    """How many pairs have more of both."""
    below = table.cumsum(0).cumsum(1)
    return float((table[1:, 1:] * below[:-1, :-1]).sum())


def _compared(video: Scored, theirs: Levels, shots: bool, rng: np.random.Generator) -> Compared:
    """One video with its (A, frames) levels."""
    scores, seconds = video.scores(rng), video.seconds(theirs.shape[1])
    ranks = [np.unique(score, return_inverse=True)[1][seconds] for score in scores]
    ours = np.mean([[correlations(rank, one) for one in theirs] for rank in ranks], axis=1)  # (1 + DRAWS, 2)
    pairs = [correlations(one, other) for one, other in combinations(theirs, 2)]
    people = np.mean(pairs, axis=0).tolist() if pairs else (None, None)
    trials = {
        name: Trial(float(column[0]), column[1:], human)
        for name, column, human in zip(("Kendall tau-b", "Spearman rho"), ours.T, people, strict=True)
    }
    first = summaries.begins(video, theirs.shape[1], shots)
    chosen = summaries.selected(theirs.astype(float), first)
    trials[summaries.F1] = summaries.trial(scores[:, seconds], first, chosen, np.mean)
    return Compared(video.name, len(theirs), trials)


def _read(path: Path, wanted: Container[str]) -> tuple[dict[str, tuple[str, list[Levels]]], int]:
    """Of each wanted video where it begins, and levels 0..4, a row an annotator; and how many videos there are."""
    found: dict[str, tuple[str, list[Levels]]] = {}
    seen = set()
    for where, line in lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            raise Usage(f"{where}: a video, a category and its scores are to stand there, with tabs between them")
        video, _, scores = columns
        seen.add(video)
        if not SCORES.fullmatch(scores):
            raise Usage(f"{where}: the scores of {video} are to be whole numbers from 1 to {LEVELS}, with commas")
        if video in wanted:
            row = np.frombuffer(scores.encode(), np.uint8)[::2].astype(np.int64) - ord("1")
            _, rows = found.setdefault(video, (where, []))
            rows.append(row)
            if len(row) != len(rows[0]):
                raise Usage(f"{where}: {len(row)} scores of {video}, and {len(rows[0])} in the first line about it")
    return found, len(seen)
