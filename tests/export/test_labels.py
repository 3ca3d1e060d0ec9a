"""The labels of the test photos: they parse, name every photo there is, and their boxes lie inside the photos."""

from pathlib import Path

import pytest
from PIL import Image

from export.detection import labels_xml
from export.detection.labels_xml import Labelled
from export.detector import overlap

LABELS = Path(__file__).resolve().parents[2] / "export" / "labels"
FILES = {"coco_faces.xml": "coco/images", "compreface_faces.xml": "compreface_samples"}
ORIENTATION = 0x112  # EXIF's tag; 5 to 8 are on their side


def size(photo: Path) -> tuple[int, int]:
    """Width and height of a photo that is turned as its EXIF data say: as OpenCV reads it. Only its head is read."""
    with Image.open(photo) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ORIENTATION, 1) >= 5 else (width, height)


@pytest.fixture(scope="module", params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def labelled(name: str, shared: Path) -> list[Labelled]:
    return list(labels_xml.read(LABELS / name, shared / "photos"))


def test_every_photo_is_listed_once(name: str, labelled: list[Labelled], shared: Path) -> None:
    photos = sorted((shared / "photos" / FILES[name]).glob("*.jpg"))
    assert [one.photo for one in labelled] == photos


def test_boxes_lie_inside_the_photos_in_whole_pixels(labelled: list[Labelled]) -> None:
    for one in labelled:
        width, height = size(one.photo)
        assert (one.boxes == one.boxes.round()).all()
        assert (one.boxes[:, :2] >= 0).all()
        assert (one.boxes[:, 2:] <= [width, height]).all(), one.photo.name


def test_faces_that_count_are_shaped_like_faces(labelled: list[Labelled]) -> None:
    """One that the edge of the photo cuts may be wider than high."""
    for one in labelled:
        width, height = (one.boxes[~one.ignored, 2:] - one.boxes[~one.ignored, :2]).T
        assert (height >= 8).all()
        assert ((width / height > 0.35) & (width / height < 1.25)).all(), one.photo.name


def test_no_face_is_labelled_twice(labelled: list[Labelled]) -> None:
    for one in labelled:
        faces = one.boxes[~one.ignored]
        for index, box in enumerate(faces[1:], 1):
            assert (overlap(box, faces[:index]) < 0.4).all(), one.photo.name


def test_counts_are_those_in_the_names_of_the_photos(shared: Path) -> None:
    """The suffix is the number of faces, or the letter of the one person on the photo."""
    for one in labels_xml.read(LABELS / "compreface_faces.xml", shared / "photos"):
        suffix = one.photo.stem.partition("_")[2]
        assert (~one.ignored).sum() == (int(suffix) if suffix.isdigit() else 1), one.photo.name
