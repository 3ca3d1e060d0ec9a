"""Which moments make the reel: the best that fit into its length, varied, and those that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Usage
from stages.highlight.moments import SHORTEST_NS, Course, describe, divide, quiet_after, quiet_before
from stages.highlight.remux import snapped
from stages.highlight.repeats import Repeats
from stages.highlight.timeline import SECOND, Floats, Moment, Scores, Timeline

# A moment that looks like one that is chosen already is worth less: from here on, by up to so much (maximal marginal
# relevance; Carbonell and Goldstein, SIGIR 1998). Where all looks alike, as before a fixed camera, all lose the same.
ALIKE, SAME, LOSS = 0.8, 1.0, 0.4


class Must(NamedTuple):
    """A stretch that has to be in the reel."""

    video: int
    start_ns: int
    end_ns: int


class Candidate(NamedTuple):
    """A moment that may be chosen, and what it looks like."""

    moment: Moment
    look: Floats  # (D,) of unit length, or zeros


def candidates(
    timelines: Sequence[Timeline],
    scores: Sequence[Scores],
    only: str = "",
    key_frames: NDArray[np.int64] | None = None,
) -> list[Candidate]:
    """All moments of the videos; with `only`, what is left of them around the seconds in which that person is seen.

    Where there are `key_frames` (K,) ns, of the one video, moments begin and end there.
    """
    found = []
    for number, (timeline, scored) in enumerate(zip(timelines, scores, strict=True)):
        bounds = divide(timeline, scored.score, key_frames)
        make, look = describe(number, scored), Course(timeline.look)
        for stretch in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            start, end = _where(timeline, only, *stretch) if only else stretch
            if start < end:
                start, end = stretch if key_frames is not None else (start, end)
                found.append(Candidate(make(start, end, False), _unit(look.mean(start, end))))
    return found


def select(
    pool: Sequence[Candidate],
    musts: Sequence[Must],
    timelines: Sequence[Timeline],
    scores: Sequence[Scores],
    length_ns: int,
    key_frames: NDArray[np.int64] | None = None,
) -> list[Moment]:
    """The reel's moments, by video and time, not longer than `length_ns` together. Raises Usage where it is too short.

    The last one is cut to what is left of the length; but with `key_frames`, as for `candidates`, nothing is cut.
    """
    chosen = _asked_for(musts, timelines, scores)
    if key_frames is not None and chosen:
        wide = snapped(chosen, key_frames, timelines[0].video.duration_ns)
        chosen = [describe(0, scores[0])(one.start_ns, one.end_ns, True) for one in wide]
    left = length_ns - sum(one.end_ns - one.start_ns for one in chosen)
    if left < 0:
        raise Usage(
            f"what --must asks for is {(length_ns - left) / SECOND:.1f} s long, "
            f"and the reel {length_ns / SECOND:.1f} s: make --length longer"
        )
    room = [
        part for one in pool for part in _outside(one, chosen, scores, 1 if key_frames is not None else SHORTEST_NS)
    ]
    chosen += _best(room, chosen, timelines, scores, left, whole=key_frames is not None)
    if key_frames is None:
        chosen = _lengthened(chosen, pool, timelines, scores, length_ns)
    return _joined(sorted(chosen, key=lambda one: (one.video, one.start_ns)), timelines, scores)


def _best(
    pool: Sequence[Candidate],
    chosen: Sequence[Moment],
    timelines: Sequence[Timeline],
    scores: Sequence[Scores],
    left: int,
    *,
    whole: bool,
) -> list[Moment]:
    """The best of the pool, one after the other, where `chosen` ones are taken already, as long as some is `left`.

    Nothing is shown twice. The last one is where most is to be seen in what is left, not where the mean is best.
    """
    repeats = Repeats(timelines, [one.moment for one in pool])
    looks = np.array([one.look for one in pool]).reshape(len(pool), timelines[0].look.shape[1])
    alike = np.zeros(len(pool), np.float32)
    for must in chosen:
        repeats.add(must)
        alike = np.maximum(alike, looks @ _unit(Course(timelines[must.video].look).mean(must.start_ns, must.end_ns)))
    free = np.ones(len(pool), bool)
    lengths = np.array([one.moment.end_ns - one.moment.start_ns for one in pool], np.int64)
    rooms = lengths if whole else _rooms(pool, timelines)
    worth = np.array([one.moment.score for one in pool], np.float32)
    found: list[Moment] = []
    while left > 0:
        free &= ~repeats.found & ((lengths <= left) | (not whole and left >= SHORTEST_NS))
        if not free.any():
            break
        values = worth * (1 - LOSS * np.clip((alike - ALIKE) / (SAME - ALIKE), 0, 1))
        filled = np.where(left - lengths < SHORTEST_NS, np.minimum(rooms, left), left)
        best = int(np.argmax(np.where(free, values * filled, -1)))
        moment = pool[best].moment
        moment = _cut(moment, left, timelines[moment.video], scores) if lengths[best] > left else moment
        found.append(moment)
        repeats.add(moment)
        left -= moment.end_ns - moment.start_ns
        free[best] = False
        alike = np.maximum(alike, looks @ looks[best])
    return found


def _rooms(pool: Sequence[Candidate], timelines: Sequence[Timeline]) -> NDArray[np.int64]:
    """(N,) ns: how long each can get at its end, as `_lengthened` does it."""
    ends: list[int] = []
    for one, after in zip(reversed(pool), [None, *reversed(pool)], strict=False):
        moment, end = one.moment, one.moment.end_ns
        goes_on = after and (after.moment.video, after.moment.start_ns) == (moment.video, end)
        ends.append(ends[-1] if goes_on and end not in timelines[moment.video].cuts_ns else end)
    return np.array([end - one.moment.start_ns for one, end in zip(pool, reversed(ends), strict=True)], np.int64)


def _outside(one: Candidate, musts: Sequence[Moment], scores: Sequence[Scores], least_ns: int) -> Iterator[Candidate]:
    """What of a moment is in none of `musts`, which are in the order of time, as far as it is long enough."""
    moment = one.moment
    inside = [must for must in musts if _overlap(moment, must)]
    if not inside:
        yield one
        return
    make = describe(moment.video, scores[moment.video])
    begins = [moment.start_ns, *(must.end_ns for must in inside)]
    ends = [*(must.start_ns for must in inside), moment.end_ns]
    for start, end in zip(begins, ends, strict=True):
        if end - start >= least_ns:
            yield Candidate(make(start, end, False), one.look)


def _lengthened(
    chosen: Sequence[Moment],
    pool: Sequence[Candidate],
    timelines: Sequence[Timeline],
    scores: Sequence[Scores],
    length_ns: int,
) -> list[Moment]:
    """A rest too short for a moment goes to the best ones: each goes on to a pause, within its shot and the pool."""
    found = list(chosen)
    left = length_ns - sum(one.end_ns - one.start_ns for one in found)
    if left >= SHORTEST_NS:  # there was nothing to choose any more
        return found
    for one in sorted((one for one in chosen if not one.must), key=lambda one: -one.score):
        timeline = timelines[one.video]
        later = [other.start_ns for other in found if other.video == one.video and other.start_ns >= one.end_ns]
        cuts = timeline.cuts_ns[timeline.cuts_ns >= one.end_ns].tolist()
        last = min([one.end_ns + left, _reach(pool, one), *later, *cuts])
        end = quiet_before(timeline, last, one.end_ns)
        if end > one.end_ns:
            found[found.index(one)] = describe(one.video, scores[one.video])(one.start_ns, end, False)
            left -= end - one.end_ns
    return found


def _reach(pool: Sequence[Candidate], moment: Moment) -> int:
    """Until when the pool goes on behind a moment without a gap, ns."""
    end = moment.end_ns
    for one in (one.moment for one in pool if one.moment.video == moment.video):
        if one.start_ns <= end < one.end_ns:
            end = one.end_ns
    return end


def _asked_for(musts: Sequence[Must], timelines: Sequence[Timeline], scores: Sequence[Scores]) -> list[Moment]:
    found: list[Moment] = []
    for must in sorted(musts):
        video = timelines[must.video].video
        if must.start_ns >= video.duration_ns:
            raise Usage(
                f"--must begins at {must.start_ns / SECOND:g} s, but {video.path} is "
                f"{video.duration_ns / SECOND:.1f} s long"
            )
        start, end = must.start_ns, min(must.end_ns, video.duration_ns)
        if found and found[-1].video == must.video and start < found[-1].end_ns:
            start, end = found[-1].start_ns, max(end, found.pop().end_ns)
        found.append(describe(must.video, scores[must.video])(start, end, True))
    return found


def _where(timeline: Timeline, name: str, start_ns: int, end_ns: int) -> tuple[int, int]:
    """What of [start, end) is from the first to the last second in which the person is seen; nothing where in none."""
    seen = timeline.known.get(name)
    first, last = start_ns // SECOND, -(-end_ns // SECOND)
    there = np.flatnonzero(seen[first:last]) if seen is not None else np.empty(0, np.int64)
    if not len(there):
        return start_ns, start_ns
    return max(start_ns, int(first + there[0]) * SECOND), min(end_ns, int(first + there[-1] + 1) * SECOND)


def _cut(moment: Moment, length_ns: int, timeline: Timeline, scores: Sequence[Scores]) -> Moment:
    """The best stretch of at most `length_ns` in it that keeps its beginning or its end; cut in a pause, if any."""
    make = describe(moment.video, scores[moment.video])
    end = quiet_before(timeline, moment.start_ns + length_ns, moment.start_ns + SHORTEST_NS)
    start = quiet_after(timeline, moment.end_ns - length_ns, moment.end_ns - SHORTEST_NS)
    stretches = (moment.start_ns, end), (start, moment.end_ns)
    return max((make(first, last, False) for first, last in stretches), key=lambda one: one.score)


def _joined(moments: Sequence[Moment], timelines: Sequence[Timeline], scores: Sequence[Scores]) -> list[Moment]:
    """Moments of one shot that follow each other without a gap are one."""
    found: list[Moment] = []
    for moment in moments:
        last = found[-1] if found else None
        follows = last and (last.video, last.end_ns, last.must) == (moment.video, moment.start_ns, moment.must)
        if last and follows and moment.start_ns not in timelines[moment.video].cuts_ns:
            found[-1] = describe(moment.video, scores[moment.video])(last.start_ns, moment.end_ns, moment.must)
        else:
            found.append(moment)
    return found


def _overlap(one: Moment, other: Moment) -> bool:
    return one.video == other.video and one.start_ns < other.end_ns and other.start_ns < one.end_ns


def _unit(look: NDArray[np.float64]) -> Floats:
    length = float(np.linalg.norm(look))
    return (look / length if length else look).astype(np.float32)
