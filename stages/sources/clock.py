"""Time of live streams: stamps that keep rising, when a picture is due, how late one is, and whether they pile up."""

from __future__ import annotations

import time
from fractions import Fraction

from stages.sources.picture import SECOND, nanoseconds

JUMP_NS = 10 * SECOND  # more than this between two frames is a new time line, not a pause
LATE_S = 0.5
STEP_NS = SECOND // 4  # a longer pause before a time that tells nothing is one in which pictures were held back


class LiveClock:
    """The stream's own time, moved where needed so that it keeps rising over losses and jumps."""

    def __init__(self, last_ns: int | None) -> None:
        self._last_ns = last_ns  # what was stamped last
        self._seen_ns = time.monotonic_ns()  # when
        self.offset_ns: int | None = 0 if last_ns is None else None  # to the stream's time; None: take a new one
        self._anchor: float | None = None  # time.monotonic() of pts 0

    def reconnect(self) -> None:
        """A new connection counts from anywhere."""
        if self._last_ns is not None:
            self.offset_ns = None
        self._anchor = None

    def stamp(self, pts: int | None, base: Fraction | None, now: int) -> int:
        """The time of the frame that came `now` (time.monotonic_ns()), ns: strictly more than the one before."""
        last = self._last_ns
        expected = next_ = 0
        if last is not None:
            passed = max(now - self._seen_ns, 1)
            expected, next_ = last + passed, last + min(passed, STEP_NS)
        stamped = next_
        if pts is not None and base is not None:
            own = nanoseconds(pts, base)
            if self.offset_ns is None:
                self.offset_ns = expected - own
            stamped = own + self.offset_ns
            if last is not None and not last < stamped < expected + JUMP_NS:
                self.offset_ns = next_ - own
                stamped = next_
        self._last_ns, self._seen_ns = stamped, now
        return stamped

    def until_due(self, pts_ns: int) -> float:
        """Seconds until a picture is due if pictures are to follow each other as their times say; 0 for late ones."""
        now = time.monotonic()
        if self._anchor is None or now - (self._anchor + pts_ns / SECOND) > LATE_S:
            self._anchor = now - pts_ns / SECOND
        return max(0.0, self._anchor + pts_ns / SECOND - now)


class Lateness:
    """How much later pictures come than by the shortest way that one of their connection has taken.

    The network, the camera and the decoder may each hold a picture back: only its own time tells. What every picture
    takes cannot be told. What looks like a delay that grows by less than `DRIFT` is a clock that goes slower.

    `settled` once the shortest way has stopped falling: while a server hands out what it has kept, each picture comes
    by a shorter one. Times that run ahead for ever look the same, so after `LONGEST_NS` it counts as settled.
    """

    DRIFT = 0.002  # cameras are off by 0.1 % at most; a delay of a second that stays is forgotten in eight minutes
    FALL_NS = SECOND // 25
    STILL_NS = SECOND // 2
    LONGEST_NS = 30 * SECOND

    def __init__(self) -> None:
        self.settled = False
        self._least_ns: int | None = None
        self._seen_ns = 0
        self._fallen = (0, 0, 0)  # to where the shortest way fell last, when, and when the first picture came

    def __call__(self, pts_ns: int, now: int) -> int:
        """How late the picture of this time is, which came `now` (time.monotonic_ns()), ns."""
        took = now - pts_ns
        if self._least_ns is None:
            self._least_ns, self._fallen = took, (took, now, now)
        else:
            self._least_ns = min(took, self._least_ns + int(self.DRIFT * (now - self._seen_ns)))
        self._seen_ns = now
        to, since, began = self._fallen
        if self._least_ns <= to - self.FALL_NS:
            self._fallen = self._least_ns, now, began
            since = now
        self.settled |= now - since >= self.STILL_NS or now - began >= self.LONGEST_NS
        return took - self._least_ns


class Backlog:
    """Notices that decoding is slower than the stream, and drops packets until it has caught up.

    Who keeps up waits for each packet. Where reading takes next to no time for a second, packets are queueing: from
    there on they are dropped, until one had to be waited for and a key frame comes after it.

    `settled` once packets were waited for as long as one who keeps up does in that second, or after it: what a
    connection begins with has waited somewhere, while its streams were looked for, or in a server that keeps all since
    its last key frame for who comes.
    """

    WINDOW_S = 1.0
    SHARE = 0.05  # of the time is spent waiting, at least, by one who keeps up
    WAIT_S = 0.002

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._waited = 0.0
        self._dropping = False
        self._caught_up = False
        self.settled = False

    def drops(self, began: float, ended: float, key: bool) -> bool:
        """Whether to drop the packet that was read from `began` to `ended` (time.monotonic())."""
        self._waited += ended - began
        waited, over = ended - began >= self.WAIT_S, ended - self._since >= self.WINDOW_S
        self.settled |= over or self._waited >= self.SHARE * self.WINDOW_S
        if self._dropping:
            self._caught_up |= waited
            self._dropping = not (self._caught_up and key)
            if not self._dropping:
                self._since, self._waited = ended, 0.0
        elif over:
            self._dropping = self._waited < self.SHARE * (ended - self._since)
            self._caught_up = False
            self._since, self._waited = ended, 0.0
        return self._dropping
