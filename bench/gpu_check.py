"""What needs a GPU, checked and measured on any machine that has one: python -m bench.gpu_check [FILE...]

For each model in models/, and each FILE besides (such as python -m export onnx centerface --decode --half --out FILE
writes), and each GPU provider: does it really run the network, does it agree with the CPU, are captured graphs what
runs, and how fast is it by batch size beside a plain session.run on CUDA. Exit code 1 where a check fails, 0 otherwise,
also on a machine without a GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.agreement import compare, pictures
from pipeline import cuda
from pipeline.errors import Failed
from pipeline.model import Device, Model
from pipeline.session import errors, make_plan, open_session

MODELS = Path(__file__).resolve().parents[1] / "models"
SIZES = {"centerface": (192, 320)}  # (height, width); others have a size of their own
PARITY_BATCHES = (1, 2, 3, 4, 8, 11)  # full, padded and split buckets
WARM, RUNS = 20, 300

Run = Callable[[NDArray[np.float32]], list[NDArray[Any]]]


class Speed(NamedTuple):
    """Times of calls at one batch size, milliseconds, and what they come to."""

    batch: int
    p50: float
    p99: float
    frames_a_second: float


def main() -> int:
    """Check every model on every provider and print what was found; returns the exit code."""
    console = Console(markup=False)
    if clause := cuda.no_device():
        console.print(f"gpu-check: nothing to check, {clause}")
        return 0
    if clause := cuda.missing():
        console.print(f"gpu-check: there is a GPU, but {clause}", style="bold red", soft_wrap=True)
        return 1
    faults = sum(
        check(console, path, provider, half)
        for path in [*_models(), *map(Path, sys.argv[1:])]
        for provider, half in _ways(console)
    )
    console.print(f"gpu-check: {faults} checks failed" if faults else "gpu-check: all is well")
    return 1 if faults else 0


def _models() -> list[Path]:
    """Those that ship, but for what is quantized for CPUs: a GPU computes the other file of the same network."""
    return [path for path in sorted(MODELS.glob("*.onnx")) if not path.stem.endswith("_int8")]


def _ways(console: Console) -> list[tuple[Device, bool]]:
    """The providers to check, and whether in float16; TensorRT where it is installed."""
    try:
        cuda.tensorrt_release()
    except Failed as error:
        console.print(f"{error}", style="yellow")
        return [("cuda", False)]
    return [("cuda", False), ("tensorrt", False), ("tensorrt", True)]


def check(console: Console, path: Path, provider: Device, half: bool) -> int:
    """Examine one model on one provider; returns how many checks failed, 1 where it does not run at all."""
    title = f"{path.stem} on {provider}{' in float16' if half else ''}"
    try:
        return examine(console, title, path, provider, half)
    except Failed as error:
        console.print(f"{title}: {error}", style="bold red")
    except errors() as error:
        console.print(f"{title}: {type(error).__name__}: {error}", style="bold red")
    return 1


def examine(console: Console, title: str, path: Path, provider: Device, half: bool = False, runs: int = RUNS) -> int:
    """Print the checks and the speeds of one model on one provider; returns how many checks failed."""
    size = SIZES.get(path.stem)
    started = time.perf_counter()
    model = Model(path, provider=provider, size=size, batch=8, half=half)
    console.rule(f"{title}, ready after {time.perf_counter() - started:.1f} s")
    reference = Model(path, provider="cpu", size=size, batch=8)
    checks = {**used(model, provider), **parity(model, reference), **replay(model, reference)}
    for line, good in checks.items():
        console.print(f"{'ok    ' if good else 'FAILED'}  {line}", style="" if good else "bold red")
    table = Table("batch", "p50 ms", "p99 ms", "frames/s", "plain p50", "plain p99", "plain frames/s", box=None)
    plain = plain_run(path, provider, size)
    for batch in _taken(model, cuda.BUCKETS):
        images = pictures(model.info, batch, seed=batch)
        ours, theirs = speed(model, images, runs), speed(plain, images, runs)
        numbers = (*ours[1:3], ours.frames_a_second, *theirs[1:3], theirs.frames_a_second)
        table.add_row(str(batch), *(f"{number:.2f}" for number in numbers))
    console.print(table)
    return list(checks.values()).count(False)


def used(model: Model, provider: Device) -> dict[str, bool]:
    """Is the provider the one that was given the network, and does each batch size have a graph that is replayed?"""
    nodes = model.info.nodes
    count = nodes.get(cuda.PROVIDERS[provider], 0) if provider != "cpu" else 0
    checks = {f"{provider} runs {count} of {sum(nodes.values())} nodes, and all layers": count > 0}
    if _varies(model):
        return checks | {"no graph to replay: the outputs vary in size": True}
    return checks | {f"batch {bucket}: a captured graph runs": good for bucket, good in model.replays().items()}


def parity(model: Model, reference: Model) -> dict[str, bool]:
    """For full, padded and split batches: does every output agree with the CPU's?"""
    checks = {}
    for batch in _taken(model, PARITY_BATCHES):
        images = pictures(model.info, batch, seed=batch)
        good, figures = compare(model.info, batch, model(images), reference(images))
        checks[f"batch {batch}: {figures}"] = good
    return checks


def replay(model: Model, reference: Model) -> dict[str, bool]:
    """After a bucket was captured: the same input again, another one, then the first again."""
    checks = {}
    for batch in _taken(model, cuda.BUCKETS):
        first, second = (pictures(model.info, batch, seed) for seed in (1, 2))
        before = [output.copy() for output in model(first)]
        again = compare(model.info, batch, model(first), before)
        changed = [output.copy() for output in model(second)]
        back = compare(model.info, batch, model(first), before)
        follows = compare(model.info, batch, changed, reference(second))
        apart = any(not np.array_equal(one, two) for one, two in zip(changed, before, strict=True))
        checks[f"batch {batch}: replay follows its input"] = apart and again.good and back.good and follows.good
    return checks


def _varies(model: Model) -> bool:
    """Whether the outputs vary in size: such a model runs without a graph, and takes no split batches."""
    return any(-1 in output.shape for output in model.info.outputs)


def _taken(model: Model, batches: Sequence[int]) -> list[int]:
    """Those of the batch sizes that the model takes."""
    return [batch for batch in batches if not _varies(model) or batch in model.info.buckets]


def plain_run(path: Path, provider: Device, size: tuple[int, int] | None) -> Run:
    """What most programs do: session.run with NumPy arrays, on CUDA (the CPU's where `provider` is), no graph."""
    plan = make_plan(path, path.read_bytes(), size)
    if provider == "cpu":
        session = open_session(plan, ["CPUExecutionProvider"], 1)
    else:
        session = cuda.open_gpu(plan, "cuda", 1, graphs=False)
    return lambda images: list(session.run(None, {plan.name: images}))


def speed(run: Run, images: NDArray[np.float32], runs: int) -> Speed:
    """Call `run` over and over; the times include the copies to and from the GPU."""
    times = []
    for _ in range(WARM + runs):
        started = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - started)
    p50, p99 = np.percentile(times[WARM:], [50, 99])
    return Speed(len(images), 1e3 * p50, 1e3 * p99, len(images) / float(np.mean(times[WARM:])))


if __name__ == "__main__":
    sys.exit(main())
