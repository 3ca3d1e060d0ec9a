"""Counters and latency histograms in shared memory: a process writes its page, the supervisor reads it.

One frame in `TRACED` also leaves its trace in the log: a line from each process that it comes through.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Sequence
from enum import IntEnum

from pipeline.types import Frame

log = logging.getLogger(__name__)

# A histogram's buckets: 16 to the octave, so a quantile is at most 1/16 off, from 1 us to about 6 days (in us).
SUB = 4
BUCKETS = (40 - SUB) << SUB


class Counter(IntEnum):
    """The words of a page that count or tell; one writer each."""

    RECEIVED = 0
    SENT = 1
    DROPPED = 2  # gaps in seq on a `latest` edge
    OVERWRITTEN = 3  # pixels that were gone when the stage came to them
    REFUSED = 4  # messages that did not decode, or named what does not exist
    SKIPPED = 5  # messages that killed their stage twice
    BUSY_SINCE = 6  # monotonic ns; 0 while idle
    STATE = 7
    IN_FLIGHT = 8  # sent and not yet done
    UNSENT = 9  # packets that the queue of a `packets` edge had no room for, and those that need them


class State(IntEnum):
    """What a process is doing."""

    STARTING = 0
    RUNNING = 1
    CONNECTING = 2
    RECONNECTING = 3
    DRAINING = 4
    CLOSING = 5
    ENDED = 6


TRACED = 100
MOST_AT_ONCE = 8  # messages a stage may have in hand
CURRENT = 16  # MOST_AT_ONCE pairs (source index, seq), behind a count
LAST_SENT = CURRENT + 1 + 2 * MOST_AT_ONCE


class Histogram:
    """Log-linear buckets (HdrHistogram's layout) over a row of 64-bit words."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def record(self, ns: int) -> None:
        """Count one duration."""
        self._words[bucket(max(ns, 0) // 1000)] += 1

    def counts(self) -> list[int]:
        """A copy of the counts."""
        return self._words.tolist()


def bucket(us: int) -> int:
    """The bucket of a duration in microseconds."""
    shift = max(us.bit_length() - SUB - 1, 0)
    return min((shift << SUB) + (us >> shift), BUCKETS - 1)


def quantile(counts: Sequence[int], q: float) -> float:
    """The q-quantile (0..1) in milliseconds, the upper edge of its bucket; NaN where nothing was counted."""
    total = sum(counts)
    if not total:
        return float("nan")
    left = q * total
    for index, count in enumerate(counts):
        left -= count
        if left <= 0 and count:
            shift = max((index >> SUB) - 1, 0)
            return ((index - (shift << SUB) + 1) << shift) / 1000
    raise AssertionError("a quantile lies inside of its counts")


class Page:
    """One process's numbers. They outlive it: a restarted process counts on."""

    def __init__(self, fd: int, sources: int) -> None:
        map_ = mmap.mmap(fd, page_bytes(sources))
        self.words = memoryview(map_).cast("q")
        ages = LAST_SENT + sources
        self.service = Histogram(self.words[ages : ages + BUCKETS])  # the stages' own time, a message
        self.age = Histogram(self.words[ages + BUCKETS : ages + 2 * BUCKETS])  # capture to this process's result
        self._sources = sources

    def add(self, counter: Counter, n: int = 1) -> None:
        """Count n more."""
        self.words[counter] += n

    def set(self, counter: Counter, value: int) -> None:
        """Tell a value."""
        self.words[counter] = value

    def get(self, counter: Counter) -> int:
        """A counter's value."""
        return self.words[counter]

    def hold(self, keys: Sequence[tuple[int, int]]) -> None:
        """Tell what is in hand, (source index, seq) each, so that it is known what a crash was over."""
        for index, (source, seq) in enumerate(keys):
            self.words[CURRENT + 1 + 2 * index] = source
            self.words[CURRENT + 2 + 2 * index] = seq
        self.words[CURRENT] = len(keys)

    def held(self) -> list[tuple[int, int]]:
        """What was in hand last."""
        pairs = self.words[CURRENT + 1 : CURRENT + 1 + 2 * self.words[CURRENT]].tolist()
        return list(zip(pairs[::2], pairs[1::2], strict=True))

    def measured(self, frame: Frame, service_ns: int, age_ns: int) -> None:
        """Count the stages' own time on a frame, and its age at their result."""
        self.service.record(service_ns)
        self.age.record(age_ns)
        if frame.seq % TRACED == 0:
            times = {"service_ms": service_ns / 1e6, "age_ms": age_ns / 1e6}
            log.info("trace", extra={"source": frame.source, "seq": frame.seq, **times})

    def sent(self, source: int, seq: int) -> None:
        """Tell the last seq that this process is through with for a source."""
        self.words[LAST_SENT + source] = seq + 1

    def last_sent(self) -> list[int]:
        """For each source the last seq, -1 for none."""
        return [seq - 1 for seq in self.words[LAST_SENT : LAST_SENT + self._sources].tolist()]


def page_bytes(sources: int) -> int:
    """The size of a page."""
    return 8 * (LAST_SENT + sources + 2 * BUCKETS)


def new_page(name: str, sources: int) -> int:
    """A descriptor of a zeroed page, to hand to the process that will write it."""
    fd = os.memfd_create(f"framewire-{name}-metrics", os.MFD_CLOEXEC)
    os.posix_fallocate(fd, 0, page_bytes(sources))
    return fd
