"""`evaluate liveness`: APCER, BPCER and ACER of a passive liveness model, and their curves over all thresholds."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import model_file, plots, report
from export.cli import Commands, command
from export.latency import Latency, latencies
from export.liveness import presentation
from export.liveness.live_folders import LIVE
from export.liveness.passive import Passive

Scores = NDArray[np.float64]


def curves(scores: Scores, species: Sequence[str]) -> plots.Curves:
    """APCER and BPCER of each species of attack as the threshold rises through all scores (N,); NaN has no part."""
    kinds, known = np.array(species), ~np.isnan(scores)
    limits = np.append(np.unique(scores[known]), np.inf)
    live = np.sort(scores[known & (kinds == LIVE)])
    turned_away = np.searchsorted(live, limits, side="left") / len(live)
    found = {}
    for name in dict.fromkeys(species):
        attacks = np.sort(scores[known & (kinds == name)])
        if name != LIVE:
            found[name] = 1 - np.searchsorted(attacks, limits, side="left") / len(attacks), turned_away
    return found


def draw(scores: Scores, species: Sequence[str], title: str, folder: Path) -> list[str]:
    """The DET plot as a file in the folder; its name, or none where there are no attacks."""
    found = curves(scores, species)
    if not found:
        return []
    counts = {name: int((~np.isnan(scores[np.array(species) == name])).sum()) for name in (LIVE, *found)}
    named = {f"{name} ({counts[name]})": points for name, points in found.items()}
    least = 1 / max(counts[name] for name in found), 1 / counts[LIVE]
    plots.det(named, least, title, "APCER", f"BPCER ({counts[LIVE]} live)", folder / "det.png")
    return ["det.png"]


def time_of(models: Sequence[Path]) -> list[Latency]:
    """Milliseconds of each network alone, for one face."""
    sizes = [model_file.picture_size(model_file.load(file), file, None) for file in models]
    batches = [np.zeros((1, 3, *size), np.float32) for size in sizes]
    return latencies([(Passive(file).session, batch) for file, batch in zip(models, batches, strict=True)])


def run(arguments: argparse.Namespace) -> None:
    """Rate, draw, write and print."""
    models: list[Path] = [arguments.model, *arguments.also]
    for model in models:
        model_file.load(model)
    text, figures = presentation.report(arguments.model, arguments.data, arguments.threshold, arguments.also)
    head, _, table = text.partition("\n\n")
    listed: Any = figures["scores"]
    scores, species = np.array([score for _, score in listed]), [Path(file).parts[0] for file, _ in listed]
    folder = report.folder_for(arguments.out, "liveness", models, arguments.data.name)
    times = time_of(models)
    timed = "\n".join(
        f"{model.name} takes {each.p50:.2f} ms a face (p50), {each.p95:.2f} ms (p95), the network alone."
        for model, each in zip(models, times, strict=True)
    )
    how = (
        "A file is one presentation. Bounds are Clopper and Pearson's. There is an APCER of each species of attack, "
        "and the worst one counts (ISO/IEC 30107-3)."
    )
    facts: report.Facts = {
        "data": {"from": arguments.data.name, "presentations": {name: species.count(name) for name in set(species)}},
        **figures,
        "scores": [[file, None if np.isnan(score) else score] for file, score in listed],
        "milliseconds": {model.name: [each.p50, each.p95] for model, each in zip(models, times, strict=True)},
    }
    report.write(folder, head, [table.strip(), timed, how], draw(scores, species, head, folder), models, facts)


def add(kinds: Commands) -> None:
    """The command `evaluate liveness`."""
    sub = command(kinds, "liveness", run, "APCER, BPCER and ACER of a passive liveness model, with bounds")
    sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    sub.add_argument("data", type=Path, help="a folder with live/ and a folder for each species of attack")
    sub.add_argument(
        "--also", type=Path, nargs="+", default=[], metavar="MODEL.onnx", help="average the scores with theirs"
    )
    sub.add_argument("--threshold", type=float, help="from this score on a face is live; by default the file's own")
    sub.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="for the report")
