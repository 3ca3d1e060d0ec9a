"""`evaluate detector`: the report on detectors side by side, with plots and pictures of where they fail."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from export import plots, report
from export.cli import Commands, command, size
from export.decode import IOU, SCORE
from export.detection import matching
from export.detection.detector_rating import (
    MOVED,
    SMALLEST,
    Rated,
    Result,
    labelled,
    look_through,
    middle,
    names_in,
    opened,
    results,
)
from export.detector import LEAST, YOLOX_IOU
from export.model_file import load
from export.packages import Failed
from export.verify import common_size


def three(value: float | None) -> str | None:
    """To three places, where it is known."""
    return None if value is None else f"{value:.3f}"


def main_table(results: Sequence[Result], score: float) -> str:
    """The figures that a detector is chosen by."""
    heads = ["model", "AP50", "AP50:95", f"recall at {score:g}", "precision", "false", "landmarks"]
    first = results[0].milliseconds.core
    rows = [
        [
            *(one.model, f"{one.AP50:.3f}", f"{one.AP50_95:.3f}", f"{one.recall:.3f}"),
            *(three(one.precision), one.false, three(one.landmarks)),
            *(f"{one.milliseconds.p50:.1f}", f"{one.milliseconds.p95:.1f}", f"{one.milliseconds.core:.1f}"),
            f"{one.milliseconds.core / first:.2f}",
        ]
        for one in results
    ]
    return report.table([*heads, "p50 ms", "p95 ms", "core ms", "core / first's"], rows)


def size_table(results: Sequence[Result]) -> str:
    """Recall by height."""
    there = {name: count for name, (_, count) in results[0].sizes.items()}
    heads = ["height, px of the input", *(f"{name} ({count})" for name, count in there.items())]
    rows = [
        [one.model, *(f"{found / count:.3f}" if count else None for found, count in one.sizes.values())]
        for one in results
    ]
    return report.table(heads, rows)


def class_table(results: Sequence[Result]) -> str:
    """AP50 by class."""
    names = list(results[0].classes)
    return report.table(
        ["AP50", *(one.model for one in results)],
        [[name, *(f"{one.classes[name][0]:.3f}" for one in results)] for name in names],
    )


def explained(
    results: Sequence[Result],
    floors: Mapping[str, float],
    arguments: argparse.Namespace,
    counted: str,
    repeated: float | None,
) -> str:
    """What the columns are; `floors` are the scores under which models keep nothing."""
    lines = [
        counted,
        f"Boxes of under {arguments.smallest:g} px in the input, and those that the labels ignore, are neither asked "
        "for nor punished. AP is COCO's (faster-coco-eval), AP50:95 the mean over IoU 0.5 to 0.95.",
        f"Recall, precision and the number of false boxes are at IoU {matching.IOU} and the score "
        f"{arguments.score:g}; scores of two models are not on one scale, so compare models by AP and by the curves. "
        f"NMS is at IoU {IOU}, a pipeline's default, and {YOLOX_IOU} for YOLOX.",
        "Times are of the network alone, without preparing the picture and NMS, in turns in one run; p50 and p95 by "
        "the clock, core the median of the time that the one thread had a core, which a busy machine changes little.",
    ]
    if arguments.landmarks:
        faces = ", ".join(str(one.landmark_faces) for one in results)
        lines.append(
            f"Landmarks: the median distance of the five points from {arguments.landmarks.name}'s, over its eye "
            f"distance, on the labelled faces that both found ({faces}). Its own are {three(repeated) or 'not'} apart "
            f"where the photo moves by {MOVED:g} px of the input: being nearer takes its errors, too."
        )
    cut = [name for name, least in floors.items() if least > LEAST]
    if cut:
        lines.append(
            f"With NMS inside, and nothing kept that scores less than the file says: {', '.join(cut)}. AP is of what "
            "is left there, so compare it with no other model's."
        )
    return "\n".join(lines)


def pictures(models: Sequence[Rated], folder: Path, title: str) -> list[str]:
    """Plots and sheets as files in the folder; their names."""
    curves = {rated.model.stem: matching.curve(rated.photos) for rated in models}
    plots.precision_recall(curves, f"IoU {matching.IOU}, {title}", folder / "precision_recall.png")
    names = ["precision_recall.png"]
    for rated in models:
        names.append(f"failures_{rated.model.stem}.png")
        sections = {"missed, the largest first": rated.missed, "false, the surest first": rated.false}
        plots.sheet(sections, f"{rated.model.name} at {title}", folder / names[-1])
    return names


def parted(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Models, which end in .onnx, and data; Failed where one of them is missing."""
    models, data = ([file for file in files if (file.suffix == ".onnx") is wanted] for wanted in (True, False))
    if not models or not data:
        raise Failed("give at least one model, MODEL.onnx, and labelled photos: XML files or a folder in YOLO's format")
    return models, data


