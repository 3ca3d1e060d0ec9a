"""`python -m export train highlights`: which seconds are worth seeing, learned from a person's own marks.

No weights ship: what is worth seeing is for each user to say.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export import plots, report, train
from export.checkpoint import CHECKPOINT
from export.cli import Commands, command, positive, rate, seed
from export.detector import Array
from export.highlights import ranks
from export.highlights.crops import Batch, Batches, inputs
from export.highlights.marked_videos import BLOCK, HALF, HELD_OUT, Marked, Seconds, held_out, read, trained_on
from export.highlights.scorer_onnx import KIND
from export.models.highlight_scorer import REACH, HighlightScorer
from export.packages import Failed
from export.run import LOG, Figures, Plan


@dataclass(frozen=True)
class Rating:
    """Rank correlation with the marks over the held-out seconds, mean over the videos."""

    tau: float
    rho: float


def loss(module: nn.Module, batch: Batch) -> train.Losses:
    """Binary cross entropy of each second, and RankNet's of each two of a crop (Burges et al., ICML 2005)."""
    signals, worth, counts = batch
    logits = module(signals)
    entropy = functional.binary_cross_entropy_with_logits(logits, worth, counts, reduction="sum")
    better = (worth[:, :, None] > worth[:, None, :]) * counts[:, :, None] * counts[:, None, :]
    order = functional.softplus(logits[:, None, :] - logits[:, :, None]) * better
    return {"entropy": entropy / counts.sum(), "order": order.sum() / better.sum().clamp(min=1)}


def scores(module: nn.Module, video: Marked) -> Array:
    """(T,) float32 0..1 of a whole video, by a module in eval mode."""
    with torch.inference_mode():
        return np.asarray(torch.sigmoid(module(torch.from_numpy(inputs(video))[None]))[0].numpy(), np.float32)


def judged(videos: Sequence[Marked], held: Sequence[Seconds], given: Sequence[Array]) -> Rating:
    """How well scores (T,) of each video go with its marks where it is held out; Failed where marks do not differ."""
    found = [
        (ranks.kendall(score[seconds], video.worth[seconds]), ranks.spearman(score[seconds], video.worth[seconds]))
        for video, seconds, score in zip(videos, held, given, strict=True)
        if len(np.unique(video.worth[seconds])) > 1
    ]
    if not found:
        raise Failed("nothing marked is among what is held out, so nothing could be said of the result; mark more")
    tau, rho = np.nan_to_num(found).mean(0).tolist()  # a score that is the same everywhere says nothing
    return Rating(tau, rho)


def without_ties(video: Marked) -> Array:
    """(T,) the best order of its seconds that has no ties: marks have many, so it comes to less than 1."""
    return np.asarray(np.argsort(np.argsort(video.worth, kind="stable")), np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """The network is so small that two threads of torch wait for each other; and on all machines it comes out alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit(videos: Sequence[Marked], folder: Path, plan: Plan) -> tuple[HighlightScorer, dict[str, Rating]]:
    """Train on most seconds of the videos; the ratings are of the held-out ones, ours and those to compare with."""
    held = held_out(videos)
    by_hand = f"by hand, {', '.join(sorted({video.preset for video in videos}))}"
    ratings = {
        by_hand: judged(videos, held, [video.score for video in videos]),
        "best order without ties": judged(videos, held, [without_ties(video) for video in videos]),
    }
    batches = Batches(videos, [trained_on(seconds) for seconds in held])
    torch.manual_seed(plan.seed)
    module = HighlightScorer(len(HALF))

    def judge(network: nn.Module) -> Rating:
        return judged(videos, held, [scores(network, video) for video in videos])

    def check(network: nn.Module) -> Figures:
        return {f"held-out {name}": value for name, value in asdict(judge(network)).items()}

    with one_thread():
        train.fit(module, f"{KIND} {json.dumps({'half': HALF})}", loss, batches, plan, folder, check=check)
    return module, {"learned": judge(module)} | ratings


def digest(videos: Sequence[Marked]) -> str:
    """What the videos and their marks hash to: a run is resumed with the same ones."""
    whole = hashlib.sha256()
    for video in videos:
        whole.update(video.signals.tobytes() + video.worth.tobytes())
    return whole.hexdigest()[:16]


def explained(videos: Sequence[Marked]) -> str:
    """What the figures rest on."""
    if len(videos) >= HELD_OUT:
        kept = f"One video in {HELD_OUT} is held out."
    else:
        kept = f"One block of {BLOCK} s in {HELD_OUT} is held out, and {REACH} s around each are not trained on."
    marked = np.concatenate([video.worth for video in videos]) > 0
    return (
        f"Kendall's tau-b and Spearman's rho with the marks, mean over the videos. {kept} "
        f"{len(videos)} videos, {len(marked):,} s, of which {marked.sum():,} s are marked. Marks have many ties and "
        "scores have few, so even a perfect order stays below 1. Take the learned one only if it beats the one by hand."
    )


def draw(folder: Path, ratings: dict[str, Rating]) -> None:
    """tau.png: the held-out tau while training."""
    with (folder / LOG).open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["held-out tau"]]
    steps = np.array([int(row["step"]) for row in rows], np.float64)
    curves = {"learned": (steps, np.array([float(row["held-out tau"]) for row in rows]))}
    curves |= {name: (steps, np.full(len(steps), one.tau)) for name, one in ratings.items() if name not in curves}
    figure, plot = plots.axes("held-out seconds", "step", "Kendall's tau-b with the marks")
    plots.draw(plot, curves)
    plots.save(figure, folder / "tau.png")


def run(arguments: argparse.Namespace) -> None:
    """`train highlights`."""
    files, folder = arguments.files, arguments.out
    if len(files) % 2:
        raise Failed("the files come in pairs, SCORES.json MARKS.csv; one is missing")
    videos = read(list(zip(files[::2], files[1::2], strict=True)))
    plan = Plan(
        arguments.steps,
        arguments.rate,
        warmup=min(50, arguments.steps // 5),
        decay=0.05,
        ema=0.98,
        seed=arguments.seed,
        options=f"videos and marks {digest(videos)}",
    )
    _, ratings = fit(videos, folder, plan)
    draw(folder, ratings)
    rows = [[name, f"{one.tau:.3f}", f"{one.rho:.3f}"] for name, one in ratings.items()]
    parts = [report.table(["score", "tau", "rho"], rows), explained(videos)]
    facts: report.Facts = {name: asdict(one) for name, one in ratings.items()}
    report.write(folder, "The learned scorer of highlights", parts, ["tau.png"], [folder / CHECKPOINT], facts)
    print(f"to use it: python -m export onnx {folder / CHECKPOINT} --out scorer.onnx")


def add(commands: Commands) -> None:
    """`highlights` under `train`."""
    sub = command(commands, "highlights", run, "which seconds are worth seeing? from a person's own marks")
    sub.add_argument(
        "files", type=Path, nargs="+", metavar="SCORES.json MARKS.csv", help="what highlights wrote, and marks of it"
    )
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FOLDER", help="a run that is there is resumed")
    sub.add_argument("--steps", type=positive, default=200)
    sub.add_argument("--rate", type=rate, default=3e-3)
    sub.add_argument("--seed", type=seed, default=0)
