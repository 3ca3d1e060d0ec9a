"""Labels where no person labelled: what teachers are sure of counts, what one of them half believes is left out."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from export import model_file
from export.chips import PHOTOS, VIDEOS, read_image
from export.cli import Commands, command
from export.detection.detection_data import FRAME
from export.detection.labels_xml import Labelled, write
from export.detector import Array, Detector, Faces, Image, overlap
from export.files import folder_at, write_whole
from export.packages import Failed

LONGEST = 1280  # px; larger pictures are kept at this
SIZES = (
    320,
    640,
    1280,
)  # px, the sides of the teachers' square inputs: small faces need the large one, large faces the small one
MATCH = 0.4  # IoU from which on two boxes are one face
SURE = 0.6  # the mean score of both teachers, or the score of the only one asked
ALONE = 0.8  # the score of the only one of both that sees it
SUSPECT = 0.35  # what has at least this and is not believed is neither face nor background
FRAMES = 24  # of a video, evenly spread


class Teacher:
    """A detector at several input sizes, or at the one that it takes, for one of its classes."""

    def __init__(self, file: Path, wanted: str) -> None:
        """`wanted`: the class's name, or its number."""
        height, width = model_file.pictures_input(model_file.load(file), file).size
        sizes = [(height, width)] if height and width else [(side, side) for side in SIZES]
        self.detectors = [Detector(file, *size) for size in sizes]
        names = self.detectors[0].labels or ()
        if not wanted.isdigit() and wanted not in names:
            raise Failed(f"{file.name} has no class {wanted} ({', '.join(names) or 'it names none'}); give its number")
        self.wanted = int(wanted) if wanted.isdigit() else names.index(wanted)
        self.label = names[self.wanted] if self.wanted < len(names) else ""

    def __call__(self, image: Image) -> Faces:
        """What it sees of its class in a (H, W, 3) uint8 BGR image; the best score of any size counts."""
        longest = max(image.shape[:2])
        sizes = [one for one in self.detectors if one.height <= max(SIZES[0], 2 * longest)] or self.detectors
        return merged([of_class(detector(image, SUSPECT), self.wanted) for detector in sizes])


def of_class(found: Faces, wanted: int) -> Faces:
    """What is of one class."""
    which = found.classes == wanted
    return Faces(found.boxes[which], found.scores[which], found.keypoints[which], found.classes[which])


def merged(found: Sequence[Faces]) -> Faces:
    """One list without doubles, best first."""
    boxes, scores, keypoints, classes = (
        np.concatenate(part) for part in zip(*((f.boxes, f.scores, f.keypoints, f.classes) for f in found), strict=True)
    )
    keep: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if not keep or overlap(boxes[index], boxes[keep]).max() <= MATCH:
            keep.append(int(index))
    return Faces(boxes[keep], scores[keep], keypoints[keep], classes[keep])


def believed(alone: Faces) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Boxes, keypoints and whether to ignore, where there is only one teacher."""
    return alone.boxes, alone.keypoints, np.asarray(alone.scores < SURE, bool)


def agreed(first: Faces, second: Faces) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Boxes, keypoints and whether to ignore: a face that both see lies where their scores weigh it to."""
    free = np.ones(len(second.scores), bool)
    boxes, keypoints, ignored = [], [], []
    for box, score, points in zip(first.boxes, first.scores, first.keypoints, strict=True):
        overlaps = overlap(box, second.boxes) * free if len(free) else np.zeros(1)
        best = int(overlaps.argmax())
        if overlaps[best] >= MATCH:
            free[best] = False
            share = score / (score + second.scores[best])
            boxes.append(share * box + (1 - share) * second.boxes[best])
            ignored.append((score + second.scores[best]) / 2 < SURE)
        else:
            boxes.append(box)
            ignored.append(score < ALONE)
        keypoints.append(points)  # one teacher's throughout: the second's points lie a little elsewhere
    boxes += list(second.boxes[free])
    keypoints += list(second.keypoints[free])
    ignored += list(second.scores[free] < ALONE)
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(keypoints, np.float32).reshape(-1, 5, 2),
        np.array(ignored, bool),
    )


def pictures(sources: Sequence[Path]) -> Iterator[tuple[str, Image]]:
    """A name and a (H, W, 3) uint8 BGR picture of each photo and of FRAMES frames of each video under the sources."""
    for source in sources:
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.suffix.lower() in PHOTOS:
                yield "-".join(file.parts[-3:]).replace(" ", "_"), read_image(file)
            elif file.suffix.lower() in VIDEOS:
                yield from frames(file)


def frames(file: Path) -> Iterator[tuple[str, Image]]:
    """FRAMES frames of a video, or all where it has fewer."""
    try:
        with av.open(str(file)) as container:
            count = sum(1 for _ in container.decode(video=0))
            container.seek(0)
            wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    yield f"{file.stem}{FRAME}{index:05d}.jpg", np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.FFmpegError, IndexError) as error:
        raise Failed(f"{file} is not a video that can be read ({error}); leave it out") from error


def label(arguments: argparse.Namespace) -> None:
    """`label`: copies of the pictures, at most LONGEST px, and labels.xml beside them."""
    if len(arguments.teachers) > 2:
        raise Failed(f"{len(arguments.teachers)} teachers are too many; give one or two")
    teachers = [Teacher(file, arguments.wanted) for file in arguments.teachers]
    folder = folder_at(arguments.out)
    done: list[Labelled] = []
    names: set[Path] = set()
    for name, picture in pictures(arguments.sources):
        shrink = min(1.0, LONGEST / max(picture.shape[:2]))
        small = np.asarray(cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        file = folder / f"{Path(name).stem}.jpg"
        if file in names:
            raise Failed(f"two pictures would both be {file.name}; rename one of them")
        names.add(file)
        write_whole(file, cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
        found = [teacher(small) for teacher in teachers]
        boxes, keypoints, ignored = agreed(*found) if len(found) == 2 else believed(*found)
        done.append(Labelled(file, boxes, keypoints, ignored, (teachers[0].label,) * len(boxes)))
    if not done:
        raise Failed(f"there is no photo or video under {', '.join(map(str, arguments.sources))}; give other folders")
    write(folder / "labels.xml", done)
    sure, left_out = sum(int((~one.ignored).sum()) for one in done), sum(int(one.ignored.sum()) for one in done)
    print(f"{sure} boxes and {left_out} left out in {len(done)} pictures  {folder / 'labels.xml'}")


def add(commands: Commands) -> None:
    """The command `label`."""
    sub = command(commands, "label", label, "label photos and videos with one or two teachers, for training")
    sub.add_argument("sources", type=Path, nargs="+", help="photos, videos, and folders of them")
    sub.add_argument(
        "--teachers", type=Path, nargs="+", required=True, metavar="MODEL.onnx",
        help="one detector or two; where only one of two sees a thing well, it counts from a higher score on",
    )  # fmt: skip
    sub.add_argument(
        "--class",
        dest="wanted",
        default="0",
        metavar="NAME|NUMBER",
        help="what to label; the teachers' first by default",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
