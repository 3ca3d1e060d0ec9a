"""Labelled pictures for training a detector: dlib's XML, or a folder of YOLO labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from export.chips import read_image
from export.detection import labels_xml
from export.detection.augment import Sample
from export.detector import Array
from export.packages import Failed

FACE = ("face",)  # the classes of a detector of faces
FRAME = ".frame"  # in a file's name between that of a video and the number of the frame
ASIDE = 3.0  # how many times more a picture counts whose face is seen in profile


def load(sources: Sequence[Path], labels: Sequence[str]) -> tuple[list[Sample], Array]:
    """The samples of XML files, whose boxes have names of `labels`, and YOLO folders; and (N,) weights.

    More frames of a video count for little more, and a face that looks aside counts for several: they are rare.
    """
    samples, groups = [], []
    for source in sources:
        for group, sample in from_folder(source) if source.is_dir() else from_xml(source, labels):
            samples.append(sample)
            groups.append(group)
    many = Counter(groups)
    repeated = np.array([many[group] ** -0.8 for group in groups], np.float32)
    aside = np.array([turned(sample.keypoints).max(initial=0) for sample in samples], np.float32)
    return samples, repeated * (1 + ASIDE * aside)


def turned(keypoints: Array) -> Array:
    """How far each of the faces (N, 5, 2) looks aside, (N,) 0..1: its nose from its eyes' middle, in eye distances."""
    left, right, nose = keypoints[:, 0], keypoints[:, 1], keypoints[:, 2]
    line = right - left
    along = ((nose - (left + right) / 2) * line).sum(1) / np.maximum((line**2).sum(1), 1)
    away: Array = np.nan_to_num(np.abs(along)).clip(0, 1).astype(np.float32)
    return away


def from_xml(file: Path, labels: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    """The photos of a dlib XML file, those of one video as one group; Failed where its parts are other points."""
    every = list(labels_xml.read(file))
    points = np.concatenate([one.keypoints for one in every])
    known = points[np.isfinite(points).all((1, 2))]
    if len(known) and labels_xml.is_face(known).mean() < 0.5:  # a head that stands upside down may have them otherwise
        raise Failed(
            f"the parts 0 to 4 in {file} are not eyes, tip of the nose and corners of the mouth, the picture's left "
            "first; name them otherwise, or put them so"
        )
    for one in every:
        yield one.photo.stem.rpartition(FRAME)[0] or one.photo.stem, sample_of(one, labels, file)


def sample_of(one: labels_xml.Labelled, labels: Sequence[str], file: Path) -> Sample:
    """A photo and what `file` says is on it; Failed where a box lies beside it, or its name is not in `labels`."""
    pixels = read_image(one.photo)
    height, width = pixels.shape[:2]
    middles = (one.boxes[:, :2] + one.boxes[:, 2:]) / 2
    if ((middles < 0) | (middles > [width, height])).any():
        raise Failed(f"{file} has a box outside {one.photo.name}, which is {width}x{height}; mend or remove it")
    return Sample(pixels, one.boxes, one.keypoints, one.classes(labels), one.ignored)


def from_folder(folder: Path) -> Iterator[tuple[str, Sample]]:
    """images/*.jpg with labels/*.txt, a line a box: class, centre x and y, width, height in parts of the picture."""
    files = sorted((folder / "images").glob("*.*"))
    if not files:
        raise Failed(f"{folder} has no images/ with pictures; give a folder in YOLO's format or an XML file")
    for file in files:
        pixels = read_image(file)
        label = folder / "labels" / f"{file.stem}.txt"
        table = numbers(label) if label.exists() else np.zeros((0, 5), np.float32)
        height, width = pixels.shape[:2]
        centre, sides = table[:, 1:3] * [width, height], table[:, 3:5] * [width, height]
        boxes = np.concatenate([centre - sides / 2, centre + sides / 2], 1).astype(np.float32)
        count = len(table)
        keypoints = np.full((count, 5, 2), np.nan, np.float32)
        yield file.stem, Sample(pixels, boxes, keypoints, table[:, 0].astype(np.int64), np.zeros(count, bool))


def numbers(file: Path) -> Array:
    """(N, 5) float32 of a YOLO label file; Failed with the line that is not one."""
    rows = []
    for index, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        whole = len(row) == 5 and row[0] >= 0 and row[0].is_integer()
        if not whole or not all(0 <= value <= 1 for value in row[1:]) or min(row[3:]) == 0:
            raise Failed(
                f"{file}, line {index}: {line!r} is not a class, and a centre, width and height within 0..1; mend it"
            )
        rows.append(row)
    return np.array(rows, np.float32).reshape(-1, 5)
