"""`train yolo`: a detector out of labelled pictures, from CenterFace's weights or from nothing."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export import networks
from export.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from export.cli import Commands, command, positive, rate, seed, share
from export.detection import anchors, yolo_weights
from export.detection.augment import Augmented, Batch, Sample
from export.detection.detection_data import FACE, load
from export.detection.held_out import HeldOut
from export.detection.warm_start import OLD, fill_from_centerface, slim
from export.detection.witness import level, witnessed
from export.detection.yolo_loss import losses
from export.files import MODELS
from export.models.centerface import CenterFace
from export.models.yolo import WIDTHS, ConvNorm, Raw, Shape, Yolo, presence
from export.packages import Failed
from export.run import LOG, Plan
from export.train import Losses, fit, groups

SIDES = (256, 320, 384)  # px: what a batch's height and width are drawn from; few, as each new shape costs time
PICTURES = 96  # that pruning looks at
LEVELLED = 16  # batches on which the scores of a trained network are compared with the witness's
ALIKE = 1.0  # the weight of staying like the teacher's maps
REPEAT = 1.0  # the weight of saying what the teacher says
SEEN = 0.1  # score from which on the teacher's box is worth repeating


class Lessons:
    """The loss of a step: what labels say, and how unlike a teacher's our maps and, if it is trained, our words are."""

    def __init__(self, shape: Shape, teacher: Yolo | None, trained: bool, witness: nn.Module | None = None) -> None:
        self.shape, self.teacher, self.trained, self.witness = shape, teacher, trained, witness

    def __call__(self, module: nn.Module, batch: Batch) -> Losses:
        """Losses of a `Yolo` on a batch."""
        assert isinstance(module, Yolo)
        batch = moved(batch, next(module.parameters()).device)
        if self.witness is not None:
            batch = witnessed(self.witness, batch)
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        levels = module.features(images)
        raw = module.read(levels)
        parts = losses(raw, batch, self.shape)
        if self.teacher is None or not (self.trained or levels[0].requires_grad):
            return parts
        with torch.no_grad():
            taught = self.teacher.features(images)
            said = self.teacher.read(taught) if self.trained else None
        if levels[0].requires_grad:
            unlike = [
                (ours.float() - theirs.float()).square().mean() / theirs.float().var()
                for ours, theirs in zip(levels, taught, strict=True)
            ]
            parts["unlike"] = torch.stack(unlike).mean() * ALIKE
        if said is not None:
            parts["repeat"] = repeat(raw, said) * REPEAT
        return parts


