"""Aligned faces out of photos: the detector that ships, its five points, and a 150x150 chip for each face."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from export.detector import Array, Detector, Image, overlap
from export.files import lines_of
from export.packages import Failed

# Where CenterFace's five points lie in dlib's 150x150 chips, in pixels: eyes, tip of the nose, corners of the
# mouth, the picture's left first. The median over 115 faces that dlib aligned by its own five points, made symmetric.
TEMPLATE = np.array([[45.8, 46.2], [102.3, 46.2], [74.0, 78.4], [50.0, 103.3], [98.1, 103.3]], np.float32)
PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
SMALLEST = 36  # px; narrower faces of strangers are left out


def read_image(file: Path) -> Image:
    """(H, W, 3) uint8 BGR; Failed where OpenCV cannot read the file."""
    image = cv2.imread(str(file))
    if image is None:
        raise Failed(f"{file} is not an image that OpenCV can read")
    return np.asarray(image, np.uint8)


def squeezed(image: Image, height: int, width: int) -> Image:
    """(height, width, 3) uint8 RGB of a BGR image, whatever its proportions were."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1], np.uint8)


def similarity_transform(source: Array, target: Array) -> NDArray[np.float64]:
    """The (2, 3) matrix of the least-squares rotation, scale and shift from source to target (N, 2) (Umeyama, 1991)."""
    s, t = source - source.mean(0), target - target.mean(0)
    u, d, v = np.linalg.svd(t.T.astype(np.float64) @ s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ v))])
    rotation = (u * sign) @ v * ((d * sign).sum() / (s**2).sum())
    return np.column_stack([rotation, target.mean(0) - rotation @ source.mean(0)])


def cut(image: Image, keypoints: Array) -> Image:
    """The (150, 150, 3) uint8 RGB chip of the face with these five points in a BGR image."""
    matrix = similarity_transform(keypoints, TEMPLATE)
    shrink = int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 1:  # a warp reads four pixels for one: average the image down first
        image = np.asarray(
            cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA), np.uint8
        )
        matrix[:, 2] += matrix[:, :2] @ np.full(2, (shrink - 1) / 2)
        matrix[:, :2] *= shrink
    return np.ascontiguousarray(cv2.warpAffine(image, matrix, (150, 150), flags=cv2.INTER_LINEAR)[..., ::-1], np.uint8)


Align = Callable[[Image, Array, Array], Image]  # BGR image, box (4,), five points (5, 2) -> (150, 150, 3) RGB


def by_points(image: Image, _: Array, keypoints: Array) -> Image:
    """Align a face by the detector's own five points, as the pipeline does."""
    return cut(image, keypoints)


def by_dlib(shapes: Path) -> Align:
    """Align faces as dlib does, with its detector's rectangle and the landmarks of a shape predictor's file."""
    import dlib  # only to compare with: nothing else needs it

    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(shapes))

    def align(image: Image, box: Array, _: Array) -> Image:
        rgb = np.ascontiguousarray(image[..., ::-1])
        found = detect(rgb, int(max(image.shape) <= 1000))
        places = np.array([[r.left(), r.top(), r.right(), r.bottom()] for r in found], np.float32).reshape(-1, 4)
        overlaps = overlap(box, places)
        if len(places) and overlaps.max() > 0.3:
            rectangle = found[int(overlaps.argmax())]
        else:  # dlib missed it: the square that it would have put there
            x, y, half = (box[0] + box[2]) / 2, 0.45 * box[1] + 0.55 * box[3], 0.525 * (box[2] - box[0])
            rectangle = dlib.rectangle(*(int(v) for v in (x - half, y - half, x + half, y + half)))
        return np.asarray(dlib.get_face_chip(rgb, predict(rgb, rectangle), 150, 0.25), np.uint8)

    return align


def listed(faces: Path, photos: Path | None = None) -> list[tuple[str, Path]]:
    """Name and photo of each line NAME<TAB>PHOTO of a list, whose paths start from `photos` or else from its folder.

    Of a folder: each PERSON/PHOTO in it. Failed where it is neither, or names nobody.
    """
    if faces.is_dir():
        found = sorted(file for file in faces.glob("*/*") if file.suffix.lower() in PHOTOS)
        if not found:
            raise Failed(f"{faces} has no photos in it ({', '.join(PHOTOS)}); give a folder of PERSON/PHOTO.jpg")
        return [(file.parent.name, file) for file in found]
    if not faces.is_file():
        raise Failed(f"{faces} is not there; give a list of NAME<TAB>PHOTO lines or a folder of PERSON/PHOTO.jpg")
    lines = [line.split("\t") for line in lines_of(faces)]
    if not lines or any(len(line) != 2 for line in lines):
        number = next((number for number, line in enumerate(lines, 1) if len(line) != 2), 1)
        raise Failed(f"{faces}, line {number}, is not NAME<TAB>PHOTO; mend it")
    return [(name, (photos or faces.parent) / photo) for name, photo in lines]


class Chips(NamedTuple):
    """Faces out of photos, and whose they are."""

    names: list[str]  # a stranger's is his own, of his photo
    faces: Array  # (N, 150, 150, 3) RGB, 0..255
    missed: int  # photos of named people in which no face was found


def chips(faces: Path, photos: Path | None, detector: Path, align: Align = by_points) -> Chips:
    """The faces of a list of `name<TAB>photo` lines or a folder of people.

    A named photo gives its largest face; strangers, named "-", give every face that is at least SMALLEST px wide, each
    under a name of its own. Failed where there is no face in any photo.
    """
    find, missed = Detector(detector, 384, 640), 0
    if align is by_points and not find.landmarks:
        raise Failed(f"{detector.name} finds no landmarks to align faces by; give a face detector that does")
    names, cuts = [], []
    for name, photo in listed(faces, photos):
        image = read_image(photo)
        found = find(image, score=0.5)
        widths = found.boxes[:, 2] - found.boxes[:, 0]
        wanted = np.flatnonzero(widths >= SMALLEST) if name == "-" else widths.argsort()[::-1][:1]
        missed += name != "-" and not len(wanted)
        for index in wanted:
            names.append(f"- {photo} {index}" if name == "-" else name)
            cuts.append(align(image, found.boxes[index], found.keypoints[index]))
    if not cuts:
        raise Failed(f"{detector.name} finds no face in any photo of {faces}; give photos of faces")
    return Chips(names, np.stack(cuts).astype(np.float32), missed)
