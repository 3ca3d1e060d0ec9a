"""What the reel shows already, once more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from stages.highlight.look import described
from stages.highlight.repeats import Repeats
from stages.highlight.score import weigh
from stages.highlight.select import candidates, select
from stages.highlight.timeline import SECOND, Moment, Timeline
from tests.stages.highlight.moving import Clip, decoded, sampled, texture
from tests.stages.highlight.timelines import timeline

Looks = NDArray[np.float32]  # (T, D)


def looked(*clips: Clip, begin: float = 0) -> Looks:
    """Of each second of clips that follow each other, the first of which begins `begin` s late."""
    sums: dict[int, NDArray[np.float32]] = {}
    at = begin
    for clip in clips:
        for pts_ns, pixels in sampled(clip):
            second = int(at + pts_ns / SECOND)
            sums[second] = sums.get(second, np.float32(0)) + described(pixels)
        at += clip[-1][0] / SECOND
    rows = np.stack([sums[second] for second in sorted(sums)])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def showing(looks: Looks, cuts: tuple[float, ...] = (), motion: float = 0.1) -> Timeline:
    made = timeline(len(looks), path="b.mp4", cuts=cuts, motion=[motion] * len(looks))
    return Timeline(**{**vars(made), "look": looks, "video": changed(made.video, duration_ns=len(looks) * SECOND)})


def repeats(shown: tuple[int, float, float], pool: list[tuple[int, float, float]], *looks: Looks) -> list[bool]:
    """Which of the pool, (video, begin, end) in s, are repeats when that moment is shown."""
    made = [Moment(video, round(a * SECOND), round(b * SECOND), 1.0, {}, False) for video, a, b in pool]
    found = Repeats([showing(look) for look in looks], made)
    found.add(Moment(shown[0], int(shown[1] * SECOND), int(shown[2] * SECOND), 1.0, {}, False))
    return found.found.tolist()


def smaller(clip: Clip) -> Clip:
    """As a copy that was encoded anew."""
    found: Clip = []
    for pts_ns, pixels in clip:
        half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        coded = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
        found.append((pts_ns, cv2.imdecode(coded, cv2.IMREAD_COLOR)))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("begin", [0, 0.2, 0.5, 0.8])
def test_a_copy_is_a_repeat_wherever_its_seconds_begin(shared: Path, begin: float) -> None:
    clip = decoded(shared / "videos" / "short_hamilton_clip.mp4", 300)
    own, copy = looked(clip), looked(smaller(clip), begin=begin)
    pool = [(1, 3 + begin, 7 + begin), (1, 7 + begin, 9 + begin), (0, 7, 9), (0, 3, 7)]
    assert repeats((0, 3, 7), pool, own, copy) == [True, False, False, False]


def test_what_happens_before_a_fixed_camera_later_is_none(shared: Path) -> None:
    looks = looked(decoded(shared / "videos" / "vtest.avi", 300))
    pool = [(0, at, at + 5) for at in range(5, len(looks) - 5, 5)]
    assert not any(repeats((0, 0, 5), pool, looks))


def filmed(picture: NDArray[np.uint8], seconds: int, noise: float) -> Clip:
    """By a fixed camera, ten times a second."""
    random = np.random.default_rng(len(picture))
    found: Clip = []
    for at in range(10 * seconds):
        pixels = (picture + random.normal(0, noise, picture.shape)).clip(0, 255).astype(np.uint8)
        found.append((at * SECOND // 10, pixels))
    return found


@pytest.mark.parametrize("part", [0.0, 0.4, 0.8])
def test_before_a_fixed_camera_nothing_is_a_repeat_of_somebody_who_comes(part: float) -> None:
    random = np.random.default_rng(1)
    room, seated = random.random((2, 204))
    there = np.clip(np.arange(60) - 30 + part, 0, 1)[:, None]  # for that part of second 30
    looks = room + 0.3 * there * seated + random.normal(0, 0.001, (60, 204))
    looks = np.asarray(looks / np.linalg.norm(looks, axis=1, keepdims=True), np.float32)
    pool = [(0, at, at + 6) for at in range(0, 54, 6)]
    assert not any(repeats((0, 27, 33), pool, looks))


@pytest.mark.parametrize("shown", [(20, 26), (20, 21)])
def test_a_picture_that_stands_still_is_no_copy_of_itself(shown: tuple[int, int]) -> None:
    looks = looked(filmed(texture(180, 320), 60, 0))
    assert not any(repeats((0, *shown), [(0, at, at + 6) for at in range(0, len(looks) - 6, 6)], looks))


def test_a_second_that_has_part_of_another_shot_says_nothing_of_that_shot(shared: Path) -> None:
    fixed = decoded(shared / "videos" / "vtest.avi", 105)  # 10.5 s
    moving = decoded(shared / "videos" / "short_hamilton_clip.mp4", 150)
    pool = [(0, 0, 5), (0, 5, 10)]
    assert repeats((0, 10.5, 15), pool, looked(fixed, moving)) == [False, False]


def test_nothing_is_shown_twice(shared: Path) -> None:
    clip = decoded(shared / "videos" / "short_hamilton_clip.mp4", 300)
    other = decoded(shared / "videos" / "vtest.avi", 100)
    videos = [showing(looked(clip)), showing(looked(smaller(clip))), showing(looked(other), motion=0.01)]
    scores = [weigh(video, {"motion": 1.0}) for video in videos]
    found = select(candidates(videos, scores), [], videos, scores, 60 * SECOND)
    shown = sorted((one.start_ns, one.end_ns) for one in found if one.video != 2)
    assert all(one[1] <= two[0] for one, two in pairwise(shown))
    assert any(one.video == 2 for one in found)