def repeat(raw: Raw, said: Raw) -> Tensor:
    """How far our scores are from the teacher's at every place, and our boxes and points where it sees something.

    Soft labels (Hinton et al., arXiv:1503.02531): they also say what is nearly a face, and what is not one at all.
    """
    ours, theirs = presence(raw), presence(said)
    wanted = theirs.sigmoid()
    score = functional.binary_cross_entropy_with_logits(ours, wanted, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(theirs, wanted, reduction="none")
    off = (wanted - ours.detach().sigmoid()).abs().clamp(min=0.01)
    total = wanted.sum().clamp(min=1.0)
    weight = wanted.amax(-1) * (wanted.amax(-1) > SEEN)
    away = (raw.values.float() - said.values.float()).abs().mean(-1)
    return ((score - entropy) * off).sum() / total + (away * weight).sum() / weight.sum().clamp(min=1.0)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on another device."""

    def all_of(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor.to(device) for tensor in tensors]

    lists = (batch.boxes, batch.keypoints, batch.classes, batch.ignored, batch.scores)
    return Batch(batch.images.to(device), *map(all_of, lists))


class FixedNorms(Yolo):
    """A YOLO whose warm-started layers keep the statistics of their norms: small batches would spoil them."""

    def train(self, mode: bool = True) -> "FixedNorms":
        super().train(mode)
        for part in (self.backbone, self.neck):
            for layer in part.modules():
                if isinstance(layer, ConvNorm):
                    layer[1].eval()
        return self


@dataclass(frozen=True)
class Start:
    """Where the weights come from, and how fast those that came are to change."""

    source: Literal["nothing", "centerface"] | Path = "centerface"  # a path: the checkpoint of another run
    frozen: bool = False  # the backbone and the neck
    slow: float = 0.3  # the share of the rate for what was trained before
    witnessed: bool = True  # CenterFace says of each training picture what it still sees in it


def wide_one(shape: Shape, source: str | Path) -> Yolo:
    """The network that weights come from: CenterFace's backbone and pyramid in a YOLO, or a trained YOLO."""
    if isinstance(source, Path):
        return yolo_weights.from_checkpoint(source)
    wide = Yolo(replace(shape, size="tiny")).eval()
    fill_from_centerface(wide, centerface())
    return wide


def centerface() -> CenterFace:
    """The one that ships."""
    return networks.centerface((MODELS / "centerface.onnx").read_bytes())


def built(shape: Shape, start: Start, make: Augmented, seed: int, resumed: bool) -> tuple[Yolo, Yolo | None]:
    """The network before training, and the teacher whose weights it started from; a resumed run brings its weights."""
    torch.manual_seed(seed)
    if start.source == "nothing":
        if start.frozen:
            raise Failed("--freeze backbone with --start nothing would freeze what nobody trained; leave one out")
        return Yolo(shape), None
    teacher = wide_one(shape, start.source).requires_grad_(False)
    yolo = FixedNorms(shape)
    if not resumed and teacher.shape.size == shape.size:
        copied_whole(yolo, teacher)
    elif not resumed:
        if sum(WIDTHS[teacher.shape.size][-1]) < sum(WIDTHS[shape.size][-1]):
            raise Failed(
                f"a {shape.size} YOLO cannot be pruned out of a {teacher.shape.size} one; start from a larger one"
            )
        fixed = Augmented(make.samples, make.chances, (256,), 8)
        pictures = [fixed(np.random.default_rng((seed, index))).images for index in range(PICTURES // 8)]
        slim(yolo, teacher, torch.cat(pictures).float())
    if start.frozen:
        yolo.backbone.requires_grad_(False)
        yolo.neck.requires_grad_(False)
    return yolo, teacher


def copied_whole(yolo: Yolo, source: Yolo) -> None:
    """All weights but those of heads of another kind."""
    own, other = yolo.state_dict(), source.state_dict()
    fitting = {
        name: other[name]
        for name in own
        if name in other and other[name].shape == own[name].shape and not name.endswith(".anchors")
    }
    yolo.load_state_dict({**own, **fitting})


def trained(
    shape: Shape, start: Start, make: Augmented, plan: Plan, folder: Path, check: HeldOut | None = None
) -> Yolo:
    """A YOLO trained in `folder`, on CUDA where there is a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    yolo, teacher = built(shape, start, make, plan.seed, (folder / CHECKPOINT).exists())
    parameters = groups(yolo, plan.rate, OLD if teacher else (), start.slow)
    witness = centerface().eval().requires_grad_(False) if start.witnessed and shape.labels == FACE else None
    repeats = False
    if teacher and isinstance(start.source, Path):
        teacher = teacher if teacher.shape.size != shape.size else None  # one as large has nothing more to teach
        repeats = teacher is not None and same_words(teacher.shape, shape)
    for network in (teacher, witness):
        if network is not None:
            network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    lessons = Lessons(shape, teacher, repeats, witness)
    fit(yolo, str(shape), lessons, make, plan, folder, parameters=parameters, check=check, device=device)
    shift = 0.0
    if witness is not None:
        fresh = (make(np.random.default_rng((plan.seed, plan.steps + index))) for index in range(LEVELLED))
        shift = level(yolo, witness, (moved(batch, next(yolo.parameters()).device) for batch in fresh))
        yolo.shift_scores(shift)
    state = load_checkpoint(folder / CHECKPOINT, str(shape))
    save_checkpoint(folder / CHECKPOINT, str(shape), {**state, "level": shift})
    return yolo.cpu()


def same_words(one: Shape, other: Shape) -> bool:
    """Do two networks' heads say the same of the same places?"""
    return replace(one, size=other.size) == other


def check_classes(samples: Sequence[Sample], labels: Sequence[str]) -> None:
    """Failed where there is a class that has no name."""
    highest = max((int(sample.classes.max()) for sample in samples if len(sample.classes)), default=0)
    if highest >= len(labels):
        raise Failed(
            f"the labels have a class {highest} but --labels names {len(labels)}; name all of them, or mend the labels"
        )


def shape_for(samples: Sequence[Sample], size: str, labels: Sequence[str]) -> Shape:
    """The network for these pictures; Failed where they have a class that has no name."""
    check_classes(samples, labels)
    return Shape(size, tuple(labels), any(np.isfinite(sample.keypoints).any() for sample in samples))


def train(arguments: argparse.Namespace) -> None:
    """`train yolo`."""
    labels = arguments.labels.split(",")
    samples, weights = load(arguments.data, labels)
    shape = shape_for(samples, arguments.size, labels)
    make = Augmented(samples, weights, SIDES, arguments.batch)
    if arguments.head == "anchors":
        shape = replace(shape, anchors=anchors.of(make, arguments.anchors, arguments.seed))
    known = arguments.start in ("nothing", "centerface")
    source = arguments.start if known else Path(arguments.start)
    start = Start(source, arguments.freeze == "backbone", arguments.slow, witnessed=source != "nothing")
    options = f"--batch {arguments.batch} --start {arguments.start}"
    plan = Plan(arguments.steps, arguments.rate, seed=arguments.seed, workers=arguments.workers, options=options)
    check = None
    if arguments.held_out:
        held, _ = load(arguments.held_out, labels)
        check_classes(held, labels)
        check = HeldOut(held, labels)
    trained(shape, start, make, plan, arguments.out, check)
    print(f"{arguments.out / CHECKPOINT}, and the losses in {arguments.out / LOG}")


def add(commands: Commands) -> None:
    """The command `train yolo`."""
    sub = command(commands, "yolo", train, "train a detector on labelled pictures; a stopped run goes on where it was")
    sub.add_argument("data", type=Path, nargs="+", help="dlib XML files, or folders in YOLO's format")
    sub.add_argument(
        "--held-out", type=Path, nargs="+", metavar="DATA", help="not to learn from: their AP50 goes into the log"
    )
    sub.add_argument("--size", choices=WIDTHS, default="nano")
    sub.add_argument("--head", choices=("free", "anchors"), default="free")
    sub.add_argument("--anchors", type=positive, default=3, help="boxes a cell, found by k-means")
    sub.add_argument("--labels", default="face", help="names of the classes, with commas between")
    sub.add_argument(
        "--start",
        default="centerface",
        help="weights to begin with: centerface, nothing, or the checkpoint of a run, which is the teacher, too",
    )
    sub.add_argument("--freeze", choices=("backbone",), help="leave the backbone and the pyramid as they are")
    sub.add_argument("--slow", type=share, default=0.3, help="the share of the rate for what was trained before")
    sub.add_argument("--steps", type=positive, default=3200)
    sub.add_argument("--batch", type=positive, default=16)
    sub.add_argument("--rate", type=rate, default=3e-3)
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--workers", type=positive, default=1, help="threads that make pictures")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
