"""Simulated attacks: what paper, screens and masks do to a face, and the folders that are made of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.detector import Detector, overlap
from export.feed import FINDER
from export.liveness.attacks import HELD, camera, cutout_attack, live, pixels, printed, refresh
from export.liveness.live_folders import Face, faces
from export.liveness.sheet import cover, fingers, hold, picture
from export.liveness.simulate import MARK, SPECIES, simulate
from export.packages import Failed

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(FINDER, 384, 640)


@pytest.fixture(scope="module")
def face(astronaut: Image, detector: Detector) -> Face:
    return faces(astronaut, detector)[0]


def test_every_presentation_shows_the_face_where_it_says(face: Face, astronaut: Image, detector: Detector) -> None:
    scene = np.full((300, 400, 3), 90, np.uint8)
    for seed in range(4):
        drawn = {name: attack(face, scene, np.random.default_rng(seed)) for name, attack in HELD.items()}
        drawn["live"] = live(face, np.random.default_rng(seed))
        drawn["cutout"] = cutout_attack(face, Face(astronaut[:, ::-1], *mirrored(face)), np.random.default_rng(seed))
        for name, (canvas, box) in drawn.items():
            found = faces(camera(canvas, np.random.default_rng(seed)), detector)
            assert found, (name, seed)
            assert overlap(box, found[0].box[None])[0] > 0.35, (name, seed)


def mirrored(face: Face) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    width = face.image.shape[1]
    box = np.array([width - face.box[2], face.box[1], width - face.box[0], face.box[3]], np.float32)
    return box, (face.keypoints[[1, 0, 2, 4, 3]] * [-1, 1] + [width, 0]).astype(np.float32)


def test_ink_on_paper_is_neither_black_nor_white_nor_bright() -> None:
    colours = np.zeros((60, 90, 3), np.float32)
    colours[:, 30:60, 2] = 1  # red
    colours[:, 60:] = 1
    rows, columns = np.mgrid[:60, :90].astype(np.float32)
    for seed in range(10):
        ink = printed(colours.copy(), columns, rows, np.random.default_rng(seed)).reshape(60, 3, 30, 3).mean((0, 2))
        assert ink[0].mean() > 0.03
        assert ink[2].mean() < 0.98
        assert ink[1, 2] - ink[1, 0] < 0.9


def test_a_screens_stripes_beat_with_the_camera_in_colour(face: Face) -> None:
    """Slow waves, of more than eight pixels, that differ from colour to colour, about a mean of one."""
    slow = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        pattern = pixels(hold(face, (480, 480), random, bend=0), random)
        assert pattern.mean() == pytest.approx(1, abs=0.02)
        smooth = cv2.GaussianBlur(pattern, (0, 0), 3)[20:-20, 20:-20]
        slow.append((smooth.std(), (smooth[..., 0] - smooth[..., 2]).std()))
    assert max(wave for wave, _ in slow) > 0.03
    assert max(colour for _, colour in slow) > 0.03


def test_refresh_only_darkens() -> None:
    bands = refresh(480, np.random.default_rng(0))
    assert bands.max() <= 1
    assert bands.min() < 0.96


def test_the_cover_ends_where_the_margin_does(face: Face) -> None:
    view = hold(face, (480, 480), np.random.default_rng(3), bend=0)
    margins = np.array([5, 10, 15, 20], np.float32)
    whole = cover(view, face, margins, 0)[..., 0]
    height, width = face.image.shape[:2]
    inside = (view.x > 0) & (view.x < width) & (view.y > 0) & (view.y < height)
    far = (view.x < -9) | (view.x > width + 19) | (view.y < -14) | (view.y > height + 24)
    assert (whole[inside] > 0.4).all()
    assert (whole[far] < 0.1).all()
    assert far.any()


def test_the_photo_is_where_the_view_puts_it(face: Face) -> None:
    view = hold(face, (480, 480), np.random.default_rng(5), bend=0.3)
    seen = picture(face, view)
    row, column = 240, 240
    expected = face.image[round(float(view.y[row, column])), round(float(view.x[row, column]))] / 255
    np.testing.assert_allclose(seen[row, column], expected, atol=0.15)


def test_no_edge_no_fingers() -> None:
    canvas = np.zeros((480, 480, 3), np.float32)
    whole = np.ones((480, 480, 1), np.float32)
    assert fingers(canvas, whole, np.random.default_rng(0)) is canvas
    whole[300:] = 0
    assert fingers(canvas, whole, np.random.default_rng(0)).max() > 0.1


@pytest.fixture(scope="module")
def photos_of_one(astronaut: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    cv2.imwrite(str(folder / "eileen--collins.png"), astronaut)
    return folder


def test_the_folders_are_the_same_for_the_same_seed(photos_of_one: Path, tmp_path: Path) -> None:
    written = [simulate(photos_of_one, tmp_path / str(run), 2, seed) for run, seed in enumerate((7, 7, 8))]
    assert set(written[0]) == set(SPECIES)
    assert all(count >= 1 for count in written[0].values())
    first, second, third = (
        {
            path.relative_to(tmp_path / str(run)): path.read_bytes()
            for path in sorted((tmp_path / str(run)).rglob("*.jpg"))
        }
        for run in range(3)
    )
    assert first == second != third
    assert {path.name.split("--")[0] for path in first} == {"eileen-collins"}  # one source, one group
    assert json.loads((tmp_path / "0" / MARK).read_text())["written"] == written[0]


def test_a_folder_that_is_not_empty_is_left_alone(photos_of_one: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Failed, match="is not empty; give a new folder"):
        simulate(photos_of_one, tmp_path, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_photos_of_nobody(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(Failed, match=r"no photo in .* has a face that can be found"):
        simulate(tmp_path, tmp_path / "out", 1, 0)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="is no folder"):
        simulate(tmp_path / "photos", tmp_path / "out", 1, 0)
