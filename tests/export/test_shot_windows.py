"""Films of clips with known transitions: where those lie, windows over all frames, and F1 of what is told."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export import shot_windows
from export.packages import Failed
from export.shot_windows import DISSOLVE, PIECE, WINDOW, Film

SIZE = 27, 48


def clip(folder: Path, level: int, count: int = 60) -> Path:
    """A clip of one grey."""
    file = folder / f"{level}.avi"
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 54))
    for _ in range(count):
        video.write(np.full((54, 96, 3), level, np.uint8))
    video.release()
    return file


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Dark, cut, light, dissolve, dark, cut, light."""
    folder = tmp_path_factory.mktemp("clips")
    return shot_windows.join([clip(folder, 40), clip(folder, 200)], *SIZE)


def test_cuts_and_dissolves_lie_where_the_film_says(film: Film) -> None:
    cut, dissolve, last = (begin for begin, _ in film.transitions)
    assert len(film.frames) == 4 * PIECE - DISSOLVE
    level = film.frames.mean((1, 2, 3))
    assert np.flatnonzero(np.abs(np.diff(level)) > 100).tolist() == [cut + 1, last + 1]  # told 2 frames away at most
    mixed = level[dissolve : dissolve + DISSOLVE]
    assert (np.diff(mixed) < 0).all()
    assert 40 < mixed[-1] < mixed[0] < 200
    assert level[dissolve - 1] == pytest.approx(200, abs=2)
    assert level[dissolve + DISSOLVE] == pytest.approx(40, abs=2)


def test_the_middles_of_the_windows_are_the_frames(film: Film) -> None:
    windows = film.windows()
    assert {window.shape for window in windows} == {(WINDOW, *SIZE, 3)}
    means = np.stack([window.mean((1, 2, 3)) for window in windows])
    np.testing.assert_array_equal(film.probability(means), film.frames.mean((1, 2, 3)))


def telling(film: Film, *lasts: int) -> NDArray[np.float32]:
    """Probabilities that name these as the last frames of shots."""
    found = np.zeros(len(film.frames), np.float32)
    found[list(lasts)] = 0.9
    return found


def test_f1_counts_each_transition_once(film: Film) -> None:
    cut, dissolve, last = (begin + 1 for begin, _ in film.transitions)
    assert film.f1(telling(film, cut, dissolve, last)) == 1
    assert film.f1(telling(film, cut, last)) == pytest.approx(4 / 5)
    assert film.f1(telling(film, cut, dissolve, dissolve + 5, last)) == pytest.approx(6 / 7)
    assert film.f1(telling(film, cut - 9, dissolve, last)) == pytest.approx(4 / 6)
    assert film.f1(telling(film)) == 0


def test_a_film_needs_two_clips_that_can_be_read(tmp_path: Path) -> None:
    long, short = clip(tmp_path, 40), clip(tmp_path, 90, 5)
    with pytest.raises(Failed, match="two clips or more"):
        shot_windows.join([long], *SIZE)
    with pytest.raises(Failed, match=r"90\.avi has 5 frames"):
        shot_windows.join([long, short], *SIZE)
