"""`verify`: do two model files say the same about real photos? Number by number, and face by face."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from export import feed
from export.chips import read_image
from export.cli import Commands, command, size
from export.decode import SCORE
from export.detector import Array, Detector, Faces, Image, overlap, scaled
from export.model_file import load, picture_size, pictures_input, properties, results, session, sizes
from export.packages import Failed
from export.parity import Difference, differences

IOU = 0.5  # two boxes that overlap this much are one face's
TOLERANCE = 0.01
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Agreement:
    """How far two detectors agree on some photos; the means are over what both found."""

    boxes: int  # that the first found, with SCORE or more
    share: float  # 2 x boxes found by both / (found by the one + found by the other)
    iou: float  # mean of 1 where the boxes are the same
    score: float  # mean difference, 0..1
    landmarks: float | None  # median over the faces of the mean distance of the five points, in eye distances

    def difference(self) -> float:
        """The worst of the four, 0 where all is the same."""
        return max(1 - self.share, 1 - self.iou, self.score, self.landmarks or 0.0)


def matched(first: Faces, second: Faces) -> list[tuple[int, int]]:
    """The pairs (in first, in second) of boxes of one class that overlap by IOU or more, the first's best first."""
    free, pairs = np.ones(len(second.boxes), bool), []
    for index, box in enumerate(first.boxes):
        overlaps = np.where(free & (second.classes == first.classes[index]), overlap(box, second.boxes), 0)
        if free.any() and overlaps.max() >= IOU:
            pairs.append((index, int(overlaps.argmax())))
            free[pairs[-1][1]] = False
    return pairs


def agreement(first: Sequence[Faces], second: Sequence[Faces]) -> Agreement:
    """Compare what two detectors found with SCORE or more, photo by photo; Failed where neither found anything.

    Landmarks are None where neither has any, or nothing was found by both.
    """
    counts = sum(len(faces.scores) for faces in first), sum(len(faces.scores) for faces in second)
    if not sum(counts):
        raise Failed("neither model finds anything in these photos; give photos of what they are for")
    rows = []
    for one, other in zip(first, second, strict=True):
        for i, j in matched(one, other):
            eyes = max(1.0, float(np.linalg.norm(one.keypoints[i, 0] - one.keypoints[i, 1])))
            away = float(np.linalg.norm(one.keypoints[i] - other.keypoints[j], axis=1).mean()) / eyes
            same = float(overlap(one.boxes[i], other.boxes[j : j + 1])[0])
            rows.append((same, abs(float(one.scores[i] - other.scores[j])), away))
    if not rows:
        return Agreement(counts[0], share=0.0, iou=0.0, score=1.0, landmarks=None)
    iou, score, landmarks = np.array(rows).T
    share = 2 * len(rows) / sum(counts)
    return Agreement(
        counts[0], share, float(iou.mean()), float(score.mean()), middle_distance(first, second, landmarks)
    )


def middle_distance(first: Sequence[Faces], second: Sequence[Faces], apart: Array) -> float | None:
    """The median of the distances `apart` (N,); 1 where only one of two detectors has landmarks, None where neither."""
    ours, theirs = (any(np.isfinite(faces.keypoints).any() for faces in some) for some in (first, second))
    if ours != theirs:
        return 1.0
    return float(np.median(apart)) if ours else None


def detector(file: Path, height: int, width: int) -> Detector | None:
    """The file as a detector, None where it is none."""
    try:
        return Detector(file, height, width)
    except Failed:
        return None


def common_size(files: Sequence[Path], models: Sequence[onnx.ModelProto], wanted: Size | None) -> Size:
    """Height and width that all take: what one fixes, else `wanted`, else what the first says of itself."""
    given = [pictures_input(model, file).size for file, model in zip(files, models, strict=True)]
    fixed = {(height, width) for height, width in given if height and width}
    if len(fixed) > 1:
        says = " and ".join(f"{height}x{width}" for height, width in sorted(fixed))
        raise Failed(f"the models take {says}, and pictures of one size are needed to compare them")
    if fixed and wanted is None:
        (wanted,) = fixed
    return picture_size(models[0], files[0], wanted)


