"""QVHighlights (Lei et al., NeurIPS 2021): do our highest scores lie where people see a highlight?

A line of JSON is a query about a video: the clips of 2 seconds that are relevant to it, and the scores of 0 (very bad)
to 4 (very good) that three annotators gave each of them; the other clips count as 0. The split `test` has no scores.

Measured as the dataset's own evaluation does. A clip is positive for an annotator from a score on (2, 3 or 4). HIT@1:
the clip with our highest score is positive for one annotator or more. mAP: mean over annotators and queries of the
interpolated average precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.errors import Usage
from stages.highlight.annotations import lines
from stages.highlight.measures import Compared, Report, Trial, report
from stages.highlight.scored import Doubles, Scored

CLIP = 2  # seconds
POSITIVE = {"HL-min-Fair": 2, "HL-min-Good": 3, "HL-min-VeryGood": 4}
OTHER = 0.05  # of its length: a video that differs by more is another one
NOTE = (
    "Our scores do not know the query. An annotator with no clip that is good enough counts as an average precision "
    "of 0, as in the dataset's own evaluation: the best possible mAP may be below 1."
)
Score = Annotated[int, Meta(ge=0, le=4)]


class Query(msgspec.Struct, frozen=True):
    """A line of the file, as far as it is asked for."""

    vid: str
    duration: Annotated[float, Meta(ge=CLIP)]  # seconds
    relevant_clip_ids: list[Annotated[int, Meta(ge=0)]]
    saliency_scores: list[tuple[Score, Score, Score]]  # of each relevant clip, by three annotators

    def clips(self) -> NDArray[np.int64]:
        """(C, 3) the scores of all clips."""
        found = np.zeros((int(self.duration / CLIP), 3), np.int64)
        found[self.relevant_clip_ids] = np.array(self.saliency_scores, np.int64).reshape(-1, 3)
        return found


def compared(path: Path, videos: dict[str, Scored], shown: Callable[[list[Query]], Iterable[Query]]) -> Report:
    """Compare our scores with a file's. Raises Usage."""
    queries, of = _read(path, videos)
    rng = np.random.default_rng(0)
    return report("QVHighlights", NOTE, of, (_compared(videos[query.vid], query, rng) for query in shown(queries)))


def average_precision(scores: Doubles, positive: NDArray[np.bool_]) -> Doubles:
    """(L,) the interpolated average precision of a ranking by (C,) scores, for each column of (C, L) labels.

    At each recall the best precision at that recall or more; the mean over the scores at which recall rises. Clips of
    the same score are taken together. 0 where nothing is positive.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of each score
    hits = positive[order].cumsum(0)[last]
    precision = hits / (last + 1)[:, None]
    best = np.maximum.accumulate(precision[::-1])[::-1]
    rises = np.diff(hits, axis=0, prepend=0) > 0
    return np.asarray((best * rises).sum(0) / np.maximum(rises.sum(0), 1))


def by_clip(scores: Doubles, clips: int) -> Doubles:
    """(M, clips) the mean of (M, T) scores a second in each clip; 0 after the last second."""
    covered = scores[:, : clips * CLIP]
    begins = np.arange(0, covered.shape[1], CLIP)
    means = np.add.reduceat(covered, begins, axis=1) / np.diff(begins, append=covered.shape[1])
    return np.pad(means, ((0, 0), (0, clips - means.shape[1])))


def _compared(video: Scored, query: Query, rng: np.random.Generator) -> Compared:
    theirs = query.clips()
    ours = by_clip(video.scores(rng), len(theirs))  # (1 + DRAWS, C)
    positive = theirs[:, None, :] >= np.array([*POSITIVE.values()])[:, None]  # (C, thresholds, 3)
    labels = positive.reshape(len(theirs), -1)
    precision = np.array([average_precision(row, labels) for row in ours]).reshape(len(ours), len(POSITIVE), 3).mean(2)
    hit = positive[ours.argmax(1)].any(2).astype(float)  # (1 + DRAWS, thresholds)
    trials = {}
    for index, name in enumerate(POSITIVE):
        for title, found in ((f"{name} mAP", precision[:, index]), (f"{name} HIT@1", hit[:, index])):
            trials[title] = Trial(float(found[0]), found[1:])
    return Compared(video.name, theirs.shape[1], trials)


def _read(path: Path, videos: dict[str, Scored]) -> tuple[list[Query], int]:
    """The queries about our videos, and how many videos there are. Raises Usage."""
    found, seen = [], set()
    for where, line in lines(path):
        try:
            query = msgspec.json.decode(line, type=Query)
        except msgspec.DecodeError as error:
            raise Usage(f"{where}: no query with relevant_clip_ids and saliency_scores: {error}") from error
        _check(where, query, videos.get(query.vid))
        seen.add(query.vid)
        if query.vid in videos:
            found.append(query)
    return found, len(seen)


def _check(where: str, query: Query, video: Scored | None) -> None:
    """Raises Usage where clips and scores do not fit together, or the query is about another video than ours."""
    ids = query.relevant_clip_ids
    if len(ids) != len(query.saliency_scores):
        raise Usage(f"{where}: {len(ids)} relevant_clip_ids and {len(query.saliency_scores)} saliency_scores")
    if ids and max(ids) >= int(query.duration / CLIP):
        raise Usage(f"{where}: clip {max(ids)} is not in a video of {query.duration:g} seconds")
    if video and abs(video.duration - query.duration) > OTHER * query.duration:
        lasts = f"{video.path} lasts {video.duration:g} seconds, and {query.duration:g} there"
        raise Usage(f"{where}: {lasts}: it is to be the same video")
