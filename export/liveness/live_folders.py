"""Folders of presentations: live/, and a folder for each species of attack (print/, replay/, ...), photos and videos.

A file is one presentation. Files that show the same source are of one group, so that no group is both trained on and
tested with: `SOURCE--3.jpg` is of the group SOURCE, a file with no "--" is a group by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from export.chips import PHOTOS, SMALLEST, VIDEOS, read_image
from export.detector import Array, Detector, Image
from export.models.liveness import SIDE
from export.packages import Failed

LIVE = "live"
FRAMES = 8  # of a video, spread over it
LAYOUTS = ("liveness", "minifasnet")  # of networks that look at faces in their context


@dataclass(frozen=True)
class Presentation:
    """A file, what it presents, and the group that it must not be parted from."""

    file: Path
    species: str  # "live", or the species of attack
    group: str


@dataclass(frozen=True)
class Face:
    """One picture of a presentation, and its largest face."""

    image: Image  # (H, W, 3) uint8 BGR
    box: Array  # (4,) float32 xyxy px
    keypoints: Array  # (5, 2) float32 xy px, as in detector.Faces


def presentations(data: Path, attacks: bool = True) -> list[Presentation]:
    """All files under `data`, by species and name; Failed where a folder is missing or empty.

    Without `attacks` a folder of nothing but live/ is good enough.
    """
    if not data.is_dir():
        raise Failed(f"{data} is no folder; give one with live/ and a folder for each species of attack in it")
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    if data / LIVE not in folders:
        raise Failed(f"{data} has no folder live/; put photos or videos of live faces there")
    if attacks and len(folders) < 2:
        raise Failed(f"{data} has only live/; put attacks into print/, replay/ or a folder of another name")
    found = []
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*PHOTOS, *VIDEOS))
        if not files:
            raise Failed(f"{folder} has no photo and no video in it; fill it or remove it")
        found += [Presentation(file, folder.name, file.stem.split("--")[0]) for file in files]
    return found


def pictures(file: Path) -> list[Image]:
    """The photo, or FRAMES frames spread over the video, each (H, W, 3) uint8 BGR; Failed where it cannot be read."""
    if file.suffix.lower() in PHOTOS:
        return [read_image(file)]
    video = cv2.VideoCapture(str(file))
    count = 0
    while video.grab():  # the count in the header is a guess for some formats
        count += 1
    if not count:
        raise Failed(f"{file} is not a video that OpenCV can read")
    wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())
    video.open(str(file))
    frames = []
    for index in range(count):
        video.grab()
        if index in wanted:
            frames.append(np.asarray(video.retrieve()[1], np.uint8))
    return frames


def faces(image: Image, detector: Detector) -> list[Face]:
    """The faces of a (H, W, 3) BGR picture that are at least SMALLEST px wide, the widest first."""
    found = detector(image, score=0.5)
    widths = found.boxes[:, 2] - found.boxes[:, 0]
    order = [index for index in np.argsort(-widths) if widths[index] >= SMALLEST]
    return [Face(image, found.boxes[index], found.keypoints[index]) for index in order]


def presented(file: Path, detector: Detector) -> Iterator[Face]:
    """The widest face of each picture of a presentation; pictures without a face are left out."""
    for image in pictures(file):
        yield from faces(image, detector)[:1]


def context(image: Image, box: Array, times: float) -> Image:
    """(80, 80, 3) uint8 BGR: the picture around a face, its box (4,) `times` over.

    As Silent-Face-Anti-Spoofing has it: near a border the crop is moved into the picture, and where the picture is too
    small for it, it is shrunk with its proportions. So nothing is made up beside the picture.
    """
    height, width = image.shape[:2]
    sides = box[2:] - box[:2]
    times = min(times, (width - 1) / sides[0], (height - 1) / sides[1])
    size = sides * times
    corner = ((box[:2] + box[2:]) / 2 - size / 2).clip(0, np.array([width, height]) - size)
    left, top = corner.astype(int)
    right, bottom = np.ceil(corner + size).astype(int)
    part = image[top:bottom, left:right]
    shrinks = min(part.shape[:2]) >= SIDE
    return np.asarray(
        cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def stacked(image: Image, box: Array, contexts: Sequence[float]) -> Image:
    """(80 * len(contexts), 80, 3) uint8 BGR: the crops of a face one above the other."""
    return np.concatenate([context(image, box, times) for times in contexts])


def contexts(align: str) -> tuple[float, ...]:
    """How many times over a file's crops have the face's box, out of its `align`, "x2.7 x4.0"."""
    return tuple(float(times.removeprefix("x")) for times in align.split())
