"""Detectors side by side on labelled photos: what each finds, misses and makes up, and how long it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from export import plots
from export.decode import SCORE
from export.detection import detection_data, labels_xml, matching
from export.detection.augment import Sample
from export.detection.detection_data import FACE, sample_of
from export.detection.labels_xml import UNNAMED
from export.detection.matching import Boxes, Indices, Photo
from export.detector import Array, Detector, Image
from export.files import lines_of
from export.latency import Latency, latencies
from export.model_file import load, picture_size
from export.packages import Failed

SMALLEST = 16.0  # px of the network's input
MOVED = 2.0  # px of the network's input by which a photo moves, to see how far landmarks jump that ought to move along


@dataclass(frozen=True)
class Labelled:
    """Photos one after the other, and the names of their classes; None: they are the model's own."""

    photos: Iterator[tuple[str, Sample]]
    names: tuple[str, ...] | None
    numbered: bool  # classes are numbers in the labels, and `names` tells them in this order

    @property
    def order(self) -> tuple[str, ...] | None:
        """The classes of a model that names none, in its order: YOLO's folders have it, of XML files only faces do."""
        return self.names if self.numbered or self.names == FACE else None


@dataclass
class Rated:
    """A detector, and what it made of the photos so far."""

    model: Path
    detector: Detector
    labels: tuple[str, ...]
    photos: list[Photo] = field(default_factory=list)
    missed: list[plots.Tile] = field(default_factory=list)
    false: list[plots.Tile] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)  # landmarks, in eye distances


@dataclass(frozen=True)
class Result:
    """The figures of one detector."""

    model: str
    AP50: float
    AP50_95: float
    classes: dict[str, tuple[float, float]]  # AP50 and AP50:95 of each
    recall: float  # of all that is asked for, at the score
    precision: float | None  # at the score; None where nothing was found
    false: int  # at the score
    sizes: dict[str, tuple[int, int]]  # found at the score, and there, by height
    landmarks: float | None  # median distance from the other model's, in eye distances
    landmark_faces: int
    milliseconds: Latency


def shrink(pixels: Image, height: int, width: int) -> float:
    """Pixels of an input of height x width for one of the photo."""
    return float(min(height / pixels.shape[0], width / pixels.shape[1]))


def opened(model: Path, height: int, width: int, names: Sequence[str] | None = FACE) -> Rated:
    """A detector at this size, whose classes are `names` where the file does not say.

    Failed where it is none, takes another size, or nobody names its classes.
    """
    picture_size(load(model), model, (height, width))
    detector = Detector(model, height, width)
    if not detector.labels and not names:
        raise Failed(f"{model.name} does not name its classes; name them in classes.txt or with --names, a line each")
    return Rated(model, detector, detector.labels or tuple(names or ()))


def names_in(file: Path) -> tuple[str, ...]:
    """The names of classes, a line each."""
    return tuple(filter(None, map(str.strip, lines_of(file))))


def labelled(data: Sequence[Path], photos: Path | None, names: Path | None) -> Labelled:
    """XML files of dlib's image metadata, which name their boxes, or one folder in YOLO's format.

    Its classes are in `names`, or in its classes.txt.
    """
    if not any(place.is_dir() for place in data):
        found = (name or UNNAMED for file in data for one in labels_xml.read(file) for name in one.named())
        known = tuple(dict.fromkeys(found)) or FACE
        return Labelled((pair for file in data for pair in from_xml(file, photos, known)), known, numbered=False)
    if len(data) > 1:
        raise Failed("give either XML files or one folder in YOLO's format, not both and not two")
    listing = names or data[0] / "classes.txt"
    said = names_in(listing) if names or listing.is_file() else ()
    return Labelled(detection_data.from_folder(data[0]), said or None, numbered=True)


