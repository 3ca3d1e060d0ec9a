"""SumMe (Gygli et al., ECCV 2014): do our summaries show what people chose?

Its folder `GT` has a file in MATLAB's format 5 for each video, called like it. `user_score` in it is (frames,
annotators), and not 0 where an annotator has the frame in their summary. The measure is F1 with the annotator who is
nearest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pipeline.errors import Usage
from stages.highlight import summaries
from stages.highlight.annotations import check_frames
from stages.highlight.measures import Compared, Report, report
from stages.highlight.scored import Scored


def compared(
    folder: Path, videos: dict[str, Scored], shots: bool, shown: Callable[[list[str]], Iterable[str]]
) -> Report:
    """Compare our summaries, of shots or of 2 seconds, with those in a folder. Raises Usage."""
    files = {path.stem: path for path in sorted(folder.glob("*.mat"))}
    if not files:
        raise Usage(f"there is no .mat file in {folder}: give the folder GT of SumMe")
    rng = np.random.default_rng(0)
    names = [name for name in files if name in videos]
    found = (_compared(videos[name], files[name], shots, rng) for name in shown(names))
    return report("SumMe", summaries.NOTE, len(files), found)


def _compared(video: Scored, path: Path, shots: bool, rng: np.random.Generator) -> Compared:
    theirs = _read(path)
    frames = theirs.shape[1]
    check_frames(str(path), frames, video)
    first = summaries.begins(video, frames, shots)
    scores = video.scores(rng)[:, video.seconds(frames)]
    trial = summaries.trial(scores, first, np.add.reduceat(theirs, first, axis=1), np.max)
    return Compared(video.name, len(theirs), {summaries.F1: trial})


def _read(path: Path) -> summaries.Counts:
    """(A, frames) 1 where an annotator has the frame, else 0. Raises Usage."""
    from scipy.io import loadmat  # half a second, which nothing else waits for
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path, variable_names=["user_score"])["user_score"]
    except (OSError, LookupError, ValueError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
        raise Usage(f"{path} is none of SumMe's files: it is to have user_score, in MATLAB's format 5") from error
    if found.ndim != 2 or not found.size or not np.issubdtype(found.dtype, np.number):
        raise Usage(f"{path}: user_score is to be a table of numbers, frames by annotators")
    return np.asarray(found.T != 0, np.int64)
