"""One way to train every network: batches made ahead, a step, a schedule of rates.

The batch of step k depends on the seed and on k alone, so a run that is stopped and resumed sees what a run without a
stop would have seen.
"""

import ctypes
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from export.checkpoint import CHECKPOINT
from export.files import folder_at
from export.packages import Failed
from export.run import Figures, Plan, Run

Batch = TypeVar("Batch")
Losses = dict[str, Tensor]  # each a scalar; what is minimized is their sum


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
    folder_at(folder)
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
                kept = f"{folder / CHECKPOINT} is of step {run.kept}: " if run.kept else ""
                lower = f"{kept}start into another folder with a lower --rate"
                raise Failed(f"at step {step} the loss ({bad}) is not a number; {lower}")
            run.done(step, values, time.monotonic() - started)
            if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
                run.keep(step + 1)
            progress.update(task, advance=1, said=f"loss {sum(values.values()):.3f}")
    module.load_state_dict(run.averaged.state)
    return module.eval()


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


def bar() -> Progress:
    """A progress bar with the time that is left and a word on how it goes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
