"""Which moments make the reel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.errors import Usage
from stages.highlight.score import PRESETS, weigh
from stages.highlight.select import Must, candidates, select
from stages.highlight.timeline import SECOND, Moment, Timeline
from tests.stages.highlight.timelines import timeline

WEIGHTS = {"motion": 1.0}


def reel(*videos: Timeline, seconds: float, musts: tuple[Must, ...] = (), only: str = "") -> list[Moment]:
    scores = [weigh(video, WEIGHTS) for video in videos]
    return select(candidates(videos, scores, only), musts, videos, scores, round(seconds * SECOND))


def length(moments: list[Moment]) -> float:
    return sum(one.end_ns - one.start_ns for one in moments) / SECOND


def stirred(seconds: int, *at: int) -> list[float]:
    return [0.5 if second in at else 0.001 for second in range(seconds)]


def test_the_reel_is_where_something_happens_and_as_long_as_it_may_be() -> None:
    found = reel(timeline(60, motion=stirred(60, 20, 21, 22, 23, 40, 41, 42, 43)), seconds=10)
    assert length(found) == 10
    assert any(one.start_ns <= 20 * SECOND and one.end_ns >= 24 * SECOND for one in found)
    assert any(one.start_ns <= 40 * SECOND and one.end_ns >= 44 * SECOND for one in found)


def test_it_plays_in_the_order_of_the_videos_and_of_their_times() -> None:
    found = reel(timeline(30, motion=stirred(30, 3, 25)), timeline(30, motion=stirred(30, 10)), seconds=15)
    assert [(one.video, one.start_ns) for one in found] == sorted((one.video, one.start_ns) for one in found)
    assert {one.video for one in found} == {0, 1}


def test_a_reel_longer_than_the_video_is_all_of_it() -> None:
    found = reel(timeline(12, motion=stirred(12, 5)), seconds=60)
    assert [(one.start_ns, one.end_ns) for one in found] == [(0, 12 * SECOND)]


def test_what_looks_like_a_better_moment_gives_way_to_another_scene() -> None:
    motion = [0.2] * 10 + [0.19] * 10 + [0.1] * 10
    scenes = [0] * 20 + [1] * 10
    found = reel(timeline(30, motion=motion, looks=scenes, cuts=(10, 20)), seconds=10)
    assert [one.start_ns >= 20 * SECOND for one in found] == [False, True]


def test_what_was_asked_for_is_in_the_reel_to_the_frame() -> None:
    must = Must(0, round(12.34 * SECOND), round(14.56 * SECOND))
    found = reel(timeline(60, motion=stirred(60, 40, 41, 42)), seconds=8, musts=(must,))
    assert (must.start_ns, must.end_ns) in [(one.start_ns, one.end_ns) for one in found if one.must]
    assert length(found) <= 8
    assert any(one.start_ns <= 40 * SECOND < one.end_ns for one in found)


def test_stretches_that_overlap_are_asked_for_once() -> None:
    musts = (Must(0, 5 * SECOND, 9 * SECOND), Must(0, 8 * SECOND, 12 * SECOND))
    found = reel(timeline(60, motion=stirred(60)), seconds=7, musts=musts)
    assert [(one.start_ns, one.end_ns) for one in found] == [(5 * SECOND, 12 * SECOND)]


@pytest.mark.parametrize(
    ("must", "sentence"),
    [
        (Must(0, 0, 20 * SECOND), r"--must asks for is 20\.0 s long, and the reel 10\.0 s: make --length longer"),
        (Must(0, 90 * SECOND, 95 * SECOND), r"--must begins at 90 s, but a\.mp4 is 60\.0 s long"),
    ],
)
def test_what_cannot_be_in_the_reel_is_said(must: Must, sentence: str) -> None:
    with pytest.raises(Usage, match=sentence):
        reel(timeline(60, motion=stirred(60)), seconds=10, musts=(must,))


def test_only_what_shows_a_person() -> None:
    made = timeline(60, motion=stirred(60, 5, 30), seen={"Ada": [40, 41, 42, 43]})
    found = reel(made, seconds=30, only="Ada")
    assert [(one.start_ns, one.end_ns) for one in found] == [(40 * SECOND, 44 * SECOND)]


def test_a_rest_of_the_length_shows_nobody_else() -> None:
    random = np.random.default_rng(2)
    for _ in range(40):
        there = np.flatnonzero(random.random(60) < 0.3).tolist()
        made = timeline(60, motion=random.random(60).tolist(), seen={"Ada": there})
        pool = candidates([made], [weigh(made, WEIGHTS)], "Ada")
        for one in reel(made, seconds=random.uniform(2, 20), only="Ada"):
            shown = {at for at in range(60) if one.start_ns < (at + 1) * SECOND and one.end_ns > at * SECOND}
            may = {at for c in pool for at in shown if c.moment.start_ns <= at * SECOND < c.moment.end_ns}
            assert shown == may


def test_a_rest_of_the_length_goes_neither_into_the_next_moment_nor_into_another_shot() -> None:
    random = np.random.default_rng(3)
    for _ in range(60):
        cuts = np.flatnonzero(random.random(90) < random.choice([0, 0.1])).tolist()
        scenes = np.searchsorted(cuts, np.arange(90), "right").tolist()
        made = timeline(90, motion=random.random(90).tolist(), looks=scenes, cuts=tuple(map(float, cuts)))
        bounds = {one.moment.start_ns for one in candidates([made], [weigh(made, WEIGHTS)])}
        found = reel(made, seconds=random.uniform(5, 60))
        for one, other in itertools.pairwise(found):
            assert one.end_ns <= other.start_ns
        for one in found:
            inside = {cut * SECOND for cut in cuts if one.start_ns < cut * SECOND < one.end_ns}
            assert not inside & bounds


def test_of_the_last_moment_the_better_end_is_kept() -> None:
    motion = [0.001] * 6 + [0.5] * 4
    found = reel(timeline(10, motion=motion, cuts=()), seconds=3)
    assert length(found) == 3
    assert found[0].start_ns >= 6 * SECOND


def test_no_moment_is_chosen_twice_or_overlaps_another() -> None:
    random = np.random.default_rng(1)
    found = reel(timeline(300, motion=random.random(300).tolist(), looks=[n // 20 for n in range(300)]), seconds=60)
    ends = [0, *(one.end_ns for one in found)]
    assert all(one.start_ns >= end for one, end in zip(found, ends, strict=False))
    assert length(found) <= 60


def test_what_is_left_goes_to_where_most_is_to_be_seen_in_it() -> None:
    made = timeline(10, motion=[0.3] * 3 + [0.2] * 7, cuts=(3,), looks=[0] * 3 + [1] * 7)
    for seconds in (3, 4.5, 6):
        assert length(reel(made, seconds=seconds)) == seconds  # the best shot alone has 3 s


def test_people_are_worth_more_than_things_that_move() -> None:
    walking = {"people": [2.0] * 30, "person_size": [0.2] * 30, "motion": [0.007] * 30, "novelty": [0.01] * 30}
    passing = {"people": [0.0] * 30, "person_size": [0.0] * 30, "motion": [0.1] * 30, "novelty": [0.4] * 30}
    scores = [weigh(timeline(30, **one), PRESETS["event"]).score for one in (walking, passing)]
    assert scores[0].min() > scores[1].max()


def test_all_of_a_video_may_be_asked_for() -> None:
    found = reel(timeline(5, motion=stirred(5)), seconds=60, musts=(Must(0, 0, 9 * SECOND),))
    assert [(one.start_ns, one.end_ns) for one in found] == [(0, 5 * SECOND)]


def test_what_is_beside_something_asked_for_is_not_lost() -> None:
    found = reel(timeline(20, motion=stirred(20)), seconds=20, musts=(Must(0, 9 * SECOND, 11 * SECOND),))
    assert length(found) == 20


@pytest.mark.parametrize("seconds", [2.0, 2.5, 3.0, 4.75, 7.9, 11.3])
def test_nothing_of_the_length_is_left(seconds: float) -> None:
    random = np.random.default_rng(3)
    found = reel(timeline(60, motion=random.random(60).tolist(), looks=[n // 6 for n in range(60)]), seconds=seconds)
    assert length(found) == pytest.approx(seconds)


def test_what_is_cut_to_fit_ends_in_a_pause() -> None:
    pauses = tuple((float(at), at + 0.5) for at in range(0, 60, 3))
    found = reel(timeline(60, motion=stirred(60, 12, 13, 14, 15, 16, 17, 48, 49, 50), pauses=pauses), seconds=10)
    assert length(found) > 8
    for one in found:
        for at in (one.start_ns, one.end_ns):
            assert any(begin * SECOND <= at <= end * SECOND for begin, end in pauses), at / SECOND


def test_in_a_file_cut_at_key_frames_nothing_is_cut_elsewhere() -> None:
    made = timeline(40, motion=stirred(40, 20), seen={"Ada": [21]})
    scores, keys = [weigh(made, WEIGHTS)], np.arange(0, 40, 4) * SECOND
    musts = (Must(0, 9 * SECOND, 10 * SECOND),)
    found = select(candidates([made], scores, "Ada", keys), musts, [made], scores, 15 * SECOND, keys)
    assert [(one.start_ns, one.end_ns) for one in found if one.must] == [(8 * SECOND, 12 * SECOND)]
    assert all(one.start_ns in keys and one.end_ns in keys for one in found)
    assert any(one.start_ns <= 21 * SECOND < one.end_ns for one in found)
