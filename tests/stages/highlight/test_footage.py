from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Failed
from stages.highlight.footage import frames, sound
from stages.highlight.timeline import SECOND
from stages.sources.recording import Recording
from tests.stages.clips import FORMATS, film, number
from tests.stages.highlight import flashes


@pytest.mark.parametrize("kind", FORMATS)
def test_a_stretch_has_the_frames_that_capture_saw_in_it(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path / f"clip.{kind}", frames=60)
    video = flashes.timeline(path).video
    times = [picture.pts_ns - video.start_ns for picture in Recording(path, 1, None) if picture]
    for first, last in ((0, 5), (17, 31), (40, 60)):
        end_ns = times[last] if last < len(times) else times[-1] + SECOND
        seen = [
            (at_ns, number(frame.to_ndarray(format="bgr24"))) for at_ns, frame, _ in frames(video, times[first], end_ns)
        ]
        assert seen == [(times[i], i) for i in range(first, last)]


def test_a_picture_that_stands_is_there_from_the_start(tmp_path: Path) -> None:
    path = flashes.film(tmp_path / "slides.mp4", [4.0], times=[0, 2, 4, 4.2, 9], sound_from=None)
    video = flashes.timeline(path).video
    assert [at_ns / SECOND for at_ns, _, _ in frames(video, 5 * SECOND, 7 * SECOND)] == [5]
    assert [at_ns / SECOND for at_ns, _, _ in frames(video, 3 * SECOND, 7 * SECOND)] == [3, 4, 4.2]
    assert [at_ns / SECOND for at_ns, _, _ in frames(video, SECOND * 395 // 100, 5 * SECOND)] == [3.95, 4, 4.2]


@pytest.mark.parametrize("late_ns", [-1, 0, 1, 11_000])
def test_a_frame_that_begins_there_but_for_rounding_is_the_first(tmp_path: Path, late_ns: int) -> None:
    video = flashes.timeline(film(tmp_path / "clip.mp4")).video
    first = next(frame for _, frame, _ in frames(video, SECOND - late_ns, 2 * SECOND))
    assert number(first.to_ndarray(format="bgr24")) == 25


def test_sound_is_there_to_the_sample(tmp_path: Path) -> None:
    path = flashes.film(tmp_path / "beeps.mov", [1.0, 3.0], sound_codec="pcm_s16le")
    video = flashes.timeline(path).video
    whole = np.concatenate(list(sound(video, 0, 5 * 48_000)), axis=1)
    piece = np.concatenate(list(sound(video, 2_900_000_000, 9_600)), axis=1)
    assert whole.shape == (2, 240_000)
    assert piece.shape == (2, 9_600)
    np.testing.assert_array_equal(piece, whole[:, 139_200:148_800])
    assert np.flatnonzero(np.abs(piece[0]) > 0.05)[0] == pytest.approx(4_800, abs=2)


def test_past_the_end_of_the_sound_is_silence(tmp_path: Path) -> None:
    video = flashes.timeline(flashes.film(tmp_path / "beeps.mp4", [1.0])).video
    rest = np.concatenate(list(sound(video, 9 * SECOND, 5 * 48_000)), axis=1)
    assert rest.shape == (2, 240_000)
    assert not rest[:, 48_000:].any()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    video = flashes.timeline(path).video
    path.unlink()
    with pytest.raises(Failed, match=r"there is no file or folder .*clip\.mp4"):
        next(frames(video, 0, SECOND))
