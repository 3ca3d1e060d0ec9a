"""`python -m export train mining-report`: do triplets that are chosen teach faster than random ones?"""

import argparse
import csv
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export import plots, report, train
from export.cli import Commands, command, positive
from export.embedding import embedder_rating, siamese, verification
from export.embedding.embedder_batches import Batches, check_size, varied
from export.embedding.embedder_lookalikes import lookalikes
from export.embedding.face_folders import People, need_pairs, read, split
from export.embedding.train_embedder import add_shared, drawn
from export.models.embedder import SmallEmbedder
from export.packages import Failed
from export.run import LOG, Figures, Plan, write_log

FIGURE = "held-out TAR"
FAR = 0.01
MADE_UP = 40, 4, 6  # families, members, photos where no folder is given
POINTS = 10  # of each curve


def disturbed(people: People) -> People:
    """Each face as another camera might have taken it: frames of one clip share a light, which must not tell people."""
    random = np.random.default_rng(0)
    return People(np.stack([varied(chip, random) for chip in people.chips]), people.names)


def curve(mining: str, kept: People, held: People, seed: int, arguments: argparse.Namespace) -> NDArray[np.float64]:
    """(POINTS, 2) steps and TAR at FAR over held-out people; the same start and the same batches for every mining."""

    def check(module: nn.Module) -> Figures:
        embeddings = embedder_rating.embedded(cast(siamese.Learner, module).embedder, held.chips)
        found = verification.pairs(held.names.tolist(), embeddings)
        return {FIGURE: float(verification.accepted(found, np.array([FAR]))[0])}

    train.seed_all(seed)
    learner = siamese.Learner(SmallEmbedder(), siamese.Triplets(mining))
    plan = Plan(
        arguments.steps,
        2e-3,
        warmup=arguments.steps // 10,
        decay=0.05,
        ema=0.9,
        seed=seed,
        options=drawn(arguments),
        save_every=arguments.steps // POINTS,
    )
    folder = arguments.out / "runs" / f"{mining}-{seed}"
    batches = Batches(kept, arguments.people, arguments.photos)
    train.fit(learner, f"mining {mining}", siamese.loss, batches, plan, folder, check=check)
    with (folder / LOG).open(newline="") as stream:
        return np.array([(row["step"], row[FIGURE]) for row in csv.DictReader(stream) if row[FIGURE]], np.float64)


def first_step(steps: NDArray[np.float64], figures: NDArray[np.float64], wanted: float) -> int | None:
    """The first step at which a curve is as high as wanted."""
    there = figures >= wanted
    return int(steps[there.argmax()]) if there.any() else None


Found = dict[str, NDArray[np.float64]]  # by mining: (seeds, POINTS, 2) steps and TAR


def best_of_random(found: Found) -> float:
    """The highest mean over seeds that random triplets come to."""
    return float(found["random"][:, :, 1].mean(0).max())


def lines(found: Found) -> list[list[object]]:
    """The table: a line for each mining."""
    best, rows = best_of_random(found), list[list[object]]()
    for mining, curves in found.items():
        tars, spread = curves[:, :, 1].mean(0), float(np.ptp(curves[:, -1, 1]))
        figures = (f"{value:.4f}" for value in (tars[POINTS // 2 - 1], tars[-1], spread))
        rows.append([mining, *figures, first_step(curves[0, :, 0], tars, best)])
    return rows


def draw(found: Found, seeds: range, folder: Path) -> None:
    """mining.csv and mining.png."""
    rows = [
        {"mining": mining, "seed": str(seed), "step": str(int(step)), "tar": f"{tar:.4f}"}
        for mining, curves in found.items()
        for seed, one in zip(seeds, curves, strict=True)
        for step, tar in one
    ]
    write_log(folder / "mining.csv", rows)
    figure, plot = plots.axes(f"triplets, mean of {len(seeds)} seeds", "step", f"TAR at FAR {FAR:g}, held-out people")
    plots.draw(plot, {mining: (curves[0, :, 0], curves[:, :, 1].mean(0)) for mining, curves in found.items()})
    plots.save(figure, folder / "mining.png")


def explained(kept: People, held: People, found: Found, arguments: argparse.Namespace) -> str:
    """What the figures rest on."""
    source = "a folder of photos" if arguments.data else "made-up patterns in families of lookalikes, not faces"
    known, others = (f"{len(p.names)} faces of {len(set(p.names.tolist()))} people" for p in (kept, held))
    return (
        f"Data: {source}. Small network from scratch, {arguments.steps} steps of {arguments.people} people x "
        f"{arguments.photos} photos, mean of {arguments.seeds} seeds; a seed's start and batches are the same for all. "
        f"Learned from {known}, measured on {others}, each face disturbed as those learnt from are (light, colour, "
        "place, size, mirroring), so that frames of one clip are not told by what they share. TAR is at FAR "
        f"{FAR:g}, which is what chance gives; {best_of_random(found):.4f} is random's best. All figures are in "
        "mining.csv."
    )


def run(arguments: argparse.Namespace) -> None:
    """Train with each mining and seed, write mining.csv, mining.png and the report."""
    if arguments.steps < POINTS or arguments.steps % POINTS:
        raise Failed(f"--steps {arguments.steps} does not part into {POINTS} points of a curve; give a multiple of it")
    check_size("triplet", arguments.people, arguments.photos)
    kept, held = split(read(arguments.data) if arguments.data else lookalikes(*MADE_UP))
    held = disturbed(held)
    need_pairs(kept, "triplet")
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    found = {
        mining: np.stack([curve(mining, kept, held, seed, arguments) for seed in seeds]) for mining in siamese.MININGS
    }
    draw(found, seeds, arguments.out)
    wanted = f"steps to TAR {best_of_random(found):.4f}"
    heads = ["mining", "TAR at half of the steps", "TAR at the end", "range over seeds", wanted]
    parts = [report.table(heads, lines(found)), explained(kept, held, found, arguments)]
    facts: report.Facts = {"curves": {name: curves.tolist() for name, curves in found.items()}}
    report.write(arguments.out, "Mining of triplets", parts, ["mining.png"], [], facts)


def add(commands: Commands) -> None:
    """`mining-report` under `train`."""
    sub = command(commands, "mining-report", run, "do mined triplets teach faster than random ones?")
    sub.add_argument("data", type=Path, nargs="?", help="person/photo.jpg; by default made-up people, no faces")
    add_shared(sub)
    sub.add_argument("--steps", type=positive, default=200)
    sub.add_argument("--seeds", type=positive, default=3, help="runs of each mining")
