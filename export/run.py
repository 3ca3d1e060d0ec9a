"""What a run of training is to be, and what it has come to: its plan, its checkpoint, its log.

A checkpoint is whole or not there; a run that was stopped goes on from it.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.checkpoint import CHECKPOINT, load_checkpoint, load_weights, save_checkpoint
from export.files import write_whole
from export.packages import Failed

Figures = Mapping[str, float]

FREE = ("steps", "warmup", "save_every", "workers")  # what may differ where a run is resumed
LOG = "log.csv"


@dataclass(frozen=True)
class Plan:
    """How long and how fast; rates are of AdamW (Loshchilov & Hutter, arXiv:1711.05101)."""

    steps: int
    rate: float  # the highest; a group of parameters may have a share of it
    warmup: int = 100  # steps from 0 to `rate`; from there a half cosine to a hundredth of it (arXiv:1608.03983)
    decay: float = 1e-2  # of the weights
    ema: float = 0.998  # the share that the averaged weights keep of themselves at each step
    clip: float = 10.0  # norm of all gradients together
    seed: int = 0
    save_every: int = 100  # steps
    workers: int = 1  # threads that make batches
    options: str = ""  # what else has to be the same where a run is resumed

    def share(self, step: int) -> float:
        """The share of the rate at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


class Averaged:
    """An exponential average of a network's parameters and buffers: what is evaluated and exported."""

    def __init__(self, module: nn.Module, keep: float) -> None:
        self.keep = keep
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after a step; early ones count for less, as in TensorFlow's num_updates."""
        keep = min(self.keep, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - keep)
            else:
                self.state[name].copy_(value)


class Run:
    """What a run has come to, in memory and in its folder; one that is in the folder is taken up."""

    def __init__(
        self,
        module: nn.Module,
        architecture: str,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        folder: Path,
        check: Callable[[nn.Module], Figures] | None,
    ) -> None:
        self.module, self.architecture, self.optimizer = module, architecture, optimizer
        self.plan, self.folder, self.check = plan, folder, check
        self.averaged = Averaged(module, plan.ema)
        self.kept = 0  # steps in the checkpoint
        if (folder / CHECKPOINT).exists():
            self._take_up(load_checkpoint(folder / CHECKPOINT, architecture))
        self.rows = list(kept_rows(folder / LOG, self.kept))

    def _take_up(self, state: Mapping[str, Any]) -> None:
        check_same_plan(state.get("plan", "{}"), self.plan, self.folder)
        load_weights(self.module, state.get("module", {}), self.folder / CHECKPOINT)
        resume(self.optimizer, state["optimizer"], self.folder)
        self.averaged.state = {name: value.to(self.averaged.state[name]) for name, value in state["averaged"].items()}
        self.kept = int(state["step"])

    def done(self, step: int, values: Figures, seconds: float) -> None:
        """Average the weights after a step, and log its losses."""
        self.averaged.update(self.module, step)
        self.rows.append(
            {"step": str(step + 1), "rate": f"{self.plan.rate * self.plan.share(step):.3g}"}
            | {name: f"{value:.5g}" for name, value in values.items()}
            | {"seconds": f"{seconds:.1f}"}
        )

    def keep(self, steps: int) -> None:
        """A checkpoint after so many steps, and the log up to it."""
        figures: Figures = {}
        if self.check is not None:
            with with_weights(self.module, self.averaged.state):
                figures = self.check(self.module)
        state = {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state,
            "optimizer": self.optimizer.state_dict(),
            "step": steps,
            "plan": json.dumps(asdict(self.plan)),
        }
        if self.rows:
            self.rows[-1].update({name: f"{value:.5g}" for name, value in figures.items()})
        # The log first: rows after the checkpoint are dropped where a run goes on, missing ones would stay missing.
        write_log(self.folder / LOG, self.rows)
        save_checkpoint(self.folder / CHECKPOINT, self.architecture, state)
        self.kept = steps


@contextmanager
def with_weights(module: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """The module in eval mode with these weights, and as it was afterwards."""
    own = {name: value.detach().clone() for name, value in module.state_dict().items()}
    training = module.training
    module.load_state_dict(state)
    try:
        with torch.inference_mode():
            module.eval()
            yield
    finally:
        module.load_state_dict(own)
        module.train(training)


def resume(optimizer: torch.optim.Optimizer, kept: dict[str, Any], folder: Path) -> None:
    """The optimizer as it was; Failed where it trained other layers, or these at other rates."""
    shares = [group.get("share") for group in optimizer.param_groups]
    if [(len(group["params"]), group.get("share")) for group in kept["param_groups"]] != [
        (len(group["params"]), share) for group, share in zip(optimizer.param_groups, shares, strict=True)
    ]:
        raise Failed(f"the run in {folder} trained other layers or these at other rates; train into another folder")
    optimizer.load_state_dict(kept)


def check_same_plan(kept: str, plan: Plan, folder: Path) -> None:
    """Failed where a run would be resumed with other numbers than it had; it may be made longer or shorter."""
    old, new = json.loads(kept), asdict(plan)
    other = sorted(name for name in new if name not in FREE and old.get(name) != new[name])
    if other:
        said = ", ".join(f"{name} {old.get(name)!r}" for name in other)
        raise Failed(f"the run in {folder} was started with {said}; resume it with that, or train into another folder")


def kept_rows(file: Path, step: int) -> Iterator[dict[str, str]]:
    """The log's rows up to `step`: what came after the checkpoint is done again."""
    if not file.exists():
        return
    with file.open(newline="") as stream:
        yield from (row for row in csv.DictReader(stream) if int(row["step"]) <= step)


def write_log(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """The log as CSV, whole or not at all; a column that a row has no figure for is empty there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(file, stream.getvalue().encode())