def outputs(model: onnx.ModelProto, file: Path, images: Sequence[Image]) -> list[Array]:
    """Each output (B, ...) over pictures that are fed one by one, scaled as the file says."""
    run, name, said = session(file), pictures_input(model, file).name, properties(model)
    found = [results(run, {name: scaled(image, said)}) for image in images]
    return [np.stack([np.asarray(array, np.float32) for array in arrays]) for arrays in zip(*found, strict=True)]


def comparable(models: Sequence[onnx.ModelProto]) -> bool:
    """Whether number can be held against number: outputs of the same names and kinds, as many for every photo."""
    if any(properties(model).get("layout") == "nms" for model in models):
        return False
    first, second = ([(value.name, len(sizes(value))) for value in model.graph.output] for model in models)
    return bool(first == second)


@dataclass(frozen=True)
class Verdict:
    """How two files differ: in their outputs, in what they find, or in both."""

    photos: int
    size: str
    numbers: dict[str, Difference]
    found: Agreement | None

    def difference(self) -> float:
        """What --tolerance is held against: of what is found where both files find, else of the outputs as vectors."""
        return self.found.difference() if self.found else max(d.relative for d in self.numbers.values())


def verify(files: tuple[Path, Path], photos: Sequence[Path], wanted: Size | None = None) -> Verdict:
    """Compare two files on photos, fed to each as it wants them; Failed where they have nothing in common."""
    models = [load(file) for file in files]
    height, width = common_size(files, models, wanted)
    for model, file in zip(models, files, strict=True):
        outputs(model, file, [feed.blank(model, height, width)])  # or it fails here, with a sentence
    first, second = (detector(file, height, width) for file in files)
    found = None
    if first and second:
        images = [read_image(photo) for photo in photos]
        found = agreement(*([detect(image, SCORE) for image in images] for detect in (first, second)))
    numbers: dict[str, Difference] = {}
    if comparable(models):
        images = feed.pictures(models[0], photos, height, width)
        a, b = (outputs(model, file, images) for model, file in zip(models, files, strict=True))
        numbers = differences([value.name for value in models[0].graph.output], a, b)
    elif not found:
        raise Failed(f"{files[0]} and {files[1]} have other outputs and are not both detectors: nothing to compare")
    return Verdict(len(photos), f"{height}x{width}", numbers, found)


def show(verdict: Verdict) -> None:
    """The figures as tables."""
    console = Console()
    if verdict.numbers:
        table = Table("output", "max abs", "mean abs", "worst cosine", "relative", title="outputs")
        for name, d in verdict.numbers.items():
            table.add_row(name, f"{d.max_abs:.3g}", f"{d.mean_abs:.3g}", f"{d.cosine:.7f}", f"{d.relative:.3g}")
        console.print(table)
    if verdict.found:
        table = Table("figure", "value", title=f"boxes with a score of {SCORE} or more")
        for name, value in asdict(verdict.found).items():
            table.add_row(name, "-" if value is None else f"{value:.4g}")
        console.print(table)


def run(arguments: argparse.Namespace) -> None:
    """`verify`: the tables, and Failed where the files differ by more than the tolerance."""
    photos = feed.files_in(load(arguments.a), arguments.photos)
    verdict = verify((arguments.a, arguments.b), photos, arguments.size)
    show(verdict)
    apart = verdict.difference()
    what = "what they find" if verdict.found else "their outputs"
    said = f"by {apart:.3g} in {what}, on {verdict.photos} photos at {verdict.size}"
    if not apart <= arguments.tolerance:
        raise Failed(f"{arguments.a} and {arguments.b} differ {said}: more than the tolerance of {arguments.tolerance}")
    print(f"{arguments.a} and {arguments.b} agree: they differ {said}, within the tolerance of {arguments.tolerance}")


def add(commands: Commands) -> None:
    """The command `verify`."""
    sub = command(commands, "verify", run, "compare two model files on photos; exit code 1 where they differ")
    sub.add_argument("a", type=Path, metavar="A.onnx")
    sub.add_argument("b", type=Path, metavar="B.onnx")
    sub.add_argument("--photos", type=Path, nargs="+", required=True, metavar="PHOTOS", help="photos, folders of them")
    sub.add_argument("--size", type=size, metavar="HxW", help="of the input, where the files leave it free")
    sub.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="of what is found: share not found by both, 1 - IoU, scores and landmarks in eye distances, whichever is "
        f"worst; of other outputs: |a - b| / |a| of the worst photo (default {TOLERANCE})",
    )
