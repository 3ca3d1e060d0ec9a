from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.highlight.text import Text, TextConfig

from .moving import SECOND, Clip, Picture, Shown, decoded, rows, run, sampled

GOALS = (1.0, 2.0)  # s


@pytest.fixture
def measure(tmp_path: Path):
    """pts in s and (N,) what Text says of a clip, at 5 Hz."""

    def measured(clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        shown = Shown(sampled(clip))
        config = TextConfig(store=str(path))
        run(Text(config, shown), shown.tickets())
        times, found = rows(path, "text", config.key, 1)
        return times / SECOND, found[:, 0].copy()

    return measured


def painted(clip: Clip, paint: Callable[[Picture, float], None]) -> Clip:
    """The clip with something drawn over it."""
    found = []
    for pts_ns, pixels in clip:
        copy = pixels.copy()
        paint(copy, pts_ns / SECOND)
        found.append((pts_ns, copy))
    return found


def scoreboard(pixels: Picture, at: float) -> None:
    scale = pixels.shape[0] / 360
    home, away = (int(at >= goal) for goal in GOALS)
    cv2.rectangle(pixels, (int(16 * scale), int(16 * scale)), (int(190 * scale), int(46 * scale)), (60, 30, 20), -1)
    text = f"HOM {home} : {away} AWY"
    place, thick = (int(22 * scale), int(38 * scale)), max(1, round(1.7 * scale))
    cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, (255, 255, 255), thick, cv2.LINE_AA)


def caption(pixels: Picture, at: float) -> None:
    if GOALS[0] <= at < GOALS[1]:
        height, width = pixels.shape[:2]
        for colour, thick in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            place = int(width * 0.2), int(height * 0.9)
            size = 0.8 * height / 360
            cv2.putText(
                pixels, "this is what they say", place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA
            )


@pytest.mark.parametrize("clip", ["test.mp4", "car-detection.mp4", "test_video_structuralize.mp4"])
@pytest.mark.parametrize(("paint", "least"), [(scoreboard, 0.05), (caption, 0.4)])
def test_a_change_shows_when_it_is(
    shared: Path, measure, clip: str, paint: Callable[[Picture, float], None], least: float
) -> None:
    times, found = measure(painted(decoded(shared / "videos" / clip, 90), paint))
    for goal in GOALS:
        at = int(np.searchsorted(times, goal - 1e-6))
        assert found[at] > least
        found[at] = 0
    assert found.mean() < 0.02


@pytest.mark.parametrize("clip", ["test.mp4", "short_hamilton_clip.mp4", "bottle-detection.mp4"])
def test_without_text_there_is_next_to_nothing(shared: Path, measure, clip: str) -> None:
    assert measure(decoded(shared / "videos" / clip, 150))[1].mean() < 0.02  # glints on the bottles: 0.01


def test_another_size_begins_anew(measure) -> None:
    big, small = np.full((360, 640, 3), 90, np.uint8), np.full((200, 300, 3), 90, np.uint8)
    scoreboard(big, 0)
    clip = [(at * SECOND // 5, small if at >= 6 else big) for at in range(12)]
    assert not measure(clip)[1].any()


def test_a_kill_changes_nothing(shared: Path, tmp_path: Path) -> None:
    clip = painted(decoded(shared / "videos" / "test.mp4", 60), scoreboard)
    shown = Shown(sampled(clip))
    whole, killed = (TextConfig(store=str(tmp_path / name)) for name in ("whole", "killed"))
    run(Text(whole, shown), shown.tickets())
    for frame in shown.tickets():
        run(Text(killed, shown), shown.tickets()[max(0, frame.seq - 1) : frame.seq + 1])
    expected, found = (rows(Path(one.store), "text", one.key, 1) for one in (whole, killed))
    assert expected[1].any()
    assert np.array_equal(expected[0], found[0])
    assert np.array_equal(expected[1], found[1])
