"""Labels for detectors: what is read, what is written, what teachers agree on, and what is wrong with a file."""

import argparse
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.detection import anchors, labels_xml, teach
from export.detection.detection_data import from_folder, load
from export.detection.labels_xml import Labelled
from export.detector import Detector, Faces, overlap
from export.packages import Failed

ROOT = Path(__file__).resolve().parents[2]
FACE = ("face",)
CENTERFACE = ROOT / "models" / "centerface.onnx"


@pytest.fixture
def folder(astronaut: NDArray[np.uint8], tmp_path: Path) -> Path:
    """One picture in YOLO's format."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), astronaut)
    (tmp_path / "labels" / "one.txt").write_text("0 0.44 0.24 0.18 0.22\n1 0.5 0.5 1 1\n")
    return tmp_path


def label(*words: object) -> None:
    """`python -m export label ...`."""
    parser = argparse.ArgumentParser()
    teach.add(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["label", *map(str, words)])
    arguments.run(arguments)


def test_labels_come_back_as_they_were_written(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    photo = tmp_path / "one.png"
    cv2.imwrite(str(photo), astronaut)
    points = np.full((2, 5, 2), np.nan, np.float32)
    points[0] = [[207, 112], [243, 106], [230.5, 133], [214, 153], [248, 148]]
    boxes = np.array([[178, 66, 272.5, 180], [1, 2, 30, 40]], np.float32)
    labels_xml.write(tmp_path / "labels.xml", [Labelled(photo, boxes, points, np.array([False, True]))])
    (one,) = labels_xml.read(tmp_path / "labels.xml")
    assert one.photo == photo
    np.testing.assert_allclose(one.boxes, boxes, atol=0.05)
    np.testing.assert_allclose(one.keypoints, points, atol=0.05)
    assert one.ignored.tolist() == [False, True]


def test_a_yolo_folder_is_read_in_pixels(folder: Path) -> None:
    (sample,), _ = load([folder], FACE)
    np.testing.assert_allclose(sample.boxes[0], [0.35 * 512, 0.13 * 512, 0.53 * 512, 0.35 * 512], atol=0.01)
    assert sample.classes.tolist() == [0, 1]
    assert np.isnan(sample.keypoints).all()


def a_label(tmp_path: Path, *boxes: list[float], names: tuple[str, ...] = ()) -> Path:
    """An XML file with these boxes on a photo of 60x60 px."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((60, 60, 3), np.uint8))
    count = len(boxes)
    points, sure = np.full((count, 5, 2), np.nan, np.float32), np.zeros(count, bool)
    file = tmp_path / "labels.xml"
    labels_xml.write(file, [Labelled(tmp_path / "photo.png", np.array(boxes, np.float32), points, sure, names)])
    return file


def test_a_box_outside_its_photo_is_refused(tmp_path: Path) -> None:
    load([a_label(tmp_path, [40, 40, 70, 70])], FACE)  # a face at the edge
    with pytest.raises(Failed, match=r"labels\.xml has a box outside photo\.png, which is 60x60"):
        load([a_label(tmp_path, [10, 10, 20, 20], [500, 10, 520, 30])], FACE)


def test_boxes_have_the_class_of_their_name(tmp_path: Path) -> None:
    file = a_label(tmp_path, [1, 1, 20, 20], [1, 1, 50, 50], names=("face", "person"))
    (sample,), _ = load([file], ("person", "face"))
    assert sample.classes.tolist() == [1, 0]
    with pytest.raises(Failed, match=r"photo\.png has a box of person, where only face is asked for"):
        load([file], FACE)


def test_a_box_without_a_name_is_a_face_or_the_only_thing_there_is(tmp_path: Path) -> None:
    file = a_label(tmp_path, [5, 5, 9, 9])
    for labels, place in ((("person", "face"), 1), (("dog",), 0)):
        (sample,), _ = load([file], labels)
        assert sample.classes.tolist() == [place]
    with pytest.raises(Failed, match=r"photo\.png has a box of face, where only cat, dog is asked for"):
        load([file], ("cat", "dog"))


