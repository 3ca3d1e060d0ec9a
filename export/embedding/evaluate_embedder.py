"""`evaluate embedder`: how well an embedder tells people apart, with what the figures rest on."""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from export import chips, feed, plots, report
from export.cli import Commands, command
from export.detector import Array, scaled
from export.embedding import verification
from export.latency import Latency, latencies
from export.model_file import load, pictures_input, properties, results, session
from export.packages import Failed

BATCH = 32
POINTS = 60  # of the curves' bands


def embed(model: Path, faces: Array) -> Array:
    """The embeddings (N, D) of chips (N, 150, 150, 3) RGB, resized and scaled as the file says.

    As `stages.embed` does it: each is the mean of the chip's and of its mirror image's, both of unit length.
    Failed where it is no embedder of such chips.
    """
    proto = load(model)
    said = properties(proto)
    if said.get("layout") != "embedder" or said.get("align") != "dlib":
        raise Failed(
            f"{model} has the layout {said.get('layout', 'nothing')!r} and the alignment {said.get('align', '')!r}; "
            "an embedder of faces aligned as dlib does, exported by this kit, is wanted"
        )
    height, width = (side or 150 for side in pictures_input(proto, model).size)
    if faces.shape[1:3] != (height, width):
        faces = np.stack([feed.resized(face.astype(np.uint8), height, width) for face in faces]).astype(np.float32)
    run = session(model)
    name = run.get_inputs()[0].name

    def unit(some: Array) -> Array:
        pixels = np.concatenate([scaled(face[..., ::-1].astype(np.uint8), said) for face in some])
        parts = np.array_split(pixels, -(-len(pixels) // BATCH))
        found = np.concatenate([results(run, {name: part})[0] for part in parts])
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    mean = (unit(faces) + unit(faces[:, :, ::-1])) / 2
    return mean.astype(np.float32)


def support(found: verification.Pairs, rate: verification.Rate) -> str:
    """What a FAR rests on, in words."""
    total = len(found.impostor)
    if rate.tar is None:
        return f"not supported: needs {1 / rate.far:,.0f} impostor pairs or more, there are {total:,}"
    if rate.accepted < verification.THIRTY:
        return f"weak: at most {rate.accepted} of {total:,} impostor pairs accepted, not {verification.THIRTY}"
    return f"at most {rate.accepted} of {total:,} impostor pairs accepted"


def rate_table(found: verification.Pairs, rates: list[verification.Rate]) -> str:
    """TAR at each FAR, or why it is not known."""
    rows = []
    for rate in rates:
        known = rate.tar is not None
        shown = (
            (f"{rate.tar:.4f}", f"{rate.low:.3f} to {rate.high:.3f}", f"{rate.threshold:.4f}") if known else [None] * 3
        )
        rows.append([f"{rate.far:g}", *shown, support(found, rate)])
    return report.table(["FAR", "TAR", "95% over people", "threshold (cosine)", "rests on"], rows)


def curves(found: verification.Pairs, name: str, folder: Path) -> list[str]:
    """ROC and DET as files in the folder; their names."""
    least = 1 / len(found.impostor), 1 / len(found.genuine)
    fars = np.geomspace(least[0], 1, POINTS)
    every = np.concatenate([np.arange(len(found.impostor)) / len(found.impostor), [1.0]])
    tar = verification.accepted(found, every)
    plots.roc({name: (every, tar)}, (fars, *verification.bounds(found, fars)), f"ROC of {name}", folder / "roc.png")
    axes = "false accept rate", "false reject rate"
    plots.det({name: (every, 1 - tar)}, least, f"DET of {name}", *axes, folder / "det.png")
    return ["roc.png", "det.png"]


def time_of(model: Path) -> Latency:
    """Milliseconds of the network alone for one image."""
    proto = load(model)
    height, width = (side or 150 for side in pictures_input(proto, model).size)
    batch = scaled(np.zeros((height, width, 3), np.uint8), properties(proto))
    return latencies([(session(model), batch)])[0]


def explained(
    found: verification.Pairs, faces: int, missed: int, milliseconds: Latency, arguments: argparse.Namespace
) -> list[str]:
    """What the figures are over, and how they came about."""
    aligned = arguments.shapes.name if arguments.shapes else f"the five points of {arguments.detector.name}"
    return [
        f"{len(found.genuine):,} genuine and {len(found.impostor):,} impostor pairs of {faces} faces of {found.count} "
        f"people from {arguments.faces.name}, aligned by {aligned}, each embedded together with its mirror image, as a "
        f"pipeline does it. An image takes {milliseconds.p50:.1f} ms (p50), {milliseconds.p95:.1f} ms (p95), the "
        "network alone. Photos of named people in which no face was found, and which therefore count for nothing here: "
        f"{missed}.",
        f"Intervals: {verification.RESAMPLES} resamples of people with all their pairs, each with a threshold of its "
        "own. Where no error was seen, resampling sees none either: mind the number of pairs. A FAR that fewer than "
        f"{verification.THIRTY} accepted pairs tell of is weak (Doddington's rule of 30).",
    ]


def run(arguments: argparse.Namespace) -> None:
    """Cut faces out, embed them, rate, draw, write and print."""
    model: Path = arguments.model
    align = chips.by_dlib(arguments.shapes) if arguments.shapes else chips.by_points
    names, faces, missed = chips.chips(arguments.faces, arguments.photos, arguments.detector, align)
    embeddings = embed(model, faces)
    found = verification.pairs(names, embeddings)
    rates, milliseconds = verification.rates(found), time_of(model)
    folder = report.folder_for(arguments.out, "embedder", [model], arguments.faces.stem)
    counts = {"people": found.count, "genuine_pairs": len(found.genuine), "impostor_pairs": len(found.impostor)}
    facts: report.Facts = {
        "data": {"from": arguments.faces.name, "faces": len(names), "photos_without_a_face": missed, **counts},
        "rates": [asdict(rate) for rate in rates],
        "verification": verification.verification(names, embeddings),
        "milliseconds": asdict(milliseconds),
    }
    parts = [rate_table(found, rates), *explained(found, len(names), missed, milliseconds, arguments)]
    title, pictures = f"{model.name} on {arguments.faces.name}", curves(found, model.stem, folder)
    report.write(folder, title, parts, pictures, [model], facts)


def add(kinds: Commands) -> None:
    """The command `evaluate embedder`."""
    sub = command(kinds, "embedder", run, "TAR at FAR of an embedder, with intervals and curves")
    sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    sub.add_argument(
        "faces", type=Path, help="lines of NAME<TAB>PHOTO, the name - means strangers; or a folder of PERSON/PHOTO.jpg"
    )
    sub.add_argument(
        "photos", type=Path, nargs="?", help="the folder that the list's paths start from; by default the list's own"
    )
    sub.add_argument(
        "--detector",
        type=Path,
        default=feed.FINDER,
        metavar="FILE.onnx",
        help=f"what finds and aligns the faces; {feed.FINDER.name} by default",
    )
    sub.add_argument("--shapes", type=Path, metavar="FILE.dat", help="align as dlib does, with this shape predictor")
    sub.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="for the report")