def run(arguments: argparse.Namespace) -> None:
    """Measure, draw, write and print."""
    files, places = parted(arguments.files)
    height, width = common_size(files, [load(file) for file in files], arguments.size)
    data = labelled(places, arguments.photos, arguments.names)
    names = names_in(arguments.names) if arguments.names else data.order
    models = [opened(model, height, width, names) for model in files]
    other = arguments.landmarks
    others = (opened(other, height, width), opened(other, height, width)) if other else None
    if others and not others[0].detector.landmarks:
        raise Failed(f"{other.name} finds no landmarks; give a face detector for --landmarks")
    classes, first = look_through(models, data, others, arguments.score, arguments.smallest)
    found = results(models, classes, arguments.score, first)
    title = f"{height}x{width}"
    folder = report.folder_for(arguments.out, "detector", files, title)
    photos = models[0].photos
    asked = sum(int(photo.asked.sum()) for photo in photos)
    ignored = sum(int((~photo.asked).sum()) for photo in photos)
    sources = ", ".join(place.name for place in places)
    counted = (
        f"{asked} boxes of {', '.join(classes)} asked for and {ignored} not, on {len(photos)} photos of {sources}. "
        f"Input {title} (height x width)."
    )
    parts = [main_table(found, arguments.score), size_table(found)]
    parts += [class_table(found)] if len(found[0].classes) > 1 else []
    repeated = middle(others[1].apart) if others else None
    floors = {rated.model.name: float(rated.detector.said.get("score", "0")) for rated in models}
    facts: report.Facts = {
        "data": {"from": [place.name for place in places], "photos": len(photos), "asked": asked, "not": ignored},
        "classes": classes,
        "size": [height, width],
        "score": arguments.score,
        "smallest": arguments.smallest,
        "landmarks_of_a_moved_photo": repeated,
        "results": [asdict(one) for one in found],
    }
    parts.append(explained(found, floors, arguments, counted, repeated))
    report.write(folder, f"Detectors on {sources}", parts, pictures(models, folder, title), files, facts)


def add(kinds: Commands) -> None:
    """The command `evaluate detector`."""
    sub = command(kinds, "detector", run, "mAP, recall by size, landmarks and time of detectors, side by side")
    sub.add_argument(
        "files", type=Path, nargs="+", metavar="MODEL.onnx|DATA",
        help="models, then XML files of dlib's image metadata or one folder with images/ and YOLO's labels/",
    )  # fmt: skip
    sub.add_argument("--size", type=size, metavar="HxW", help="of the input; by default what the first says of itself")
    sub.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="where photos of XML files are looked for before beside the file"
    )
    sub.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="the classes of YOLO's labels, a name a line; by default classes.txt in the folder, else the model's own; "
        "and the classes of a model that does not say its own",
    )
    sub.add_argument(
        "--landmarks", type=Path, metavar="OTHER.onnx", help="a face detector to compare the five points with"
    )
    sub.add_argument(
        "--smallest",
        type=float,
        default=SMALLEST,
        metavar="PX",
        help="boxes less high in the input are not asked for; 16 by default",
    )
    sub.add_argument(
        "--score", type=float, default=SCORE, help="for recall, precision and the pictures; 0.5 by default"
    )
    sub.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="for the report")
