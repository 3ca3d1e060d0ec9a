"""Faces by person out of folders, `person/photo.jpg`: the largest face of each photo, aligned, and who is held out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.chips import cut, listed, read_image
from export.detector import Detector, Image
from export.feed import FINDER
from export.packages import Failed

HELD_OUT = 0.3  # of the people
SURE = 0.5  # score of the detector
FEWEST = 2  # people with two photos or more, in either part


@dataclass(frozen=True)
class People:
    """Faces and whose they are."""

    chips: Image  # (N, 150, 150, 3) uint8 RGB
    names: NDArray[np.str_]  # (N,)

    def of(self, names: list[str]) -> "People":
        """The faces of these people alone."""
        rows = np.isin(self.names, names)
        return People(self.chips[rows], self.names[rows])

    def with_pairs(self) -> list[str]:
        """The people of two photos or more, by name."""
        names, counts = np.unique(self.names, return_counts=True)
        return [str(name) for name in names[counts >= 2]]


def face(file: Path, detector: Detector) -> Image:
    """The (150, 150, 3) uint8 RGB chip of the largest face; Failed where there is none or the file is no photo."""
    image = read_image(file)
    found = detector(image, score=SURE)
    if not len(found.boxes):
        raise Failed("no face is found in it")
    return cut(image, found.keypoints[int((found.boxes[:, 2] - found.boxes[:, 0]).argmax())])


def read(data: Path) -> People:
    """All faces of a folder; says which photos are left out, and why. Failed where none is left."""
    if not data.is_dir():
        raise Failed(f"{data} is no folder; give one that has a folder of photos for each person")
    photos, detector = listed(data), Detector(FINDER, 384, 640)
    chips, names, left_out = [], [], []
    for name, file in track(photos, "faces"):
        try:
            chips.append(face(file, detector))
            names.append(name)
        except (Failed, cv2.error) as error:
            reason = str(error) if "no face" in str(error) else "it cannot be read as an image"
            left_out.append(f"  {file.relative_to(data)}: {reason}")
    if left_out:
        print(f"{len(left_out)} of {len(photos)} photos are left out:", *left_out, sep="\n")
    if not chips:
        raise Failed(f"{data} has no photo with a face that is found; give photos of one face each")
    return People(np.stack(chips), np.array(names))


def ranked(names: list[str]) -> list[str]:
    """The names in an order that is the same everywhere and has nothing to do with them."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def split(people: People) -> tuple[People, People]:
    """(to learn from, held out): HELD_OUT of the people with two photos or more, and of the others, by their names.

    Failed where the held-out part has fewer than FEWEST people with two photos or more, so that nothing can be
    measured, or where nobody is left to tell others from.
    """
    several, everybody = people.with_pairs(), sorted(set(people.names.tolist()))
    if len(everybody) == 1:
        raise Failed(f"all photos are of one person, {everybody[0]}; a network learns from the differences of several")
    if len(several) < FEWEST:
        raise Failed(
            f"{len(several)} of {len(everybody)} people have two photos or more, but two such people are held out to "
            "measure with, and all losses but arcface need two more to learn from; add photos of the same people"
        )
    count = max(FEWEST, round(HELD_OUT * len(several)))
    single = ranked([name for name in everybody if name not in several])
    held = ranked(several)[:count] + single[: round(HELD_OUT * len(single))]
    kept = [name for name in everybody if name not in held]
    if len(kept) < 2:
        raise Failed(
            f"{len(held)} of {len(everybody)} people are held out to measure with, which leaves {len(kept)} to learn "
            "from; add photos of two more people, better of twenty"
        )
    return people.of(kept), people.of(held)


def need_pairs(people: People, loss: str) -> None:
    """Failed where a loss over pairs has no two people with two photos or more to learn from."""
    if len(people.with_pairs()) < FEWEST:
        raise Failed(
            f"--loss {loss} learns from pairs of one person's photos, and {len(people.with_pairs())} of the "
            f"{len(set(people.names.tolist()))} people to learn from have two; add photos of the same people, or take "
            "--loss arcface, which can do with one a person"
        )
