from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.highlight.motion import Motion, MotionConfig

from .moving import Clip, Picture, Shown, decoded, made, rows, run, texture

GROUND = texture(400, 900)
THING = texture(120, 120, seed=1)


@pytest.fixture
def measure(tmp_path: Path):
    """(N, 3): what Motion says of a clip."""

    def measured(clip: Clip) -> NDArray[np.float32]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        shown = Shown(clip)
        config = MotionConfig(store=str(path))
        run(Motion(config, shown), shown.tickets())
        return rows(path, "motion", config.key, 3)[1]

    return measured


def pan(at: float, speed: float = 90, thing: float | None = None) -> Picture:
    """640x360 of the ground, after panning at `speed` px a second, with a square that moves right at `thing`."""
    shift = np.array([[1, 0, -speed * at], [0, 1, 0]])
    picture = cv2.warpAffine(GROUND, shift, (640, 360), flags=cv2.INTER_LINEAR)
    if thing is not None:
        place = np.array([[1, 0, 100 + thing * at], [0, 1, 120]])
        cv2.warpAffine(THING, place, (640, 360), picture, borderMode=cv2.BORDER_TRANSPARENT)
    return picture


def test_a_pan_is_the_cameras(measure) -> None:
    found = measure(made(pan, 1, 25))
    assert found[0].tolist()[:2] == [0, 0]
    assert np.isnan(found[0, 2])
    assert found[2:, 1] == pytest.approx(90 / 360, rel=0.05)
    assert found[:, 0].max() < 0.02 * 90 / 360


@pytest.mark.parametrize("speed", [0, 70])
def test_a_thing_that_moves_is_where_it_is(measure, speed: float) -> None:
    found = measure(made(lambda at: pan(at, speed, 140), 2, 25))[3:]
    own = (140 + speed) / 360 * (120 * 120) / (640 * 360)  # against the ground: it pans the other way
    assert found[:, 0].mean() == pytest.approx(own, rel=0.3)
    centres = (100 + 60 + 140 * (np.arange(3, 50) / 25)) / 640
    assert np.abs(found[:, 2] - centres).max() < 0.06
    assert found[:, 1].mean() == pytest.approx(speed / 360, rel=0.1, abs=0.001)


def test_rate_and_size_do_not_matter(measure) -> None:
    clip = made(lambda at: pan(at, 0, 140), 2, 30)
    base = measure(clip)[:, 0].mean()
    double = [(pts_ns, cv2.resize(pixels, (1280, 720))) for pts_ns, pixels in clip]
    assert measure(clip[::2])[:, 0].mean() == pytest.approx(base, rel=0.1)
    assert measure(double)[:, 0].mean() == pytest.approx(base, rel=0.1)


@pytest.mark.parametrize("ground", [GROUND[:360, :640], np.full((360, 640, 3), 90, np.uint8)])
def test_noise_and_light_are_no_motion(measure, ground: Picture) -> None:
    random = np.random.default_rng(2)

    def paint(at: float) -> Picture:
        light = 1.2 if at > 0.5 else 1.0
        return (ground * light + random.normal(0, 6, ground.shape)).clip(0, 255).astype(np.uint8)

    found = measure(made(paint, 1, 25))
    assert found[:, 0].max() < 0.002
    assert found[:, 1].max() == 0


def test_a_cut_is_no_motion(measure) -> None:
    other = texture(400, 900, seed=5)[:360, :640]
    clip = made(lambda at: pan(at, 0, 140) if at < 1 else other, 2, 25)
    found = measure(clip)
    assert found[24, 0] > 0.005
    assert found[25:, :2].max() == 0
    assert np.isnan(found[25:, 2]).all()


def test_real_cuts_and_a_camera_that_is_thrown_around(shared: Path, measure) -> None:
    cut = measure(decoded(shared / "videos" / "short_hamilton_clip.mp4", 12, start=14))
    assert np.isnan(cut[6, 2])  # frame 20
    assert not np.isnan(cut[3:6, 2]).any()
    thrown = measure(decoded(shared / "videos" / "demo.mp4", 10, start=184))
    assert not np.isnan(thrown[2:, 2]).any()  # the second frame repeats the first


def test_odd_frames(measure) -> None:
    """Black, tiny, of another size, twice at one time: no motion, and no error."""
    black, tiny, other = np.zeros((360, 640, 3), np.uint8), np.zeros((2, 2, 3), np.uint8), GROUND[:300, :200]
    clip = [(0, black), (40, black), (40, black), (80, tiny), (10**9, tiny), (2 * 10**9, other), (3 * 10**9, other)]
    assert np.nanmax(measure([(int(at), pixels) for at, pixels in clip])) == 0


def test_a_kill_changes_nothing(shared: Path, tmp_path: Path) -> None:
    """After every frame a new process goes on; some frames come again."""
    shown = Shown(decoded(shared / "videos" / "short_hamilton_clip.mp4", 24))
    whole, killed = (MotionConfig(store=str(tmp_path / name)) for name in ("whole", "killed"))
    run(Motion(whole, shown), shown.tickets())
    views = shown.views
    for frame in shown.tickets():
        again = shown.tickets()[max(0, frame.seq - 2) : frame.seq]
        run(Motion(killed, shown), [*again, frame])
    assert shown.views == 2 * views
    expected, found = (rows(Path(one.store), "motion", one.key, 3) for one in (whole, killed))
    assert np.array_equal(expected[0], found[0])
    assert np.array_equal(expected[1], found[1], equal_nan=True)


def test_real_clips(shared: Path, measure) -> None:
    """Cars move; an empty corridor does not; a camera in the hand is told from what it sees."""
    videos = shared / "videos"
    car, road = (measure(decoded(videos / "car-detection.mp4", 30, start)) for start in (70, 290))
    assert np.median(car[3:, 0]) > 5 * max(0.01, float(np.median(road[:, 0])))
    assert car[:, 1].mean() < 0.01
    corridor = measure(decoded(videos / "one-by-one-person-detection.mp4", 20))
    assert np.median(corridor[:, 0]) < 0.001
    hand = measure(decoded(videos / "test.mp4", 40))
    assert hand[:, 1].mean() > 1.5 * hand[:, 0].mean()
