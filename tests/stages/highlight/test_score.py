"""The score: the weighted mean of what was measured, and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from stages.highlight.score import PRESETS, normalised, weigh
from stages.highlight.timeline import SIGNALS
from tests.stages.highlight.timelines import timeline


def test_half_of_the_most_is_at_the_value_that_the_signal_names() -> None:
    found = normalised(timeline(3, motion=[0, SIGNALS["motion"].half, 1e6]))
    np.testing.assert_allclose(found["motion"], [0, 0.5, 1], atol=1e-6)


def test_quieter_than_usual_counts_as_nothing() -> None:
    assert normalised(timeline(1, loudness=[-20]))["loudness"][0] == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_the_parts_add_up_to_the_score(preset: str) -> None:
    random = np.random.default_rng(0)
    signals = {name: random.exponential(signal.half, 50).tolist() for name, signal in SIGNALS.items()}
    scores = weigh(timeline(50, **signals), PRESETS[preset])
    np.testing.assert_allclose(sum(scores.shares.values()), scores.score, atol=1e-6)
    assert scores.score.min() > 0
    assert scores.score.max() < 1
    assert set(PRESETS[preset]) <= set(SIGNALS)


def test_a_video_without_sound_loses_nothing_by_it() -> None:
    silent = weigh(timeline(1, motion=[0.05]), {"motion": 1, "crowd": 1})
    quiet = weigh(timeline(1, motion=[0.05], crowd=[0]), {"motion": 1, "crowd": 1})
    assert silent.score[0] == pytest.approx(0.5)
    assert quiet.score[0] == pytest.approx(0.25)


def test_what_was_measured_nowhere_is_worth_nothing() -> None:
    assert weigh(timeline(2), PRESETS["event"]).score.tolist() == [0, 0]
