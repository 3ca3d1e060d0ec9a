"""`train transfer`: what a warm start is worth, the same pictures, steps and seed for each way to train."""

import argparse
import csv
from pathlib import Path

import numpy as np

from export import plots, report
from export.cli import Commands, command, positive, rate, seed, size
from export.detection import labels_xml
from export.detection.augment import Augmented
from export.detection.detection_data import FACE, load
from export.detection.train_yolo import SIDES, Start, shape_for, trained
from export.evaluate import average_precision
from export.models.yolo import Shape
from export.networks import yolo_to_onnx
from export.packages import Failed
from export.run import LOG, Plan
from export.to_onnx import save

WAYS = {
    "from nothing": Start("nothing"),
    "warm, backbone frozen": Start(frozen=True),
    "warm, low rate for the old": Start(slow=0.3),
    "warm, one rate": Start(slow=1.0),
}
SMOOTH = 15  # steps that a point of the plot is the mean of


def curve(file: Path) -> tuple[plots.Values, plots.Values]:
    """Steps, and the mean over SMOOTH of them of what the labels ask (not of the teacher's maps), out of a log."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    losses = np.array([[float(row[name]) for name in ("score", "box", "points")] for row in rows]).sum(1)
    smooth = np.convolve(losses, np.full(SMOOTH, 1 / SMOOTH), "valid")
    return np.arange(SMOOTH, len(losses) + 1, dtype=np.float64), smooth


def one_way(name: str, shape: Shape, make: Augmented, arguments: argparse.Namespace) -> tuple[Path, float]:
    """Train in one way; its model file, and AP50."""
    folder = arguments.out / name.replace(", ", "-").replace(" ", "-")
    plan = Plan(arguments.steps, arguments.rate, warmup=min(100, arguments.steps // 10), ema=0.99, seed=arguments.seed)
    yolo = trained(shape, WAYS[name], make, plan, folder)
    file = folder / "yolo.onnx"
    save(yolo_to_onnx(yolo), file)
    return folder, average_precision(file, arguments.test, *arguments.input)["AP50"]


def check(shape: Shape, arguments: argparse.Namespace) -> None:
    """Failed before anything is trained where something would be wrong afterwards."""
    if not shape.landmarks:
        raise Failed("the labels have no five points; give XML files that have them")
    if arguments.steps < SMOOTH:
        raise Failed(f"--steps has to be {SMOOTH} or more, as a point of the plot is the mean of so many")
    if any(side % 32 for side in arguments.input):
        raise Failed("--input has to be of multiples of 32")
    for file in arguments.test:
        next(labels_xml.read(file))


def compare(arguments: argparse.Namespace) -> None:
    """`train transfer`."""
    samples, weights = load(arguments.data, FACE)
    shape = shape_for(samples, arguments.size, FACE)
    check(shape, arguments)
    make = Augmented(samples, weights, SIDES, arguments.batch)
    rows, curves, figures = [], {}, {}
    for name, start in WAYS.items():
        folder, ap50 = one_way(name, shape, make, arguments)
        curves[name] = curve(folder / LOG)
        slow = "0" if start.frozen else f"{start.slow:g}"
        rows.append([name, "1" if start.source == "nothing" else slow, f"{curves[name][1][-1]:.2f}", f"{ap50:.3f}"])
        figures[name] = {"AP50": ap50, "loss": float(curves[name][1][-1])}
    figure, plot = plots.axes("What a warm start is worth", "step", "loss on training pictures")
    plots.draw(plot, curves)
    plots.save(figure, arguments.out / "loss.png")
    height, width = arguments.input
    said = f"{arguments.steps} steps of {arguments.batch} pictures each; AP50 at {height}x{width}, on other photos."
    table = report.table(["way", "rate of the backbone, share", "loss at the end", "AP50"], rows)
    report.write(arguments.out, "Transfer learning", [table, said], ["loss.png"], [], {"ways": figures})


def add(commands: Commands) -> None:
    """The command `train transfer`."""
    sub = command(commands, "transfer", compare, "compare training from nothing, frozen and with low rates")
    sub.add_argument("data", type=Path, nargs="+", help="dlib XML files of faces, to train on")
    sub.add_argument("--test", type=Path, nargs="+", required=True, help="dlib XML files of faces, to measure on")
    sub.add_argument("--size", choices=("nano", "tiny"), default="nano")
    sub.add_argument("--input", type=size, default=(384, 640), metavar="HxW", help="to measure at")
    sub.add_argument("--steps", type=positive, default=200)
    sub.add_argument("--batch", type=positive, default=8)
    sub.add_argument("--rate", type=rate, default=3e-3)
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
