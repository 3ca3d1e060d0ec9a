"""Which moments show again what the reel shows already: a clip that was joined twice, a copy in another file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.highlight.timeline import SECOND, Floats, Moment, Timeline

# A second is a copy of one that is less apart from it (1 - cosine of their looks) than this part of what is between
# that one and the seconds beside it. Where the camera moves, copies that were encoded anew are a fiftieth apart; before
# a fixed camera nothing is as alike as what follows at once, so what happens there at another time is no copy.
COPY = 0.25
STILL = 1e-5  # apart: a picture that stands still tells nothing, as rounding is as much
AT_ONCE = 256  # rows that are compared with all seconds: 37 MB for ten hours
MOST = 0.5  # of a moment's seconds: with more copies in it, it is a repeat


class Repeats:
    """Is told what the reel shows, one moment after the other, and tells which of the `pool` repeat some of it."""

    def __init__(self, timelines: Sequence[Timeline], pool: Sequence[Moment]) -> None:
        self._looks = np.concatenate([timeline.look for timeline in timelines])  # of all seconds of all videos
        self._begins = np.cumsum([0, *(len(timeline.look) for timeline in timelines)])
        self._copies = np.zeros(len(self._looks), bool)
        self._pool = [self._seconds(moment) for moment in pool]
        self.found = np.zeros(len(pool), bool)  # (N,) for each of the pool whether it is a repeat

    def add(self, shown: Moment) -> None:
        """The reel has this one, too."""
        own = self._seconds(shown)
        rows, apart = _half_seconds(self._looks[own])
        alike = np.zeros(len(self._looks), bool)
        for part in (slice(begin, begin + AT_ONCE) for begin in range(0, len(rows), AT_ONCE)):
            alike |= np.any(1 - self._looks @ rows[part].T < COPY * apart[part], axis=1)
        alike[max(0, own.start - 1) : own.stop + 1] = False
        if (alike & ~self._copies).any():
            self._copies |= alike
            copies = np.cumsum([0, *self._copies])
            counts = np.array([(copies[own.stop] - copies[own.start], own.stop - own.start) for own in self._pool])
            self.found = counts[:, 0] > MOST * counts[:, 1]

    def _seconds(self, moment: Moment) -> slice:
        """Those that are all its own: what is in part of another shot looks like neither."""
        first, last = -(-moment.start_ns // SECOND), moment.end_ns // SECOND
        begin = int(self._begins[moment.video])
        return slice(begin + first, begin + max(first, last))


def _half_seconds(rows: Floats) -> tuple[Floats, Floats]:
    """(N, D) looks of seconds -> (2N - 1, D) and those between, and how far each is from those beside it.

    A copy may begin at another part of a second. Where somebody comes into the picture, all that was before and all
    that is after are as near to what is between, so the least counts that is beside it. -1, which nothing is nearer
    than: nothing follows, or the picture stands still.
    """
    apart = 1 - np.sum(rows[1:] * rows[:-1], axis=1)
    if not len(apart):
        return rows, np.full(len(rows), -1, np.float32)
    between = rows[1:] + rows[:-1]
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    nearest = np.minimum(np.append(apart, np.inf), np.append(np.inf, apart))
    beside = np.concatenate([nearest, np.minimum(nearest[1:], nearest[:-1])]).astype(np.float32)
    return np.concatenate([rows, between]), np.where(beside < STILL, np.float32(-1), beside)
