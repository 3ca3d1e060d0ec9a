"""Where moments begin and end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stages.highlight.moments import LONGEST_NS, SHORTEST_NS, Course, describe, divide
from stages.highlight.score import weigh
from stages.highlight.timeline import SECOND
from tests.stages.highlight.timelines import timeline


def bounds(seconds: int, score: list[float] | None = None, **given: object) -> list[float]:
    made = timeline(seconds, **given)  # type: ignore[arg-type]
    found = divide(made, np.array(score or [0.5] * seconds, np.float32))
    return [at / SECOND for at in found.tolist()]


def test_a_moment_ends_where_the_shot_does() -> None:
    found = bounds(30, cuts=(7.3, 13.9, 21.04))
    assert {7.3, 13.9, 21.04} <= set(found)
    assert (found[0], found[-1]) == (0, 30)


def test_nobody_is_cut_off_in_the_middle_of_a_word() -> None:
    pauses = ((0, 0.4), (5.2, 5.6), (9.9, 10.3), (16.0, 16.5), (19.6, 20))
    for at in bounds(20, pauses=pauses)[1:-1]:
        assert any(begin <= at < end for begin, end in pauses), at


def test_it_is_divided_where_little_happens() -> None:
    found = bounds(12, score=[0.9, 0.9, 0.9, 0.9, 0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert any(4 <= at < 5 for at in found)


def test_what_is_worth_seeing_is_apart_from_what_is_not() -> None:
    score = [0.07, 0.1, 0.1, 0.18, 0.33, 0.46, 0.36, 0.29, 0.38, 0.43, 0.43, 0.47, 0.13, 0.12, 0.13]
    assert any(11.5 <= at <= 12.5 for at in bounds(15, score=score))


def test_a_climax_at_the_end_of_a_stretch_belongs_to_it_and_not_to_what_follows() -> None:
    score = [
        0.08,
        0.11,
        0.1,
        0.18,
        0.32,
        0.44,
        0.35,
        0.28,
        0.37,
        0.42,
        0.42,
        0.47,
        0.14,
        0.11,
        0.13,
    ]  # samples/gate.mp4
    made = timeline(15)
    made = replace(made, video=structs.replace(made.video, duration_ns=round(14.4 * SECOND)))
    assert 12 * SECOND in divide(made, np.array(score, np.float32))


def test_shots_that_are_moments_are_not_joined() -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        cuts = np.cumsum(random.integers(9, 17, 12)) / 4
        assert set(cuts) <= set(bounds(60, score=random.uniform(0.4, 0.6, 60).tolist(), cuts=tuple(cuts)))


def test_many_short_shots_are_a_moment_together() -> None:
    found = np.diff(bounds(20, cuts=tuple(np.arange(0.5, 20, 0.5))))
    assert found.min() >= 2


def test_only_key_frames_are_bounds_where_these_are_given() -> None:
    key_frames = np.array([0, 4.2, 8.4, 12.6, 16.8], np.float64) * SECOND
    found = divide(timeline(20, cuts=(7.0,)), np.full(20, 0.5, np.float32), key_frames.astype(np.int64))
    assert set(found.tolist()) <= {*key_frames.astype(np.int64).tolist(), 20 * SECOND}


def test_a_gap_between_key_frames_may_be_longer_than_any_moment() -> None:
    found = divide(timeline(60), np.full(60, 0.5, np.float32), np.array([0, 30 * SECOND]))
    assert found.tolist() == [0, 30 * SECOND, 60 * SECOND]


@given(st.integers(1, 60), st.lists(st.floats(0.1, 59), max_size=20), st.integers(0, 9))
def test_the_whole_video_is_divided_into_moments_of_the_right_length(
    seconds: int, cuts: list[float], seed: int
) -> None:
    inside = tuple(sorted({round(cut, 2) for cut in cuts if cut < seconds}))
    score = np.random.default_rng(seed).random(seconds).tolist()
    found = np.diff(np.array(bounds(seconds, score, cuts=inside)))
    assert found.sum() == pytest.approx(seconds)
    assert found.max() <= LONGEST_NS / SECOND
    assert found.min() >= min(seconds, SHORTEST_NS / SECOND)


def test_a_mean_counts_parts_of_seconds() -> None:
    course = Course(np.array([0, 1, 3], np.float32))
    assert course.mean(SECOND // 2, 3 * SECOND // 2) == pytest.approx(0.5)
    assert course.mean(SECOND, 3 * SECOND) == pytest.approx(2)


def test_a_moment_says_where_its_score_comes_from() -> None:
    scores = weigh(timeline(4, motion=[0.05] * 4, faces=[6.0] * 4), {"motion": 1, "faces": 1, "people": 1})
    moment = describe(2, scores)(0, 2 * SECOND, False)
    assert list(moment.why) == ["faces", "motion"]
    assert sum(moment.why.values()) == pytest.approx(moment.score, abs=1e-3)
    assert (moment.video, moment.must) == (2, False)
