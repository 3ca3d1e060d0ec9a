"""The reel as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stages.highlight.document import document
from stages.highlight.timeline import SECOND, Reel
from tests.stages.highlight.reel import WEIGHTS


def test_every_second_of_every_signal_and_score(clips: Reel) -> None:
    found = json.loads(document(clips), parse_constant=pytest.fail)  # NaN is no JSON
    assert (found["preset"], found["weights"]) == ("sports", WEIGHTS)
    assert len(found["videos"]) == len(clips.timelines)
    for video, timeline, scores in zip(found["videos"], clips.timelines, clips.scores, strict=True):
        assert video["score"] == pytest.approx(scores.score, abs=1e-4)
        for name, values in timeline.signals.items():
            read = np.array(video["signals"][name], np.float32)  # null is NaN
            assert read == pytest.approx(values, abs=1e-4, nan_ok=True)
        summed = np.sum([video["shares"][name] for name in scores.shares], axis=0)
        assert summed == pytest.approx(video["score"], abs=1e-3)
        assert video["cuts"] == pytest.approx(timeline.cuts_ns / SECOND, abs=1e-3)
        assert np.array(video["pauses"]).reshape(-1, 2) == pytest.approx(timeline.pauses_ns / SECOND, abs=1e-3)
        assert video["duration"] == pytest.approx(timeline.video.duration_ns / SECOND, abs=1e-3)
        assert (video["frames"], video["sound"]) == (timeline.video.frames, timeline.video.sound)
    assert found["videos"][0]["signals"]["loudness"] == [None] * clips.timelines[0].seconds


def test_a_learned_score_has_no_weights(clips: Reel) -> None:
    found = json.loads(document(replace(clips, preset="mine.onnx", weights=None)))
    assert (found["preset"], found["weights"]) == ("mine.onnx", None)


def test_the_moments_and_why(clips: Reel) -> None:
    found = json.loads(document(clips))["moments"]
    assert len(found) == len(clips.moments)
    for one, moment in zip(found, clips.moments, strict=True):
        assert (one["video"], one["must"]) == (moment.video, moment.must)
        assert [one["start"], one["end"]] == pytest.approx([moment.start_ns / 1e9, moment.end_ns / 1e9], abs=1e-3)
        assert sum(one["why"].values()) == pytest.approx(one["score"], abs=1e-3)
        assert list(one["why"]) == list(moment.why)
