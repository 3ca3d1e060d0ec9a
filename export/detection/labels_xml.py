"""Labelled photos as dlib's image metadata XML: boxes with names, five points as parts, and boxes to ignore."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from export.detector import Array
from export.files import write_whole
from export.packages import Failed

UNNAMED = "face"  # what a box without a name holds
POINTS = 5  # eyes, tip of the nose, corners of the mouth, the image's left first


@dataclass(frozen=True)
class Labelled:
    """The faces of one photo."""

    photo: Path
    boxes: Array  # (N, 4) float32 xyxy px
    keypoints: Array  # (N, 5, 2) float32 xy px; NaN where nobody says
    ignored: NDArray[np.bool_]  # (N,) neither right nor wrong to find
    names: tuple[str, ...] = ()  # N names of what is in the boxes, "" where the file does not say; (): of none

    def classes(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """The boxes' (N,) places in `labels`; Failed for a name that is not in it.

        A box without a name has the one label that there is, or is a face, as in dlib's own files.
        """
        names = [name or (labels[0] if len(labels) == 1 else UNNAMED) for name in self.named()]
        for name in names:
            if name not in labels:
                raise Failed(f"{self.photo.name} has a box of {name}, where only {', '.join(labels)} is asked for")
        return np.array([labels.index(name) for name in names], np.int64)

    def named(self) -> tuple[str, ...]:
        """The boxes' N names, "" where nobody says one."""
        return self.names or ("",) * len(self.boxes)


def read(file: Path, photos: Path | None = None) -> Iterator[Labelled]:
    """The photos of an XML file, their paths counted from `photos` or else from the file's folder.

    Failed where it is no such file or names no photo.
    """
    try:
        entries = list(ElementTree.parse(file).iter("image"))
    except (ElementTree.ParseError, OSError) as error:
        raise Failed(f"{file} is not an XML file of dlib's image metadata ({error}); give one") from error
    if not entries:
        raise Failed(f"{file} names no photo; give labels of at least one")
    for entry in entries:
        found = [
            (box, [number(box.get(side)) for side in ("left", "top", "width", "height")]) for box in entry.iter("box")
        ]
        boxes = np.array([sides for _, sides in found], np.float32).reshape(-1, 4)
        if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
            raise Failed(f"{file} has a box without a size on {entry.get('file')}; mend or remove it")
        boxes[:, 2:] += boxes[:, :2]
        yield Labelled(
            (photos or file.parent) / entry.get("file", ""),
            boxes,
            np.array([points(box) for box, _ in found], np.float32).reshape(-1, POINTS, 2),
            np.array([box.get("ignore") == "1" for box, _ in found], bool),
            tuple((box.findtext("label") or "").strip() for box, _ in found),
        )


def number(text: str | None) -> float:
    """NaN where it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def points(box: ElementTree.Element) -> list[list[float]]:
    """The five points of a box, or NaN: files with other parts (68 landmarks, or names) have none for us."""
    parts = {part.get("name", ""): part for part in box.iter("part")}
    if parts.keys() != {str(index) for index in range(POINTS)}:
        return [[float("nan")] * 2] * POINTS
    return [[number(parts[str(index)].get(axis)) for axis in ("x", "y")] for index in range(POINTS)]


def is_face(keypoints: Array) -> NDArray[np.bool_]:
    """(N,) whether points (N, 5, 2) can be a face's as we name them: from eye to eye as from mouth's corner to corner,
    and the mouth on the right of that line; dlib's own five (corners of the eyes, and the nose) cannot.
    """
    eyes, mouth = keypoints[:, 1] - keypoints[:, 0], keypoints[:, 4] - keypoints[:, 3]
    down = keypoints[:, 3:].mean(1) - keypoints[:, :2].mean(1)
    flag: NDArray[np.bool_] = ((eyes * mouth).sum(1) >= 0) & (eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0] >= 0)
    return flag


def write(file: Path, labelled: Iterable[Labelled]) -> None:
    """Write labels whose photos lie under the file's folder, to a tenth of a pixel."""
    dataset = ElementTree.Element("dataset")
    images = ElementTree.SubElement(dataset, "images")
    for one in labelled:
        image = ElementTree.SubElement(images, "image", file=str(one.photo.relative_to(file.parent)))
        for box, keypoints, ignored, name in zip(one.boxes, one.keypoints, one.ignored, one.named(), strict=True):
            left, top, right, bottom = box.tolist()
            sides = {"left": left, "top": top, "width": right - left, "height": bottom - top}
            said = {name: f"{value:.1f}" for name, value in sides.items()} | ({"ignore": "1"} if ignored else {})
            element = ElementTree.SubElement(image, "box", said)
            if name:
                ElementTree.SubElement(element, "label").text = name
            if np.isfinite(keypoints).all():
                for index, (x, y) in enumerate(keypoints.tolist()):
                    ElementTree.SubElement(element, "part", name=str(index), x=f"{x:.1f}", y=f"{y:.1f}")
    ElementTree.indent(dataset)
    write_whole(file, ElementTree.tostring(dataset, "utf-8", xml_declaration=True))