def from_xml(file: Path, photos: Path | None, names: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    """The photos of an XML file by name; each lies under `photos`, or else beside the file. Boxes have `names`."""
    for there, beside in zip(labels_xml.read(file, photos), labels_xml.read(file), strict=True):
        one = there if there.photo.is_file() else beside
        yield one.photo.name, sample_of(one, names, file)


def renamed(classes: Indices, names: Sequence[str], wanted: Sequence[str]) -> Indices:
    """Indices into `names` as indices into `wanted`, -1 for others."""
    places = [wanted.index(name) if name in wanted else -1 for name in names]
    return np.array(places, np.int64)[classes]


def truth(name: str, sample: Sample, names: Sequence[str], wanted: Sequence[str]) -> Sample:
    """The boxes of the wanted classes; Failed where a class has no name."""
    if len(sample.classes) and int(sample.classes.max()) >= len(names):
        raise Failed(
            f"{name} has the class {sample.classes.max()}, and there are {len(names)} ({', '.join(names[:5])}): "
            "name them all in classes.txt, a line each"
        )
    classes = renamed(sample.classes, names, wanted)
    boxes = Sample(sample.pixels, sample.boxes, sample.keypoints, classes, sample.ignored)
    return boxes.rows(classes >= 0)


def look(rated: Rated, sample: Sample, wanted: Sequence[str], smallest: float) -> Array:
    """Run a detector on a photo and match what it finds; returns its landmarks (N, 5, 2)."""
    found = rated.detector(sample.pixels)
    if len(found.classes) and int(found.classes.max()) >= len(rated.labels):
        known = f"{rated.model.name} finds the class {found.classes.max()}, and {len(rated.labels)} have names"
        raise Failed(f"{known}; name them all, a line each")
    classes = renamed(found.classes.astype(np.int64), rated.labels, wanted)
    which = classes >= 0
    boxes = Boxes(found.boxes[which], classes[which], found.scores[which])
    rated.photos.append(against(sample, boxes, rated.detector.height, rated.detector.width, smallest))
    return found.keypoints[which]


def against(sample: Sample, found: Boxes, height: int, width: int, smallest: float) -> Photo:
    """What was found in a picture, letterboxed to height x width, against its labels."""
    truth = Boxes(sample.boxes, sample.classes, np.ones(len(sample.boxes), np.float32))
    return matching.match(found, truth, sample.ignored, shrink(sample.pixels, height, width), smallest)


def moved(sample: Sample, away: float) -> Sample:
    """The photo and its labels, `away` px further right and down."""
    height, width = sample.pixels.shape[:2]
    move = np.array([[1, 0, away], [0, 1, away]], np.float32)
    pixels = np.asarray(cv2.warpAffine(sample.pixels, move, (width, height)), np.uint8)
    step = np.float32(away)
    return Sample(pixels, sample.boxes + step, sample.keypoints + step, sample.classes, sample.ignored)


def keep_failures(rated: Rated, name: str, sample: Sample, score: float) -> None:
    """Cut out what the last photo's detections missed, and what they took for a face."""
    photo = rated.photos[-1]
    for index in np.flatnonzero(photo.asked & ~matching.hits(photo, score)):
        height = float(photo.heights[index])
        caption = f"{Path(name).stem[:14]}, {height:.0f} px"
        rated.missed.append(plots.tile(sample.pixels, photo.truth.corners[index], caption, height))
    for index in np.flatnonzero(photo.counts & ~photo.right & (photo.found.scores >= score)):
        sure = float(photo.found.scores[index])
        rated.false.append(
            plots.tile(sample.pixels, photo.found.corners[index], f"{Path(name).stem[:14]}, {sure:.2f}", sure)
        )


def middle(values: Sequence[float]) -> float | None:
    """The median, to four places; None of nothing."""
    return round(float(np.median(values)), 4) if values else None


def result(rated: Rated, names: Sequence[str], score: float, milliseconds: Latency) -> Result:
    """The figures of a detector that has seen all photos."""
    photos = rated.photos
    classes = matching.average_precisions(photos, names)
    ap50, mean = np.mean(list(classes.values()), 0)
    over = [photo.counts & (photo.found.scores >= score) for photo in photos]
    right = sum(int((photo.right & which).sum()) for photo, which in zip(photos, over, strict=True))
    total, asked = sum(int(which.sum()) for which in over), sum(int(photo.asked.sum()) for photo in photos)
    return Result(
        model=rated.model.name,
        AP50=round(float(ap50), 4),
        AP50_95=round(float(mean), 4),
        classes={name: (round(a, 4), round(b, 4)) for name, (a, b) in classes.items()},
        recall=round(right / asked, 4),
        precision=round(right / total, 4) if total else None,
        false=total - right,
        sizes=matching.recalls(photos, score),
        landmarks=middle(rated.apart),
        landmark_faces=len(rated.apart),
        milliseconds=milliseconds,
    )


def classes_in_common(models: Sequence[Rated], names: Sequence[str]) -> list[str]:
    """The classes that the labels and all models know; Failed where there is none."""
    common = [name for name in names if all(name in rated.labels for rated in models)]
    if not common:
        known = "; ".join(f"{rated.model.name} finds {', '.join(rated.labels[:5])}" for rated in models)
        raise Failed(f"labels and models have no class in common (labels: {', '.join(names[:5])}; {known})")
    return common


def look_through(
    models: Sequence[Rated],
    data: Labelled,
    others: tuple[Rated, Rated] | None = None,
    score: float = SCORE,
    smallest: float = SMALLEST,
) -> tuple[list[str], Image]:
    """Run all models on all photos; returns the classes that are asked for, and the first photo.

    `others` are one detector twice: landmarks are compared with those of the first, which sees the photos as the models
    do; the second sees them MOVED. Failed where nothing is asked for.
    """
    names = data.names or models[0].labels
    wanted = classes_in_common([*models, *(others or ())], names)
    first = None
    for name, whole in data.photos:
        sample = truth(name, whole, names, wanted)
        first = sample.pixels if first is None else first
        points = [look(rated, sample, wanted, smallest) for rated in models]
        for rated in models:
            keep_failures(rated, name, sample, score)
        if others:
            other, again = others
            theirs = look(other, sample, wanted, smallest)
            step = MOVED / shrink(sample.pixels, other.detector.height, other.detector.width)
            once_more = look(again, moved(sample, step), wanted, smallest) - np.float32(step)
            for rated, ours in zip((*models, again), (*points, once_more), strict=True):
                if not rated.detector.landmarks:
                    continue
                rated.apart += matching.landmarks_apart(rated.photos[-1], other.photos[-1], ours, theirs, score)
    if first is None or not any(photo.asked.any() for photo in models[0].photos):
        raise Failed(f"no photo has a labelled {' or '.join(wanted[:3])} of {smallest:g} px or more; give more photos")
    return wanted, first


def results(models: Sequence[Rated], wanted: Sequence[str], score: float, image: Image) -> list[Result]:
    """The figures of models that have looked through the photos, and their times on one of those."""
    times = latencies([(rated.detector.session, rated.detector.input(image)[0]) for rated in models])
    return [result(rated, wanted, score, each) for rated, each in zip(models, times, strict=True)]
