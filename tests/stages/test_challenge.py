"""Challenge: heads that turn, real and computed, pass it; flat pictures, however they are turned, do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.challenge import SIDES, Challenge, Side
from stages.quality import DEPTH, HEIGHT, TALL, pose
from tests.stages.seeing import SAMPLES, OneFrame

MS = 1_000_000
Points = NDArray[np.float32]  # (5, 2) xy
# x to the right of the picture, y down, z away from the camera, in eye distances: a face seen from the front.
HEAD = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, HEIGHT * TALL, -DEPTH], [-0.42, TALL, 0], [0.42, TALL, 0]], np.float64)
SHEET = HEAD * np.array([1.0, 1.0, 0.0])


def seen(head: NDArray[np.float64], yaw: float = 0, pitch: float = 0, roll: float = 0, away: float = 1e4) -> Points:
    """`head` (5, 3) turned by angles in degrees (yaw to the person's left, pitch down), from `away` eye distances."""
    y, x, z = np.radians([-yaw, pitch, roll])
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    turned = head @ (np.array(about_z) @ np.array(about_x) @ np.array(about_y)).T
    points: Points = (320 + 60 * turned[:, :2] * away / (away + turned[:, 2:])).astype(np.float32)
    return points


def asked(side: Side, seconds: float = 8) -> Challenge:
    """A challenge that happens to ask for `side`."""
    return next(one for one in iter(lambda: Challenge(0, seconds), None) if one.side == side)


def watch(
    challenge: Challenge, faces: Iterable[Points], track: int = 1, step_ms: int = 40, start_ms: int = 0
) -> Challenge:
    """Show `faces` one after the other."""
    for number, points in enumerate(faces, start=1):
        challenge.see(track, points, (start_ms + number * step_ms) * MS, same=True)
    return challenge


def turn(*yaws: float, head: NDArray[np.float64] = HEAD, **how: float) -> list[Points]:
    """The head on its way through these yaws, in steps of 4 degrees."""
    way = [np.linspace(a, b, 2 + int(abs(b - a) / 4)) for a, b in pairwise(yaws)]
    return [seen(head, float(yaw), **how) for yaw in np.concatenate(way)]


@given(yaw=st.floats(-55, 55), pitch=st.floats(-25, 25), roll=st.floats(-170, 170))
def test_the_pose_of_a_head_seen_from_afar(yaw: float, pitch: float, roll: float) -> None:
    told = pose(seen(HEAD, yaw)[None])
    assert told.yaw[0] == pytest.approx(yaw, abs=0.5)
    assert told.tall[0] == pytest.approx(TALL / np.cos(np.radians(yaw)), rel=0.01)
    assert pose(seen(HEAD, pitch=pitch)[None]).pitch[0] == pytest.approx(pitch, abs=0.5)
    assert pose(seen(HEAD, roll=roll)[None]).roll[0] == pytest.approx(roll, abs=0.5)
    assert pose(seen(HEAD, yaw, roll=roll)[None]).yaw[0] == pytest.approx(yaw, abs=1)


@given(yaw=st.floats(-70, 70), pitch=st.floats(-40, 40), roll=st.floats(-170, 170))
def test_a_flat_picture_keeps_its_yaw(yaw: float, pitch: float, roll: float) -> None:
    assert pose(seen(SHEET, yaw, pitch, roll)[None]).yaw[0] == pytest.approx(0, abs=1)


def test_points_that_are_no_face_have_no_pose() -> None:
    mirrored = seen(HEAD)[[1, 0, 2, 4, 3]]
    for points in (mirrored, np.full((5, 2), 9, np.float32), np.repeat(np.arange(5, dtype=np.float32)[:, None], 2, 1)):
        assert np.isnan(pose(points[None]).yaw).all()


@pytest.mark.parametrize("side", SIDES)
def test_turning_to_the_side_that_is_asked_and_back_passes(side: Side) -> None:
    way = 1 if side == "left" else -1
    challenge = asked(side)
    assert challenge.request == "look at the camera"
    watch(challenge, turn(3, 0))
    assert challenge.request == f"turn your head to your {side}"
    watch(challenge, turn(0, 45 * way), start_ms=200)
    assert (challenge.state, challenge.request) == ("waiting", "look at the camera again")
    watch(challenge, turn(45 * way, 5), start_ms=900)
    assert (challenge.state, challenge.reason, challenge.request, challenge.track) == ("passed", "", "", 1)
    assert watch(challenge, turn(0, -50 * way), start_ms=1800).state == "passed"


def test_the_side_is_drawn_at_random() -> None:
    assert {Challenge(0, 1).side for _ in range(64)} == set(SIDES)


@pytest.mark.parametrize("side", SIDES)
def test_the_other_side_fails_for_good(side: Side) -> None:
    way = 1 if side == "left" else -1
    challenge = watch(asked(side), turn(0, -40 * way, 0))
    assert (challenge.state, challenge.reason) == ("failed", "other-side")
    assert watch(challenge, turn(0, 45 * way, 0), start_ms=1500).state == "failed"


@pytest.mark.parametrize(
    "way",
    [
        turn(50, 20, 50),  # was never seen from the front
        turn(-40, -20, 45),  # and comes in turned to the other side
        turn(0, 25, 0),  # not far enough
        turn(0, 45),  # and has not come back
        turn(0, 45, 20),
        [],
    ],
)
def test_half_of_it_is_not_enough(way: list[Points]) -> None:
    challenge = watch(asked("left", 8), way)
    assert challenge.state == "waiting"
    assert challenge.at(8_000 * MS) == "waiting"
    assert challenge.at(8_001 * MS) == "failed"
    assert challenge.reason == "late"


def test_a_turn_that_ends_after_the_deadline_is_late() -> None:
    challenge = watch(asked("left", 1), turn(0, 45), step_ms=40)
    assert challenge.see(1, seen(HEAD), 1_001 * MS, same=True) == "failed"
    assert challenge.reason == "late"


def test_a_turn_of_somebody_else_does_not_count() -> None:
    challenge = watch(asked("left"), turn(3, 0))
    for number, points in enumerate(turn(0, 45, 0), start=1):
        challenge.see(1, points, number * 40 * MS, same=False)
    assert challenge.request == "turn your head to your left"
    assert watch(challenge, turn(0, 45, 0), start_ms=1500).state == "passed"


def test_another_track_and_a_face_that_was_gone_begin_again() -> None:
    for track, start in ((2, 600), (1, 1_200)):
        challenge = watch(asked("left"), turn(0, 45))
        end = 600 + start
        watch(challenge, turn(45, 0), track=track, start_ms=end)
        assert challenge.state == "waiting"
        assert challenge.request == "turn your head to your left"
        watch(challenge, turn(0, 45, 0), track=track, start_ms=end + 600)
        assert (challenge.state, challenge.track) == ("passed", track)


def test_a_face_that_is_found_in_some_frames_only_is_followed() -> None:
    challenge = watch(asked("right"), turn(0, -50, 0)[::5], step_ms=200)
    assert challenge.state == "passed"
    blank = np.zeros((5, 2), np.float32)
    faces = [points for face in turn(0, -50, 0) for points in (face, blank)]
    assert watch(asked("right"), faces, step_ms=20).state == "passed"


@given(
    yaws=st.lists(st.floats(-65, 65), min_size=2, max_size=6),
    pitch=st.floats(-25, 25),
    roll=st.floats(-40, 40),
    away=st.floats(5, 30),  # eye distances: 32 cm and more
    side=st.sampled_from(SIDES),
)
def test_no_flat_picture_passes_however_it_is_held(
    yaws: list[float], pitch: float, roll: float, away: float, side: Side
) -> None:
    faces = turn(0, *yaws, 0, head=SHEET, pitch=pitch, roll=roll, away=away)
    assert watch(asked(side), faces, step_ms=20).state != "passed"


@pytest.mark.parametrize("radius", [1.1, 1.8])  # eye distances: as a head is bent, and less
def test_a_bent_picture_fakes_a_turn_but_its_eyes_come_together_too_fast(radius: float) -> None:
    bent = SHEET.copy()
    bent[:, 0], bent[:, 2] = radius * np.sin(SHEET[:, 0] / radius), radius * (1 - np.cos(SHEET[:, 0] / radius))
    faces = turn(0, 82, 0, head=bent)
    assert pose(np.stack(faces)).yaw.max() > 40
    for side in SIDES:
        assert watch(asked(side), faces, step_ms=20).state != "passed"


def mirrored(faces: list[Points], width: int) -> list[Points]:
    """The same faces in a mirror image."""
    return [(points * [-1, 1] + [width, 0])[[1, 0, 2, 4, 3]].astype(np.float32) for points in faces]


@pytest.fixture(scope="module")
def eye() -> OneFrame:
    return OneFrame()


def test_a_real_head_that_turns(eye: OneFrame, shared: Path) -> None:
    """She comes in turned to her right, looks ahead, turns to her left, and looks ahead again."""
    clip = shared / "videos" / "head-pose-face-detection-female.gif"
    faces = [found.keypoints[0] for found in eye.play(clip) if found.keypoints is not None]
    for shown, side in ((faces, "left"), (mirrored(faces, 480), "right")):
        other: Side = "right" if side == "left" else "left"
        assert watch(asked("left" if side == "left" else "right"), shown, step_ms=80).state == "passed"
        failed = watch(asked(other), shown, step_ms=80)
        assert (failed.state, failed.reason) == ("failed", "other-side")


def test_real_heads_that_are_tilted_but_not_turned(eye: OneFrame, shared: Path) -> None:
    clip = shared / "videos" / "head-pose-face-detection-female-and-male.gif"
    people: list[list[Points]] = [[], []]
    for found in eye.play(clip):
        assert found.keypoints is not None
        for person, row in zip(people, np.argsort(found.boxes[:, 0]), strict=True):
            person.append(found.keypoints[row])
    for person, side in product(people, SIDES):
        assert watch(asked(side), person, step_ms=80).state == "waiting"


def held(photo: NDArray[np.uint8], box: NDArray[np.float32], degrees: float) -> NDArray[np.uint8]:
    """(540, 720, 3) a photo that is turned about its upright axis, four face widths before the camera."""
    width, away, focus = float(box[2] - box[0]), 4.0, 800.0  # the face is 200 pixels wide
    middle = (box[:2] + box[2:]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    angle = np.radians(degrees)
    depth = away + corners[:, 0] * np.sin(angle)
    x, y = focus * corners[:, 0] * np.cos(angle) / depth, focus * corners[:, 1] / depth
    there = np.stack([x + 360, y + 270], axis=1).astype(np.float32)
    matrix = cv2.getPerspectiveTransform((corners * width + middle).astype(np.float32), there)
    return np.asarray(cv2.warpPerspective(photo, matrix, (720, 540), borderValue=(120, 120, 120)), np.uint8)


def test_real_photos_turned_in_the_hand_do_not_pass(eye: OneFrame, shared: Path) -> None:
    names = "openface_examples/adams.jpg", "face_recognition_examples/obama.jpg", "compreface_samples/003_A.jpg"
    photos = [SAMPLES / "enrol" / "Eileen Collins.jpg", *(shared / "photos" / name for name in names)]
    angles = [*range(0, 61, 5), *range(60, -61, -5), *range(-60, 1, 5)]
    for photo in photos:
        pixels = cv2.imread(str(photo))
        assert pixels is not None
        image = np.asarray(pixels, np.uint8)
        box = eye.faces(image).boxes[0]
        faces = list(shown(eye, (held(image, box, angle) for angle in angles)))
        assert len(faces) > len(angles) / 2
        assert abs(float(pose(faces[0][None]).yaw[0])) < 12  # so that it begins
        for side, way in product(SIDES, (faces, faces[::-1])):
            assert watch(asked(side), way).state != "passed"


def shown(eye: OneFrame, pictures: Iterator[NDArray[np.uint8]]) -> Iterator[Points]:
    """The points of the best face of each picture."""
    for picture in pictures:
        found = eye.faces(picture)
        if found.keypoints is not None and len(found.keypoints):
            yield found.keypoints[0]
