"""Photos to templates, with the networks that ship."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import Failed, Usage
from stages.detect import DetectConfig
from stages.gallery.enrol import LONGEST, Enrol, EnrolConfig, read
from tests.stages.clips import vast_png

SAMPLE = next((Path(__file__).parents[3] / "samples" / "enrol").glob("*.jpg"))


@pytest.fixture(scope="module")
def enrol() -> Enrol:
    return Enrol(EnrolConfig())


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    image = cv2.imread(str(SAMPLE))
    assert image is not None
    return image.astype(np.uint8)


def saved(path: Path, image: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def similarity(enrol: Enrol, first: Path, second: Path) -> float:
    (a, b), _ = enrol([first, second])
    return float(a @ b)


def test_one_row_of_unit_length_a_photo(enrol: Enrol, tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    mirrored = saved(tmp_path / "mirrored.png", np.ascontiguousarray(portrait[:, ::-1]))
    embeddings, _ = enrol([SAMPLE, mirrored])
    assert embeddings.shape == (2, 128)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert 0.7 < embeddings[0] @ embeddings[1] < 0.9999


def test_the_orientation_in_exif_is_respected(enrol: Enrol, tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    turned = cv2.imencode(".jpg", cv2.rotate(portrait, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    orientation = 6  # turn by 90 degrees clockwise to see it upright
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    (tmp_path / "turned.jpg").write_bytes(turned[:2] + exif + turned[2:])
    assert similarity(enrol, SAMPLE, tmp_path / "turned.jpg") > 0.95


def test_a_face_that_fills_the_photo_is_found(enrol: Enrol, tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    left, top, right, bottom = enrol._faces(portrait).boxes[0].astype(int)
    cut = saved(tmp_path / "cut.png", portrait[top:bottom, left:right])
    assert similarity(enrol, SAMPLE, cut) > 0.7


def test_a_huge_photo_is_shrunk(tmp_path: Path) -> None:
    huge = saved(tmp_path / "huge.jpg", np.zeros((4000, 6000, 3), np.uint8))
    assert max(read(huge).shape) == LONGEST * 1.5


def no_face(path: Path, portrait: NDArray[np.uint8]) -> str:
    saved(path, np.full((480, 640, 3), 90, np.uint8))
    return "shows no face"


def two_faces(path: Path, portrait: NDArray[np.uint8]) -> str:
    saved(path, np.hstack([portrait, portrait]))
    return "shows 2 faces"


def small_face(path: Path, portrait: NDArray[np.uint8]) -> str:
    ratio = 80 / max(portrait.shape)
    saved(path, cv2.resize(portrait, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA).astype(np.uint8))
    return r"pixels wide: take a photo where it has at least 40"


def nothing_in_it(path: Path, portrait: NDArray[np.uint8]) -> str:
    path.touch()
    return "is empty"


def no_picture(path: Path, portrait: NDArray[np.uint8]) -> str:
    path.write_text("I am a text, whatever my name says")
    return "is no photo, or a damaged one"


def cut_off(path: Path, portrait: NDArray[np.uint8]) -> str:
    content = SAMPLE.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return "is no photo, or a damaged one"


def vast(path: Path, portrait: NDArray[np.uint8]) -> str:
    path.write_bytes(vast_png())
    return "has 20000 x 20000 pixels: save it smaller, with 51 million at most"


def moving(path: Path, portrait: NDArray[np.uint8]) -> str:
    first, *rest = (Image.fromarray(portrait[:, ::step, ::-1]).resize((320, 240)) for step in (1, -1, 2))
    first.save(path, "PNG", save_all=True, append_images=rest)
    return "moves"


def moving_and_cut_off(path: Path, portrait: NDArray[np.uint8]) -> str:
    """Its first picture is whole, so that it can be taken for one that stands still."""
    moving(path, portrait)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return "is no photo, or a damaged one"


def missing(path: Path, portrait: NDArray[np.uint8]) -> str:
    return "there is no photo"


def a_folder(path: Path, portrait: NDArray[np.uint8]) -> str:
    path.mkdir()
    return "there is no photo"


BAD = [
    no_face,
    two_faces,
    small_face,
    nothing_in_it,
    no_picture,
    cut_off,
    vast,
    moving,
    moving_and_cut_off,
    missing,
    a_folder,
]


@pytest.mark.parametrize("make", BAD)
def test_a_photo_that_cannot_be_enrolled(
    enrol: Enrol, tmp_path: Path, portrait: NDArray[np.uint8], make: Callable[[Path, NDArray[np.uint8]], str]
) -> None:
    path = tmp_path / "photo.png"
    sentence = make(path, portrait)
    with pytest.raises(Failed, match=sentence) as raised:
        enrol([SAMPLE, path])
    assert raised.value.code == 1
    assert str(path) in str(raised.value)


def test_a_detector_without_landmarks(shared: Path) -> None:
    people = Enrol(EnrolConfig(detect=DetectConfig(model=str(shared / "weights" / "yolox_nano.onnx"))))
    with pytest.raises(Usage, match=r"set detect\.model"):
        people([SAMPLE])


ONE_FACE = (
    "face_recognition_examples/*.png",
    "face_recognition_examples/[bo]*.jpg",
    "face_recognition_examples/train/*/*",
    "facenet_pytorch/test_images/*/*",
    "facenet_pytorch/test_images_aligned/*/*",
    "openface_examples/[acl]*[!r].jpg",
    "compreface_samples/*_[ABC].jpg",
)


@pytest.mark.parametrize("pattern", ONE_FACE)
def test_real_photos_of_one_person(enrol: Enrol, shared: Path, pattern: str) -> None:
    photos = sorted((shared / "photos").glob(pattern))
    assert len(enrol(photos)[0]) == len(photos) > 0


@pytest.mark.parametrize("photo", ["010_2", "011_3", "012_4", "015_6", "016_8"])
def test_real_photos_of_several_people(enrol: Enrol, shared: Path, photo: str) -> None:
    with pytest.raises(Failed, match=f"shows {photo[-1]} faces"):
        enrol([shared / "photos" / "compreface_samples" / f"{photo}.jpg"])


def test_the_same_person_is_nearer_than_strangers(enrol: Enrol, shared: Path) -> None:
    photos = shared / "photos" / "face_recognition_examples"
    (obama, again, biden, miranda), _ = enrol(
        [
            photos / "obama.jpg",
            photos / "train/obama/obama2.jpg",
            photos / "biden.jpg",
            photos / "lin-manuel-miranda.png",
        ]
    )
    assert obama @ again > 0.6 > max(obama @ biden, obama @ miranda)


def test_a_portrait_gives_what_its_photo_gave(enrol: Enrol, shared: Path) -> None:
    photos = sorted((shared / "photos/facenet_pytorch").glob("*/*.jpg"))[:3] or [SAMPLE]
    embeddings, portraits = enrol([SAMPLE, *photos])
    assert (np.sum(embeddings * enrol.embed(portraits), axis=1) > 0.97).all()
    assert max(max(portrait.pixels().shape) for portrait in portraits) <= 400
