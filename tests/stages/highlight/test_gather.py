"""From rows to seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Failed
from stages.highlight.gather import COLUMNS, Rows, gather, recall
from stages.highlight.store import Store
from stages.highlight.timeline import SECOND, SIGNALS, Timeline, Video

NOTHING = Rows(np.empty(0, np.int64), np.empty((0, 1), np.float32))


def rows(times: list[float], *columns: list[float]) -> Rows:
    return Rows(np.array([round(at * SECOND) for at in times], np.int64), np.array(columns, np.float32).T)


def made(seconds: float, known: dict[str, Rows] | None = None, **given: Rows) -> Timeline:
    tracks = {name: Rows(np.empty(0, np.int64), np.empty((0, width), np.float32)) for name, width in COLUMNS.items()}
    video = Video("a.mp4", "0" * 64, 64, 48, 0, round(seconds * SECOND), 1, True)
    return gather(video, tracks | given, known or {})


def test_a_second_has_the_mean_of_its_frames_and_the_last_may_be_short() -> None:
    timeline = made(2.5, motion=rows([0, 0.5, 1.2, 2.1], [1, 3, 5, 7], [0] * 4, [0.5] * 4))
    assert timeline.signals["motion"].tolist() == [2, 5, 7]


def test_what_was_not_measured_is_nan() -> None:
    timeline = made(3, motion=rows([0, 2.5], [1, np.nan], [0, 0], [np.nan, np.nan]))
    np.testing.assert_array_equal(timeline.signals["motion"], np.array([1, np.nan, np.nan], np.float32))
    assert all(np.isnan(timeline.signals[name]).all() for name in SIGNALS if name != "motion")
    assert timeline.pauses_ns.tolist() == [[0, 3 * SECOND]]


def test_a_cut_counts_in_its_second_and_is_kept_to_the_frame() -> None:
    times = [0.04 * number for number in range(100)]
    probability = [1.0 if number in (29, 60) else 0.0 for number in range(100)]
    timeline = made(4, shots=rows(times, probability))
    assert timeline.cuts_ns.tolist() == [round(at * SECOND) for at in (1.2, 2.44)]
    assert timeline.signals["cuts"].tolist() == [0, 1, 1, 0]


def test_loudness_is_above_the_median_of_what_is_heard() -> None:
    times = [0.1 * hop for hop in range(60)]
    level = [-100.0] * 30 + [-30.0] * 20 + [-20.0] * 10
    timeline = made(6, sound=rows(times, level, [0.0] * 60, [0.0] * 60, [0.0] * 60))
    found = timeline.signals["loudness"]
    np.testing.assert_allclose(found[3:], [0, 0, 10], atol=0.01)
    assert (found[:3] < -60).all()


def test_a_silent_video_is_not_louder_than_itself() -> None:
    times = [0.1 * hop for hop in range(20)]
    timeline = made(2, sound=rows(times, [-100.0] * 20, [0.0] * 20, [0.0] * 20, [0.0] * 20))
    assert (timeline.signals["loudness"] <= 0).all()


def test_the_action_is_where_a_face_is_or_a_person_or_else_motion() -> None:
    at = [0, 1, 2, 3]
    timeline = made(
        4,
        motion=rows(at, [1] * 4, [0] * 4, [0.1, 0.1, 0.1, np.nan]),
        people=rows(at, [0, 1, 1, 0], [0] * 4, [np.nan, 0.5, 0.5, np.nan]),
        faces=rows(at, [0, 0, 1, 0], [0] * 4, [np.nan, np.nan, 0.9, np.nan]),
    )
    np.testing.assert_allclose(timeline.centre, [0.1, 0.5, 0.9, np.nan], atol=1e-6)


def test_who_is_enrolled_is_known_where_they_are_seen() -> None:
    faces = rows([0, 1, 2], [1, 1, 1], [0.2] * 3, [0.5] * 3)
    timeline = made(3, {"Ada": rows([1.2, 1.4], [0.8, 0.7]), "Grace": NOTHING}, faces=faces)
    assert timeline.signals["known"].tolist() == [0, 1, 0]
    assert timeline.known["Ada"].tolist() == [False, True, False]
    assert not timeline.known["Grace"].any()
    assert np.isnan(made(3, faces=faces).signals["known"]).all()


def test_a_store_that_is_damaged_inside_is_said(tmp_path: Path) -> None:
    path, keys = tmp_path / "a.sqlite", dict.fromkeys(COLUMNS, "key")
    with Store(path) as store:
        for name, columns in COLUMNS.items():
            track = store.track(name, "key")
            with store.transaction():
                for seq in range(1000):
                    track.add(seq, seq * 40, [0] * columns)
    content = bytearray(path.read_bytes())
    content[12 * 4096 :] = b"x" * (len(content) - 12 * 4096)
    path.write_bytes(content)
    with pytest.raises(Failed, match=r"a\.sqlite cannot be used .*: delete the file, and say this again"):
        recall(tmp_path / "a.mp4", "0" * 64, path, keys, {})