DLIBS = ((40, 20), (34, 21), (16, 21), (22, 20), (27, 34))  # corners of both eyes, and the nose
OURS = ((18, 20), (38, 20), (28, 30), (20, 40), (36, 40))


@pytest.mark.parametrize(
    ("names", "points", "known"),
    [
        (("0", "1", "2", "3", "4"), OURS, True),
        (("4", "2", "0", "1", "3"), [OURS[index] for index in (4, 2, 0, 1, 3)], True),  # the order is that of names
        (("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"), OURS, False),
        (("0", "1", "2", "3", "4"), DLIBS, None),
        (("0", "1", "2", "3", "4"), [OURS[index] for index in (1, 0, 2, 4, 3)], None),  # the person's left first
    ],
)
def test_parts_are_the_five_points_or_none(
    names: tuple[str, ...], points: tuple[tuple[int, int], ...], known: bool | None, tmp_path: Path
) -> None:
    parts = "".join(f"<part name='{n}' x='{x}' y='{y}'/>" for n, (x, y) in zip(names, points, strict=True))
    face = f"<box left='10' top='5' width='40' height='50'>{parts}</box>"
    file = tmp_path / "parts.xml"
    file.write_text(f"<dataset><images><image file='a.png'>{face}</image></images></dataset>")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 60, 3), np.uint8))
    if known is None:
        assert len(list(labels_xml.read(file))) == 1  # its boxes are good for measuring all the same
        with pytest.raises(Failed, match=r"the parts 0 to 4 in .*parts\.xml are not eyes, tip of the nose"):
            load([file], FACE)
    else:
        (sample,), _ = load([file], FACE)
        np.testing.assert_array_equal(sample.keypoints[0], OURS if known else np.full((5, 2), np.nan))


def test_frames_of_a_video_share_their_weight_and_a_profile_weighs_more(tmp_path: Path) -> None:
    box, nobody = np.array([[10, 10, 40, 50]], np.float32), np.array([False])
    frontal = np.array([[[18, 25], [32, 25], [25, 32], [20, 40], [30, 40]]], np.float32)
    aside = np.array([[[18, 25], [24, 25], [14, 32], [18, 40], [23, 40]]], np.float32)
    photos = [
        tmp_path / name
        for name in ("photo-1.png", "photo-2.png", "aside.png", "clip.frame00001.png", "clip.frame00002.png")
    ]
    for photo in photos:
        cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    points = (frontal, frontal, aside, frontal, frontal)
    labels_xml.write(
        tmp_path / "labels.xml",
        [Labelled(photo, box, one, nobody) for photo, one in zip(photos, points, strict=True)],
    )
    _, (once, again, profile, *frames) = load([tmp_path / "labels.xml"], FACE)
    assert once == again  # numbered photos are no frames
    assert profile > 2 * once
    assert frames[0] == frames[1] < once < sum(frames) < 2 * once


