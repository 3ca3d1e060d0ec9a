"""`python -m export train liveness`: our passive network, over folders of live faces and attacks."""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from export import train
from export.checkpoint import CHECKPOINT
from export.chips import SMALLEST
from export.cli import Commands, command, positive, rate, seed, share
from export.detector import Array, Detector, Image
from export.feed import FINDER
from export.liveness.live_folders import LIVE, Face, Presentation, presentations, presented, stacked
from export.liveness.passive import liveness_to_onnx
from export.liveness.presentation import Rates, rates, table, threshold_at
from export.liveness.simulate import MARK
from export.models.liveness import CONTEXTS, SIDE, Liveness
from export.packages import Failed
from export.run import LOG, Figures, Plan
from export.to_onnx import save

LOOKS = 4  # crops of a training face, each of a box that is shifted and scaled as detectors differ
BATCH = 48
HELD_OUT = 5  # one group in so many is kept for the threshold
Batch = tuple[Tensor, Tensor]  # (B, 3, 160, 80) float32 -1..1 RGB, (B,) float32: 1 is live


@dataclass(frozen=True)
class Faces:
    """Crops of presentations, one picture of one presentation after the other."""

    crops: Image  # (N, LOOKS or 1, 160, 80, 3) uint8 RGB
    species: NDArray[np.str_]  # (N,)


def jittered(box: Array, random: np.random.Generator) -> Array:
    """The box (4,) as another detector might have put it."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    middle = middle + random.normal(0, 0.06, 2) * half * 2
    half = half * np.exp(random.normal(0, 0.08) + random.normal(0, 0.03, 2))
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def looks(face: Face, count: int, random: np.random.Generator) -> Image:
    """(count, 160, 80, 3) uint8 RGB: the face's crops as detected, then jittered."""
    boxes = [face.box] + [jittered(face.box, random) for _ in range(count - 1)]
    return np.stack([stacked(face.image, box, CONTEXTS) for box in boxes])[..., ::-1]


def read(found: list[Presentation], count: int, seed: int) -> Faces:
    """The crops of all presentations; Failed, with their names, where files have no face."""
    detector, random = Detector(FINDER, 384, 640), np.random.default_rng(seed)
    crops, species, faceless = [], [], []
    for presentation in track(found, "reading faces"):
        faces = list(presented(presentation.file, detector))
        if not faces:
            faceless.append(presentation.file)
        crops += [looks(face, count, random) for face in faces]
        species += [presentation.species] * len(faces)
    if faceless:
        files = "\n".join(map(str, faceless))
        raise Failed(f"no face of {SMALLEST} px or more is found in these; take them out of the folder:\n{files}")
    return Faces(np.stack(crops), np.array(species))


def is_held_out(group: str) -> bool:
    """Is this group for the threshold? The same on every machine, whatever else is in the folder."""
    return hashlib.sha256(group.encode()).digest()[0] % HELD_OUT == 0


def split(found: list[Presentation]) -> tuple[list[Presentation], list[Presentation]]:
    """Those to train on and those held out, no group in both; Failed where a part lacks live faces or attacks."""
    held = [presentation for presentation in found if is_held_out(presentation.group)]
    kept = [presentation for presentation in found if not is_held_out(presentation.group)]
    for part, name in ((kept, "to train on"), (held, "for the threshold")):
        live = sum(presentation.species == LIVE for presentation in part)
        if live in (0, len(part)):
            raise Failed(
                f"too few different people: no {'attacks' if live else 'live faces'} are left {name}; add more"
            )
    return kept, held


def turned(crop: Image, random: np.random.Generator) -> Image:
    """A crop (80, 80, 3) turned, scaled and moved, its border mirrored: with less, faces are learnt by heart."""
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), random.normal(0, 10), random.uniform(0.85, 1.25))
    matrix = matrix + np.array([[0, 0, 1], [0, 0, 1]]) * random.normal(0, 4, (2, 1))  # px
    return np.asarray(cv2.warpAffine(crop, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), np.uint8)


def varied(crops: Image, random: np.random.Generator) -> Array:
    """(160, 80, 3) float32 -1..1: crops as another camera in another light, flipped in half of the cases."""
    crops = np.concatenate([turned(crop, random) for crop in (crops[:SIDE], crops[SIDE:])])
    if random.random() < 0.5:
        crops = crops[:, ::-1]
    pixels = crops.astype(np.float32) / 255
    if random.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.3, 1.0)).astype(np.float32)
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + random.uniform(0.6, 1.3) * (pixels - grey)  # cameras differ in colour, so colour must not decide
    gains = random.uniform(0.7, 1.3) * (1 + random.normal(0, 0.06, 3))
    pixels = (pixels * gains).clip(0, 1) ** random.uniform(0.75, 1.35)
    pixels = pixels + random.normal(0, random.uniform(0, 0.02), pixels.shape)
    return np.asarray(pixels.clip(0, 1) * 2 - 1, np.float32)


