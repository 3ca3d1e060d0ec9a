from pathlib import Path

import numpy as np
import pytest

from stages.highlight.look import COLUMNS, Look, LookConfig, described, novelty

from .moving import Shown, decoded, rows, run, sampled


def looks(path: Path, most: int, start: int = 0):
    return np.stack([described(pixels) for _, pixels in sampled(decoded(path, most, start))])


def test_a_shot_is_like_itself_and_unlike_others(shared: Path) -> None:
    names = ("vtest.avi", "one-by-one-person-detection.mp4", "facenet_pytorch_video.mp4", "classroom.gif")
    scenes = [looks(shared / "videos" / name, 30) for name in names]
    for scene in scenes:
        assert scene.shape[1] == COLUMNS
        assert np.linalg.norm(scene, axis=1) == pytest.approx(1, abs=1e-5)
        assert (scene @ scene.T).min() > 0.85
        assert (scene @ scene.T).mean() > 0.9
    for at, scene in enumerate(scenes):
        for other in scenes[:at]:
            assert (scene @ other.T).max() < 0.6


def test_flat_pictures_have_a_look() -> None:
    black = described(np.zeros((2, 2, 3), np.uint8))
    white = described(np.full((360, 640, 3), 255, np.uint8))
    assert black @ black == pytest.approx(1, abs=1e-5)
    assert black @ white < 0.1


def test_what_is_seen_once_is_new(shared: Path) -> None:
    """Ten minutes of a corridor, ten seconds of something else, a second of nothing."""
    corridor = looks(shared / "videos" / "one-by-one-person-detection.mp4", 60)
    other = looks(shared / "videos" / "short_hamilton_clip.mp4", 60, start=100)
    seconds = corridor[np.arange(600) % len(corridor)]
    seconds[300:310] = other[np.arange(10) % len(other)]
    seconds[400] = 0
    new = novelty(seconds)
    assert new.dtype == np.float32
    assert new[300:310].min() > 0.4
    assert np.isnan(new[400])
    new[300:310] = new[400] = 0
    assert new.max() < 0.1


def test_what_comes_again_is_not_new(shared: Path) -> None:
    names = ("one-by-one-person-detection.mp4", "vtest.avi")
    scenes = [looks(shared / "videos" / name, 60)[:5] for name in names]
    assert novelty(np.concatenate(scenes * 20)).max() < 0.1


def test_a_long_video_is_as_a_short_one() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=COLUMNS).astype(np.float32)
    seconds = base + 0.01 * random.normal(size=(10_000, COLUMNS)).astype(np.float32)
    seconds[7_003:7_008] = random.normal(size=COLUMNS)
    seconds /= np.linalg.norm(seconds, axis=1, keepdims=True)
    new = novelty(seconds)
    assert new[7_003:7_008].min() > 0.8
    assert np.delete(new, range(7_003, 7_008)).max() < 0.01


@pytest.mark.parametrize("seconds", [0, 1, 3])
def test_of_a_short_video_nothing_is_new(seconds: int) -> None:
    assert novelty(np.eye(3, dtype=np.float32)[:seconds]).tolist() == [0.0] * seconds


def test_it_goes_on_behind_the_last_row(shared: Path, tmp_path: Path) -> None:
    shown = Shown(decoded(shared / "videos" / "vtest.avi", 10))
    config = LookConfig(store=str(tmp_path / "signals"), source="film")
    assert Look(config, shown).resume() == {}
    run(Look(config, shown), shown.tickets()[:4])
    again = Look(config, shown)
    assert again.resume() == {"film": 3}
    run(again, shown.tickets()[2:])
    assert shown.views == 10
    assert len(rows(Path(config.store), "look", config.key, COLUMNS)[0]) == 10
