"""The whole graph on the sample clip beside its own limit and beside a plain loop. `python -m bench.graph [ROUNDS]`

In each round, in turn: every stage called bare (bench/bare.py), the command, the stages again, the plain loop
(bench/plain.py), the command in its other placements. limit = min(rate of the slowest bare stage, cores / sum of the
bare times of all stages), with the mean of the times before and after the command: a shared machine's speed drifts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from bench.bare import Bare
from bench.command import CLIP, ROOT, Run, enrolled, run
from bench.plain import Plain
from bench.table import Row, report
from pipeline.graph import Source, expand
from run_pipeline import LIVE_VIEW

PLACEMENTS = ("default", "fuse", "spread")
ROUNDS = 3
CORES = len(os.sched_getaffinity(0))
NOTES = (
    "A rate: frames / (the last result is written - the first frame is captured), of the command as of the plain loop; "
    "the start and the closing are left out, except in the whole run's. Medians over the rounds; of ratios, too.",
    "A bare stage: called in a loop in a process that does nothing else, on the graph's number of threads.",
    "The plain loop: cv2.VideoCapture, ONNX Runtime's and OpenCV's default threads, the same networks, the same boxes, "
    "the same codec settings on as many threads as x264 likes.",
)


@dataclass(frozen=True)
class Round:
    """What one round measured."""

    bare: tuple[Bare, Bare]  # before and after the command
    placed: dict[str, Run]
    plain: Plain

    @property
    def limit(self) -> float:
        """Frames a second that no placement on these cores can pass."""
        times = self.times.values()
        return min(1 / max(times), CORES / sum(times))

    @property
    def times(self) -> dict[str, float]:
        """Seconds a frame of each bare stage."""
        one, two = self.bare
        return {name: (one.seconds[name] + two.seconds[name]) / (2 * one.frames) for name in one.seconds}

    @property
    def frames(self) -> int:
        """How many the clip has."""
        return self.plain.frames

    @property
    def default(self) -> Run:
        """The placement that a user gets."""
        return self.placed["default"]

    @property
    def loop(self) -> float:
        """Frames a second of the plain loop."""
        return self.plain.frames / self.plain.seconds


def measure(environment: dict[str, str]) -> Round:
    """One round."""
    graph = expand(LIVE_VIEW, [Source(CLIP.stem, str(CLIP), live=False)])
    threads = str(max(1, CORES // len(graph)))
    limited = environment | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    before = msgspec.json.decode(_say("bench.bare", limited, threads), type=Bare)
    placed = {"default": run([], environment)}
    after = msgspec.json.decode(_say("bench.bare", limited, threads), type=Bare)
    plain = msgspec.json.decode(_say("bench.plain", environment), type=Plain)
    placed |= {name: run([f"--{name}"], environment) for name in ("fuse", "spread")}
    counts = {before.frames, after.frames, plain.frames, *(len(each.frames) for each in placed.values())}
    if len(counts) > 1:
        raise SystemExit(f"not all have done the same frames: {counts}")
    return Round((before, after), placed, plain)


def _say(module: str, environment: dict[str, str], *arguments: str) -> bytes:
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", module, str(CLIP), out, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout


def rows(rounds: list[Round]) -> list[Row]:
    """The table."""

    def median(of: Callable[[Round], float]) -> float:
        return float(np.median([of(each) for each in rounds]))

    stages = [
        Row(f"{name}, bare", median(lambda each: 1e3 * each.times[name]), "ms")  # noqa: B023
        for name in rounds[0].times
    ]
    rates = [
        Row(f"graph, {name}", median(lambda each: each.placed[name].rate), "frames/s")  # noqa: B023
        for name in PLACEMENTS
    ]
    return [
        *stages,
        Row("limit", median(lambda each: each.limit), "frames/s"),
        *rates,
        Row("graph, default, whole run", median(lambda each: each.default.whole_rate), "frames/s"),
        Row("plain loop", median(lambda each: each.loop), "frames/s"),
        Row("graph / limit", median(lambda each: each.default.rate / each.limit), "times", gate=">= 0.85"),
        Row("graph / plain loop", median(lambda each: each.default.rate / each.loop), "times", gate=">= 1.3"),
        Row("default / fuse", median(lambda each: each.default.rate / each.placed["fuse"].rate), "times"),
        Row("default / spread", median(lambda each: each.default.rate / each.placed["spread"].rate), "times"),
    ]


def main() -> int:
    """Measure all rounds; 1 when a gate fails."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with enrolled() as environment:
        rounds = [measure(environment) for _ in range(count)]
    fastest = max(PLACEMENTS, key=lambda name: np.median([each.placed[name].rate for each in rounds]))
    cpu = {name: np.median([each.placed[name].cpu_s for each in rounds]) for name in PLACEMENTS}
    used = ", ".join(f"{name} {1e3 * cpu[name] / rounds[0].frames:.0f}" for name in PLACEMENTS)
    named = f"Faces named by the plain loop: {rounds[0].plain.named}."
    about = f"{count} rounds of {rounds[0].frames} frames of {CLIP.name}; CPU ms a frame, start and all: {used}."
    notes = [*NOTES, about, f"The fastest placement here: {fastest}.", named]
    return report("graph", rows(rounds), versions=("onnxruntime-gpu", "opencv-python", "av"), notes=notes)


if __name__ == "__main__":
    sys.exit(main())
