"""`limits`: one portrait made smaller, turned, blurred, darkened and covered until a detector loses the face."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from export import plots
from export.chips import read_image
from export.cli import Commands, command
from export.detection.augment import Sample, warped
from export.detector import Array, Detector, Faces, Image, overlap
from export.packages import Failed

SIDE = 192  # px of the input
FACE = 64.0  # px, the face's height where it is not what is tried
SCORE = 0.5  # from which on it counts as found
MATCH = 0.4  # IoU from which on what was found is the face
MARKS = (("+", "#00e5ff"), ("x", "#ff40ff"), ("o", "#ffd600"), ("^", "#76ff03"))  # of the models: sign and colour


class Trial(NamedTuple):
    """The portrait as a detector sees it."""

    pixels: Image  # (SIDE, SIDE, 3) uint8 BGR
    box: Array  # (4,) xyxy px, where the face is


class Sight(NamedTuple):
    """What a detector says of the face."""

    score: float  # 0 where it sees nothing there
    points: Array  # (5, 2) xy px; NaN where there are none


def placed(portrait: Image, box: Array, height: float, degrees: float = 0.0) -> Trial:
    """The face with this height in the middle, turned."""
    scale, angle = height / float(box[3] - box[1]), np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, np.full(2, SIDE / 2) - turn @ ((box[:2] + box[2:]) / 2)])
    points, none = np.full((1, 5, 2), np.nan, np.float32), np.zeros(1, np.int64)
    sample = Sample(portrait, box[None], points, none, none.astype(bool))
    seen = warped(sample, matrix, np.full((SIDE, SIDE, 3), 96, np.uint8))
    return Trial(seen.pixels, seen.boxes[0])


def covered(trial: Trial, across: float, down: float) -> Trial:
    """A grey card over that share of the face, from the image's left and from below."""
    (x1, y1, x2, y2), pixels = trial.box, trial.pixels.copy()
    if across:
        pixels[int(y1) - 4 : int(y2) + 4, int(x1) - 4 : int(x1 + across * (x2 - x1))] = 128
    if down:
        pixels[int(y2 - down * (y2 - y1)) : int(y2) + 4, int(x1) - 4 : int(x2) + 4] = 128
    return trial._replace(pixels=pixels)


def trials(portrait: Image, box: Array) -> dict[str, dict[str, Trial]]:
    """By what is tried, and how much of it."""
    plain, random = placed(portrait, box, FACE), np.random.default_rng(0)
    noise = random.normal(0, 4, plain.pixels.shape)  # a dark picture is a noisy one

    def blurred(sigma: float) -> Trial:
        return plain._replace(pixels=np.asarray(cv2.GaussianBlur(plain.pixels, (0, 0), sigma), np.uint8))

    def dark(part: float) -> Trial:
        return plain._replace(pixels=(plain.pixels * part + noise).clip(0, 255).astype(np.uint8))

    parts = (0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    return {
        "height, px": {f"{px}": placed(portrait, box, px) for px in (160, 64, 32, 24, 16, 12, 8)},
        "turned, degrees": {f"{by}": placed(portrait, box, FACE, by) for by in (0, 15, 30, 45, 60, 90, 180)},
        "blur, px of sigma": {f"{sigma}": blurred(sigma) for sigma in (1, 2, 3, 4, 6, 8, 10)},
        "light, share": {f"{part:g}": dark(part) for part in (1, 0.5, 0.3, 0.2, 0.1, 0.06, 0.03)},
        "covered from below": {f"{part:.0%}": covered(plain, 0, part) for part in parts},
        "covered from a side": {f"{part:.0%}": covered(plain, part, 0) for part in parts},
    }


def sight(found: Faces, box: Array) -> Sight:
    """The best of what was found where the face is."""
    there = overlap(box, found.boxes) >= MATCH if len(found.boxes) else np.zeros(0, bool)
    if not there.any():
        return Sight(0.0, np.full((5, 2), np.nan, np.float32))
    best = int(np.where(there, found.scores, -1).argmax())
    return Sight(float(found.scores[best]), found.keypoints[best])


def largest(portrait: Image, detector: Detector) -> Array:
    """Where the portrait's face is; Failed where the detector sees none."""
    found = detector(portrait, SCORE)
    if not len(found.boxes):
        raise Failed("no face is found in the portrait; give one with a large, clear face")
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    return np.asarray(found.boxes[int(sides.prod(1).argmax())], np.float32)


def draw(tried: Mapping[str, Mapping[str, Trial]], said: Mapping[str, Sequence[Sight]], file: Path) -> None:
    """A row for what is tried; under each picture every model's score, green where the face is found.

    Where it is, the five points are drawn with the mark that stands before the model's name.
    """
    columns = max(map(len, tried.values()))
    lines = len(said)
    figure = Figure(figsize=(1.5 * columns, (1.75 + 0.16 * lines) * len(tried) + 0.4), layout="constrained")
    places, number = figure.subplots(len(tried), columns), 0
    for row, (what, some) in zip(places, tried.items(), strict=True):
        for place, (amount, trial) in zip(row, some.items(), strict=True):
            place.imshow(trial.pixels[..., ::-1])
            place.set_xticks([])
            place.set_yticks([])
            place.set_title(amount, fontsize=8)
            for line, (name, seen) in enumerate(said.items()):
                found, (mark, paint) = seen[number].score >= SCORE, MARKS[line]
                if found:
                    place.plot(
                        *seen[number].points.T,
                        linestyle="",
                        marker=mark,
                        markersize=4,
                        color=paint,
                        markeredgewidth=0.7,
                    )
                place.text(
                    *(0, -0.09 - 0.12 * line, f"{mark} {name} {seen[number].score:.2f}"),
                    color="#1a7f37" if found else "#c62828",
                    fontsize=7,
                    transform=place.transAxes,
                )
            number += 1
        row[0].set_ylabel(what, fontsize=9)
    plots.save(figure, file)


def run(arguments: argparse.Namespace) -> None:
    """Try all on all models, and draw."""
    if len(arguments.models) > len(MARKS):
        raise Failed(f"{len(arguments.models)} models are too many for one picture; give {len(MARKS)} at most")
    portrait = read_image(arguments.portrait)
    box = largest(portrait, Detector(arguments.models[0], 320, 320))
    tried = trials(portrait, box)
    said = {}
    for model in arguments.models:
        detector = Detector(model, SIDE, SIDE)
        said[model.stem] = [
            sight(detector(trial.pixels, 0.05), trial.box) for some in tried.values() for trial in some.values()
        ]
    draw(tried, said, arguments.out)
    print(arguments.out)


def add(commands: Commands) -> None:
    """The command `limits`."""
    sub = command(commands, "limits", run, "where detectors lose a face: a picture of one that gets harder to see")
    sub.add_argument("models", type=Path, nargs="+", metavar="MODEL.onnx")
    sub.add_argument("--portrait", type=Path, required=True, metavar="PHOTO")
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FILE.png")
