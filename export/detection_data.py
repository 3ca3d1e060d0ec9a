"""Labelled pictures for training a detector: dlib's XML, or a folder of YOLO labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from export import labels_xml
from export.augment import Sample
from export.chips import read_image
from export.detector import Array
from export.packages import Failed


def load(sources: Sequence[Path]) -> tuple[list[Sample], Array]:
    """The samples of XML files and YOLO folders, and (N,) weights: more frames of a video count for little more."""
    samples, groups = [], []
    for source in sources:
        for group, sample in from_folder(source) if source.is_dir() else from_xml(source):
            samples.append(sample)
            groups.append(group)
    many = Counter(groups)
    return samples, np.array([many[group] ** -0.8 for group in groups], np.float32)


def from_xml(file: Path) -> Iterator[tuple[str, Sample]]:
    """The photos of a dlib XML file; `name-00012` is a frame of the group `name`."""
    for one in labels_xml.read(file):
        stem, _, number = one.photo.stem.rpartition("-")
        group = stem if number.isdigit() else one.photo.stem
        yield (
            group,
            Sample(read_image(one.photo), one.boxes, one.keypoints, np.zeros(len(one.boxes), np.int64), one.ignored),
        )


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