@pytest.mark.parametrize(
    "line",
    ["0 0.5 0.5 1.2 0.1", "0 -0.1 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "face 0 0 1 1", "0 .5 .5 0 .1"],
)
def test_a_label_out_of_range_is_named_with_its_line(folder: Path, line: str) -> None:
    (folder / "labels" / "one.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(Failed, match=r"one\.txt, line 2"):
        load([folder], FACE)


def test_an_empty_folder_says_what_it_should_have(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no images/"):
        load([tmp_path], FACE)


def test_a_picture_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "images" / "two.png").write_bytes(b"not a picture")
    with pytest.raises(Failed, match=r"two\.png"):
        load([folder], FACE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<dataset", "not an XML"),
        ("<dataset/>", "names no photo"),
        ("<i><image file='a'><box left='1'/></image></i>", "box"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "labels.xml"
    file.write_text(text)
    with pytest.raises(Failed, match=said):
        list(labels_xml.read(file))


def faces(*rows: tuple[list[float], float]) -> Faces:
    """Found boxes with their scores; the points lie in the middle."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    scores, points = np.array([score for _, score in rows], np.float32), np.repeat(middle[:, None], 5, 1)
    return Faces(boxes, scores, points, np.zeros(len(rows), np.int64))


def test_teachers_believe_what_both_see_and_leave_out_what_one_suspects() -> None:
    first = faces(([0, 0, 20, 20], 0.9), ([100, 0, 120, 20], 0.5), ([200, 0, 220, 20], 0.95))
    second = faces(([2, 0, 22, 20], 0.9), ([300, 0, 320, 20], 0.3))
    boxes, _, ignored = teach.agreed(first, second)
    np.testing.assert_allclose(boxes[0], [1, 0, 21, 20], atol=0.01)
    assert ignored.tolist() == [False, True, False, True]
    assert len(teach.agreed(faces(), faces())[0]) == 0


def test_label_finds_the_astronaut(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "labelled"
    command = [sys.executable, "-m", "export", "label", str(folder / "images"), "--out", str(out)]
    command += ["--teachers", str(CENTERFACE), str(CENTERFACE)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert str(out / "labels.xml") in done.stdout
    (one,) = labels_xml.read(out / "labels.xml")
    sure = one.boxes[~one.ignored]
    assert len(sure) == 1
    assert overlap(sure[0], np.array([[171, 57, 280, 219]], np.float32))[0] > 0.5
    assert np.isfinite(one.keypoints[~one.ignored]).all()


def test_yolox_labels_people_that_a_person_labelled(shared: Path, tmp_path: Path) -> None:
    """Photos of COCO: what the teacher is sure of are people, but for one or two, and it is sure of most large ones."""
    yolox, coco = shared / "weights" / "yolox_nano.onnx", shared / "photos" / "coco"
    photos = [coco / "images" / f"{number:012}.jpg" for number in (36, 49, 61, 74, 77)]
    label(*photos, "--teachers", yolox, "--out", tmp_path)
    labelled = dict(from_folder(coco))
    sure = people = found = 0
    for one, photo in zip(labels_xml.read(tmp_path / "labels.xml"), photos, strict=True):
        truth = labelled[photo.stem]
        persons = truth.boxes[truth.classes == 0]
        theirs = one.boxes[~one.ignored]
        sure += len(theirs)
        found += sum(overlap(box, persons).max(initial=0) > 0.5 for box in theirs)
        people += int((persons[:, 3] - persons[:, 1] > 100).sum())
        assert np.isnan(one.keypoints).all()
    assert found >= 0.8 * sure
    assert sure >= people == 3


def test_teachers_without_the_class(shared: Path, tmp_path: Path) -> None:
    photo, yolox = shared / "photos" / "coco" / "images" / "000000000036.jpg", shared / "weights" / "yolox_nano.onnx"
    for teacher, wanted, said in (
        (CENTERFACE, "person", r"centerface\.onnx has no class person \(face\); give its number"),
        (yolox, "person", r"yolox_nano\.onnx has no class person \(it names none\); give its number"),
    ):
        with pytest.raises(Failed, match=said):
            label(photo, "--teachers", teacher, "--class", wanted, "--out", tmp_path)
    with pytest.raises(Failed, match="3 teachers are too many; give one or two"):
        label(photo, "--teachers", *[CENTERFACE] * 3, "--out", tmp_path)


def test_the_shared_yunet_agrees_with_centerface(astronaut: NDArray[np.uint8], shared: Path) -> None:
    ours, theirs = (
        Detector(file, 320, 320)(astronaut, 0.5) for file in (CENTERFACE, shared / "weights" / "yunet_n_dynamic.onnx")
    )
    assert len(ours.scores) == len(theirs.scores) == 1
    assert overlap(ours.boxes[0], theirs.boxes)[0] > 0.6
    eyes = np.linalg.norm(ours.keypoints[0, 0] - ours.keypoints[0, 1])
    assert np.abs(ours.keypoints[0] - theirs.keypoints[0]).max() < 0.25 * eyes


def test_k_means_finds_the_sizes_that_are_there() -> None:
    random = np.random.default_rng(0)
    sizes = np.array([[12, 15], [40, 60], [150, 100]], np.float32)
    sides = np.concatenate([size * np.exp(random.normal(0, 0.05, (200, 2))) for size in sizes]).astype(np.float32)
    np.testing.assert_allclose(anchors.k_means(sides, 3, random), sizes, rtol=0.05)
