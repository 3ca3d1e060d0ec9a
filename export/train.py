"""One way to train every network: schedule, averaged weights, a checkpoint that is whole or not there, a log.

The batch of step k depends on the seed and on k alone, so a run that is stopped and resumed sees what a run without a
stop would have seen.
"""

import csv
import ctypes
import io
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from export.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from export.files import write_whole
from export.packages import Failed

Batch = TypeVar("Batch")
Losses = dict[str, Tensor]  # each a scalar; what is minimized is their sum
Figures = Mapping[str, float]

FREE = ("steps", "save_every", "workers")  # what may differ where a run is resumed
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


def ahead(make: Callable[[np.random.Generator], Batch], plan: Plan, first: int) -> Iterator[Batch]:
    """The batches from step `first` on, made in threads while a step runs: OpenCV and NumPy let go of Python's lock."""

    def batch(step: int) -> Batch:
        return make(np.random.default_rng((plan.seed, step)))

    with ThreadPoolExecutor(plan.workers) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in range(first, plan.steps):
            while len(waiting) <= plan.workers and step + len(waiting) < plan.steps:
                waiting.append(pool.submit(batch, step + len(waiting)))
            yield waiting.popleft().result()


def keep_memory() -> None:
    """Have glibc keep what was freed: on two cores a step took a third of the time, the rest was page faults."""
    with suppress(OSError, AttributeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(option, value)


def seed_all(seed: int) -> None:
    """Everything that draws lots draws the same ones again."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it costs a write of all


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


Groups = list[dict[str, Any]]


def groups(module: nn.Module, rate: float, old: Iterable[str] = (), slow: float = 0.1) -> Groups:
    """Parameters for the optimizer: those under the prefixes `old` at `slow` times the rate, frozen ones left out.

    Biases and norms do not decay.
    """
    prefixes = tuple(old)
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_old = bool(prefixes) and name.startswith(prefixes)
            parts.setdefault((is_old, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "share": slow if is_old else 1.0, "lr": rate} | ({} if decays else {"weight_decay": 0.0})
        for (is_old, decays), parameters in parts.items()
    ]


def fit(
    module: nn.Module,
    architecture: str,
    loss: Callable[[nn.Module, Batch], Losses],
    make: Callable[[np.random.Generator], Batch],
    plan: Plan,
    folder: Path,
    *,
    parameters: Groups | None = None,
    check: Callable[[nn.Module], Figures] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Train `module` in place and return it with its averaged weights, in eval mode; a run in `folder` is resumed.

    `loss` gets the module and a batch that `make` made out of a generator. `check` gives figures for the log at each
    checkpoint. On CUDA forward passes are in bfloat16 with float32 weights. Failed where a loss is not a
    number: the last checkpoint is kept. `folder` gets checkpoint.pt and log.csv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_memory()
    seed_all(plan.seed)
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(parameters or groups(module, plan.rate), lr=plan.rate, weight_decay=plan.decay)
    run = Run(module, architecture, optimizer, plan, folder, check)
    started = time.monotonic()
    with bar() as progress:
        task = progress.add_task(folder.name, total=plan.steps, completed=run.kept, said="")
        for step, batch in enumerate(ahead(make, plan, run.kept), run.kept):
            torch.manual_seed(hash((plan.seed, step)))  # for dropout: as in a run without a stop
            values = advance(module, optimizer, loss, batch, plan, step, device)
            if not all(map(math.isfinite, values.values())):
                bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
                raise Failed(
                    f"at step {step} the loss ({bad}) is not a number; {folder / CHECKPOINT} is of step {run.kept}: "
                    "start into another folder with a lower --rate"
                )
            run.done(step, values, time.monotonic() - started)
            if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
                run.keep(step + 1)
            progress.update(task, advance=1, said=f"loss {sum(values.values()):.3f}")
    module.load_state_dict(run.averaged.state)
    return module.eval()


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
        check_same_plan(state["plan"], self.plan, self.folder)
        self.module.load_state_dict(state["module"])
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
        save_checkpoint(self.folder / CHECKPOINT, self.architecture, state)
        if self.rows:
            self.rows[-1].update({name: f"{value:.5g}" for name, value in figures.items()})
        write_log(self.folder / LOG, self.rows)
        self.kept = steps


def advance(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Batch], Losses],
    batch: Batch,
    plan: Plan,
    step: int,
    device: str,
) -> dict[str, float]:
    """One step of the optimizer; the losses before it."""
    for group in optimizer.param_groups:
        group["lr"] = plan.rate * plan.share(step) * group["share"] if "share" in group else group["lr"]
    module.train()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        parts = loss(module, batch)
    total = torch.stack(list(parts.values())).sum()
    values = {name: float(value.detach()) for name, value in parts.items()}
    if torch.isfinite(total):
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], plan.clip)
        if not torch.isfinite(norm):
            return values | {"gradient": float(norm)}
        optimizer.step()
    return values


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


def bar() -> Progress:
    """A progress bar with the time that is left and a word on how it goes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
