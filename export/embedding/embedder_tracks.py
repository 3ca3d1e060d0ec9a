"""`python -m export train tracks`: folders of people out of camera clips, for want of photos: a track is a person.

A face that lies where one lay a moment before is the same person's. That is right while a scene lasts and people do not
cross; over a cut, or when somebody comes back, it is not: look through the folders, join those of one person, and throw
out what is no face.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from export.cli import Commands, command, positive
from export.detector import Array, Detector, Image, overlap
from export.feed import FINDER
from export.files import write_whole
from export.packages import Failed

SMALLEST = 30  # px; narrower faces tell little
SURE = 0.6  # score
SAME = 0.3  # IoU with the track's last face
SHORTEST = 4  # pictures; a shorter track is left out
ROOM = 0.5  # of the face's longer side, left around it


@dataclass
class Track:
    """One face over time."""

    box: Array  # (4,) xyxy px, where it was last
    seen: int  # the frame in which that was
    pictures: list[tuple[int, Image]] = field(default_factory=list)  # frame, (H, W, 3) uint8 BGR


def around(image: Image, box: Array) -> Image:
    """The part of a BGR image with the face and ROOM around it."""
    room = ROOM * float((box[2:] - box[:2]).max())
    left, top = np.maximum(box[:2] - room, 0).astype(int).tolist()
    right, bottom = np.ceil(box[2:] + room).astype(int).tolist()
    return np.ascontiguousarray(image[top:bottom, left:right])


def frames(video: Path, every: int) -> Iterator[tuple[int, Image]]:
    """(number, (H, W, 3) uint8 BGR) of each `every`th frame; Failed where OpenCV cannot read the file."""
    capture = cv2.VideoCapture(str(video))
    number = 0
    while capture.grab():
        if number % every == 0:
            yield number, np.asarray(capture.retrieve()[1], np.uint8)
        number += 1
    if not number:
        raise Failed(f"{video} is not a video that OpenCV can read")


def tracks(video: Path, every: int, detector: Detector) -> list[Track]:
    """The tracks of SHORTEST pictures or more, in the order in which they began."""
    found: list[Track] = []
    for number, image in frames(video, every):
        faces = detector(image, score=SURE)
        free = [one for one in found if number - one.seen <= 2 * every]
        for box in faces.boxes[faces.boxes[:, 2] - faces.boxes[:, 0] >= SMALLEST]:
            overlaps = overlap(box, np.stack([one.box for one in free])) if free else np.zeros(1, np.float32)
            if overlaps.max() > SAME:
                one = free.pop(int(overlaps.argmax()))
            else:
                one = Track(box, number)
                found.append(one)
            one.box, one.seen = box, number
            one.pictures.append((number, around(image, box)))
    return [one for one in found if len(one.pictures) >= SHORTEST]


def run(arguments: argparse.Namespace) -> None:
    """Write a folder a track."""
    detector, people, pictures = Detector(FINDER, 384, 640), 0, 0
    for video in track(arguments.videos, "videos"):
        for index, one in enumerate(tracks(video, arguments.every, detector)):
            folder = arguments.out / f"{video.stem}-{index:02}"
            for number, picture in one.pictures:
                write_whole(folder / f"{number:05}.png", cv2.imencode(".png", picture)[1].tobytes())
            people, pictures = people + 1, pictures + len(one.pictures)
    if not people:
        raise Failed(
            f"no face of {SMALLEST} px or more stays for {SHORTEST} looked-at frames; give other videos or less --every"
        )
    print(
        f"{people} tracks, {pictures} pictures in {arguments.out}: join those of one person, throw out what is no face"
    )


def add(commands: Commands) -> None:
    """`tracks` under `train`."""
    sub = command(commands, "tracks", run, "folders of people out of videos: each face's track is a person")
    sub.add_argument("videos", type=Path, nargs="+")
    sub.add_argument("--every", type=positive, default=5, help="look at one frame in so many")
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FOLDER")
