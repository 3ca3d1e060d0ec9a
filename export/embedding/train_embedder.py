"""`python -m export train embedder`: faces of a folder of people, from scratch or on top of dlib's ResNet."""

import argparse
import json
from pathlib import Path
from typing import cast

import torch
from torch import nn

from export import plots, report, train
from export.checkpoint import CHECKPOINT
from export.cli import Commands, command, positive, rate, seed, share
from export.embedding import embedder_rating, siamese
from export.embedding.embedder_batches import MEAN, SCALE, Batches, check_size
from export.embedding.embedder_rating import Rating
from export.embedding.face_folders import People, need_pairs, read, split
from export.files import MODELS
from export.models.embedder import LENGTH, SmallEmbedder, warm_start
from export.packages import Failed
from export.run import LOG, Figures, Plan
from export.to_onnx import Interface, Metadata, export, save

SHIPPED = MODELS / "dlib_face.onnx"
NETWORKS = ("small", "dlib_face")
RATES = {"small": 2e-3, "dlib_face": 1e-3}
LAST = "embedder.embedding"  # the layer that is new in a fine-tuning
INTERFACE = Interface((2, 3, 150, 150), ("batch", None, None, None), {"embedding": ("batch", LENGTH)})


def build(network: str, freeze: str, seed: int) -> nn.Module:
    """The network before training; `freeze` "backbone" leaves its last layer alone to learn."""
    if network == "small":
        if freeze != "nothing":
            raise Failed("--freeze backbone is for --network dlib_face: a network from scratch has nothing to keep")
        torch.manual_seed(seed)
        return SmallEmbedder()
    module = warm_start(SHIPPED)
    if freeze == "backbone":
        for name, parameter in module.named_parameters():
            parameter.requires_grad = name.startswith("embedding.")
    return module


def backbone(learner: nn.Module) -> list[str]:
    """The prefixes of the embedder's layers but the last."""
    names = {".".join(name.split(".")[:2]) for name, _ in learner.named_parameters() if name.startswith("embedder.")}
    return sorted(f"{name}." for name in names if name != LAST)


def fit(
    learner: siamese.Learner, kept: People, held: People, arguments: argparse.Namespace, plan: Plan, folder: Path
) -> None:
    """Train in place; the log gets AUC and one-shot figures of the held-out people at each checkpoint."""

    def check(module: nn.Module) -> Figures:
        rating = embedder_rating.rate(cast(siamese.Learner, module).embedder, held)
        return {
            "held-out AUC": embedder_rating.area(rating.clear),
            "held-out AUC, small": embedder_rating.area(rating.small),
            "held-out one-shot": rating.one_shot,
        }

    old = backbone(learner) if arguments.network == "dlib_face" else []
    architecture = f"embedder {json.dumps(said(arguments, kept))}"
    groups = train.groups(learner, plan.rate, old, arguments.slow)
    batches = Batches(kept, arguments.people, arguments.photos)
    train.fit(learner, architecture, siamese.loss, batches, plan, folder, parameters=groups, check=check)


def said(arguments: argparse.Namespace, kept: People) -> dict[str, object]:
    """What makes a run's checkpoint another's: network, loss, and the people that ArcFace has classes for."""
    words: dict[str, object] = {"network": arguments.network, "loss": arguments.loss, "freeze": arguments.freeze}
    if arguments.loss == "triplet":
        words["mining"] = arguments.mining
    if arguments.loss == "arcface":
        words["people"] = len(set(kept.names.tolist()))
    return words


def to_onnx(module: nn.Module, file: Path, found: Rating, arguments: argparse.Namespace) -> str:
    """Write the network as ONNX with the threshold of the held-out people; the file's sha256."""
    metadata = Metadata(
        layout="embedder",
        size="150x150",
        mean=MEAN,
        scale=(SCALE,) * 3,
        align="dlib",
        threshold=embedder_rating.threshold(found.clear),
        licence=arguments.licence,
        origin=arguments.origin or f"{arguments.network}, trained by framewire with the loss {arguments.loss}",
    )
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack it
    return save(export(module.eval(), INTERFACE, metadata), file)


