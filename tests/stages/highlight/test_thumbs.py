"""The frame that is shown at a time, out of any file that plays."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.copying import Copier
from pipeline.errors import Failed
from stages.highlight.thumbs import HEIGHT, WIDTH, Thumb, best_ns, thumbs
from stages.highlight.timeline import SECOND, Moment, Reel, Scores
from stages.sources.picture import Converter
from stages.sources.recording import Recording
from tests.stages.clips import FORMATS, film, number
from tests.stages.highlight.reel import reel, video

FRAMES = 100
RATE = 25


def shown(path: Path, frame: float) -> int:
    """The number of the picture that is shown so many frames after the first one."""
    first = next(iter(Recording(path, 1, None)))
    assert first is not None
    recording = Recording(path, 1, None)
    found = recording.at(first.pts_ns + round(frame * SECOND / RATE))
    recording.close()
    pixels = np.empty((found.size[1], found.size[0], 3), np.uint8)
    Converter(Copier(helped=False))(found, pixels)
    return number(pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_frame_that_is_shown_at_a_time(kind: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"clip.{kind}", FRAMES)
    asked = (0.5, 11.5, 12.5, 37.5, 50.5, 99.5)
    assert [shown(path, frame) for frame in asked] == [int(frame) for frame in asked]


def test_before_the_first_frame_it_is_the_first_and_after_the_last_the_last(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", FRAMES)
    assert shown(path, -80) == 0
    assert shown(path, 5000) == FRAMES - 1


def test_a_file_that_was_cut_short_shows_its_last_good_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.ts", FRAMES)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 30 < shown(path, 90.5) < 60


def test_the_best_second_of_a_moment() -> None:
    scores = Scores(np.array([0.9, 0.1, 0.3, 0.8, 0.2, 0.9], np.float32), {})
    assert best_ns(scores, Moment(0, SECOND, 5 * SECOND, 0.4, {}, False)) == 3 * SECOND + SECOND // 2
    assert best_ns(scores, Moment(0, SECOND * 7 // 2, SECOND * 19 // 5, 0.4, {}, False)) == SECOND * 73 // 20


def test_a_phone_held_upright_is_upright(tmp_path: Path) -> None:
    turned, flat = (
        thumbs(reel([video(film(tmp_path / f"{rotation}.mp4", FRAMES, (240, 96), rotation=rotation))], 4, 1))[0]
        for rotation in (90, 0)
    )
    assert turned.shape == (HEIGHT, round(HEIGHT * 96 / 240), 3)
    assert flat.shape == (round(WIDTH * 96 / 240), WIDTH, 3)
    assert turned[-20:].mean((0, 1)).round() == pytest.approx(flat[:, :20].mean((0, 1)).round(), abs=25)


def test_a_thumb_has_the_shape_that_is_shown(tmp_path: Path) -> None:
    path = film(tmp_path / "dv.mp4", FRAMES, (144, 96), aspect=Fraction(4, 3))
    (thumb,) = thumbs(reel([video(path)], 4, 1))
    assert thumb.shape == (WIDTH // 2, WIDTH, 3)


def test_of_real_clips(clips: Reel, clip_thumbs: list[Thumb]) -> None:
    assert [thumb.shape for thumb in clip_thumbs] == [(216, 384, 3)] * len(clips.moments)
    assert all(thumb.std() > 20 for thumb in clip_thumbs)


def test_a_video_that_is_gone(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", FRAMES)
    known = reel([video(path)], 2, 1)
    path.unlink()
    with pytest.raises(Failed, match=r"clip\.mp4"):
        thumbs(known)
