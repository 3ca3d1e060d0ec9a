"""Which moments show again what the reel shows already: a clip that was joined twice, a copy in another file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.highlight.timeline import SECOND, Floats, Moment, Timeline

# A second is a copy of one that is less apart from it (1 - cosine of their looks) than this part of what is between
# that one and the seconds beside it. Where the camera moves, copies that were encoded anew are a fiftieth apart; before
# a fixed camera nothing is as alike as what follows at once, so what happens there at another time is no copy.
COPY = 0.25
MOST = 0.5  # of a moment's seconds: with more copies in it, it is a repeat


class Repeats:
    """Is told what the reel shows, one moment after the other, and tells which of the `pool` repeat some of it."""

    def __init__(self, timelines: Sequence[Timeline], pool: Sequence[Moment]) -> None:
        self._looks = [timeline.look for timeline in timelines]
        self._copies: list[NDArray[np.bool_]] = [np.zeros(len(look), bool) for look in self._looks]
        self._pool = pool
        self._of_video: dict[int, list[int]] = defaultdict(list)
        for place, moment in enumerate(pool):
            self._of_video[moment.video].append(place)
        self.found = np.zeros(len(pool), bool)  # (N,) for each of the pool whether it is a repeat

    def add(self, shown: Moment) -> None:
        """The reel has this one, too."""
        own = _seconds(shown)
        rows, apart = _half_seconds(self._looks[shown.video][own])
        for number, (look, copies) in enumerate(zip(self._looks, self._copies, strict=True)):
            alike: NDArray[np.bool_] = np.any(1 - look @ rows.T < COPY * apart, axis=1)
            if number == shown.video:
                alike[max(0, own.start - 1) : own.stop + 1] = False
            if (alike & ~copies).any():
                np.logical_or(copies, alike, out=copies)
                for place in self._of_video[number]:
                    seconds = copies[_seconds(self._pool[place])]
                    self.found[place] = seconds.sum() > MOST * len(seconds)


def _seconds(moment: Moment) -> slice:
    """Those that are all its own: what is in part of another shot looks like neither."""
    first = -(-moment.start_ns // SECOND)
    return slice(first, max(first, moment.end_ns // SECOND))


def _half_seconds(rows: Floats) -> tuple[Floats, Floats]:
    """(N, D) looks of seconds -> (2N - 1, D) and those between, and how far each is from the next one.

    A copy may begin at another part of a second. Of a single one there is nothing that follows.
    """
    apart = 1 - np.sum(rows[1:] * rows[:-1], axis=1)
    if not len(apart):
        return rows, np.zeros(len(rows), np.float32)
    between = rows[1:] + rows[:-1]
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    nearest = np.minimum(np.append(apart, np.inf), np.append(np.inf, apart))
    return np.concatenate([rows, between]), np.concatenate([nearest, apart]).astype(np.float32)