def explained(kept: People, held: People, found: Rating) -> list[str]:
    """What the figures rest on."""
    return [
        f"Learned from {len(kept.names)} faces of {len(set(kept.names.tolist()))} people; measured on "
        f"{len(held.names)} faces of {found.clear.count} other people: {len(found.clear.genuine):,} genuine and "
        f"{len(found.clear.impostor):,} impostor pairs. Who is held out follows from the names alone.",
        f"Small: the same faces in chips of {embedder_rating.SIDE} px, enlarged again; simulated, not filmed. "
        "One-shot: one clear face of each person is enrolled, nothing is trained, and every other face gets the "
        f"nearest name; mean over {embedder_rating.DRAWS} draws of who is enrolled with which face.",
        "The threshold in the file is of the held-out people, at FAR 1e-3, or 1e-2 where there are fewer than 1,000 "
        "impostor pairs: with few people it is a guess; calibrate with your own.",
    ]


def run(arguments: argparse.Namespace) -> None:
    """Read, split, rate, train, rate again, write."""
    check_size(arguments.loss, arguments.people, arguments.photos)
    kept, held = split(read(arguments.data))
    if arguments.loss != "arcface":
        need_pairs(kept, arguments.loss)
    train.seed_all(arguments.seed)  # a head draws lots, too
    module = build(arguments.network, arguments.freeze, arguments.seed)
    before = embedder_rating.rate(module.eval(), held)
    head = siamese.head(arguments.loss, arguments.mining, len(set(kept.names.tolist())))
    plan = Plan(
        arguments.steps,
        arguments.rate or RATES[arguments.network],
        warmup=min(50, arguments.steps // 5),
        decay=0.05,
        ema=0.98,
        seed=arguments.seed,
        options=drawn(arguments),
    )
    fit(siamese.Learner(module, head), kept, held, arguments, plan, arguments.out)
    after = embedder_rating.rate(module.eval(), held)
    ratings, model = {"before": before, "after": after}, arguments.out / "embedder.onnx"
    sha256 = to_onnx(module, model, after, arguments)
    figure, plot = plots.axes("held-out people", "false accept rate", "true accept rate")
    plots.draw(plot, embedder_rating.curves(ratings), steps=True)
    plots.save(figure, arguments.out / "roc.png")
    tables = embedder_rating.compared(ratings), embedder_rating.gained(before, after)
    parts = [*tables, *explained(kept, held, after)]
    facts: report.Facts = {name: embedder_rating.facts(rating) for name, rating in ratings.items()}
    report.write(arguments.out, f"{arguments.network} with {arguments.loss}", parts, ["roc.png"], [model], facts)
    print(f"{sha256}  {model}; {arguments.out / CHECKPOINT}, and the losses in {arguments.out / LOG}")


def drawn(arguments: argparse.Namespace) -> str:
    """How batches are drawn, which a run that is resumed has to keep."""
    return f"--people {arguments.people} --photos {arguments.photos}"


def add_shared(sub: argparse.ArgumentParser) -> None:
    """How batches are made, and where everything goes."""
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FOLDER", help="a run that is there is resumed")
    sub.add_argument("--people", type=int, default=8, metavar="P", help="in a batch")
    sub.add_argument("--photos", type=int, default=4, metavar="K", help="of each of them")
    sub.add_argument("--seed", type=seed, default=0)


def add(commands: Commands) -> None:
    """`embedder` under `train`."""
    sub = command(commands, "embedder", run, "who is it? over a folder of photos for each person")
    sub.add_argument("data", type=Path, help="a folder of photos for each person: person/photo.jpg")
    add_shared(sub)
    sub.add_argument("--network", choices=NETWORKS, default="small", help="small: from scratch; dlib_face: fine-tuned")
    sub.add_argument("--loss", choices=siamese.LOSSES, default="triplet")
    sub.add_argument("--mining", choices=siamese.MININGS, default="semi-hard", help="of triplets")
    sub.add_argument("--freeze", choices=("nothing", "backbone"), default="nothing", help="of dlib_face")
    sub.add_argument("--slow", type=share, default=0.1, help="share of the rate for the backbone of dlib_face")
    sub.add_argument("--steps", type=positive, default=1000)
    sub.add_argument("--rate", type=rate, help=f"by default {RATES['small']:g}, of dlib_face {RATES['dlib_face']:g}")
    sub.add_argument("--licence", default="unknown", help="what the file says of itself")
    sub.add_argument("--origin", default="", help="what the file says of itself")