class Batches:
    """Half live, half attacks, each species as often: what `fit` calls with a generator."""

    def __init__(self, faces: Faces) -> None:
        self.crops = faces.crops
        self.rows = {name: np.flatnonzero(faces.species == name) for name in np.unique(faces.species)}
        self.attacks = [name for name in self.rows if name != LIVE]

    def __call__(self, random: np.random.Generator) -> Batch:
        live = np.arange(BATCH) % 2 == 0
        names = [LIVE if is_live else self.attacks[random.integers(len(self.attacks))] for is_live in live]
        rows = [self.rows[name][random.integers(len(self.rows[name]))] for name in names]
        pixels = np.stack([varied(self.crops[row, random.integers(self.crops.shape[1])], random) for row in rows])
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), torch.from_numpy(live.astype(np.float32))


def loss(module: nn.Module, batch: Batch) -> train.Losses:
    """Binary cross entropy; the targets are drawn in a little, so that no score runs to its end."""
    images, live = batch
    return {"entropy": functional.binary_cross_entropy_with_logits(module(images), 0.05 + 0.9 * live)}


def scores(module: nn.Module, crops: Image) -> NDArray[np.float64]:
    """(N,) scores 0..1 of crops (N, 160, 80, 3) uint8 RGB, by a module in eval mode."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), BATCH):
            part = crops[start : start + BATCH].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
            parts.append(torch.sigmoid(module(torch.from_numpy(part))))
    return torch.cat(parts).double().numpy()


def fit(data: Path, folder: Path, plan: Plan, bpcer: float, width: int) -> tuple[Liveness, Rates]:
    """Train on most groups of `data`; the threshold lets at most `bpcer` of the held-out live faces be turned away."""
    kept, held = split(presentations(data))
    training, calibration = read(kept, LOOKS, plan.seed), read(held, 1, plan.seed)
    torch.manual_seed(plan.seed)
    module = Liveness(width)

    def judge(network: nn.Module) -> Rates:
        found = scores(network, calibration.crops[:, 0])
        live = found[calibration.species == LIVE]
        return rates(found, calibration.species.tolist(), threshold_at(live, bpcer))

    def check(network: nn.Module) -> Figures:
        found = judge(network)
        return {f"APCER {name}": one.value for name, one in found.apcer.items()} | {"BPCER": found.bpcer.value}

    architecture = f"liveness {json.dumps({'width': width})}"
    train.fit(module, architecture, loss, Batches(training), plan, folder, check=check)
    return module, judge(module)


def run(arguments: argparse.Namespace) -> None:
    """`train liveness`."""
    plan = Plan(arguments.steps, arguments.rate, decay=0.05, ema=0.99, seed=arguments.seed)
    module, found = fit(arguments.data, arguments.out, plan, arguments.bpcer, arguments.width)
    kind = "simulated" if (arguments.data / MARK).exists() else "given"
    origin = f"trained by framewire on {kind} attacks"
    file = arguments.out / "liveness.onnx"
    sha256 = save(liveness_to_onnx(module, found.threshold, origin, arguments.licence), file)
    print(f"held-out groups, which also set the threshold ({kind} presentations):\n{table(found)}")
    print(f"{sha256}  {file}; {arguments.out / CHECKPOINT}, and the losses in {arguments.out / LOG}")


def add(commands: Commands) -> None:
    """`liveness` under `train`."""
    sub = command(commands, "liveness", run, "is a face live? over folders live/, print/, replay/, ...")
    sub.add_argument("data", type=Path, help="live/ and a folder for each species of attack: photos and videos")
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FOLDER", help="a run that is there is resumed")
    sub.add_argument("--steps", type=positive, default=1200)
    sub.add_argument("--rate", type=rate, default=3e-3)
    sub.add_argument("--width", type=positive, default=12, help="channels after the first layer")
    sub.add_argument("--bpcer", type=share, default=0.05, help="share of live faces that may be turned away")
    sub.add_argument("--licence", default="unknown", help="what the file says of itself")
    sub.add_argument("--seed", type=seed, default=0)
