"""The whole graph on the sample clip beside its own limit and beside a plain loop. `python -m bench.graph [ROUNDS]`

All take turns, a piece of `PIECE` frames each: every stage called bare (bench/bare.py), the command in its three
placements, stopped by SIGSTOP while it is not its turn, and the plain loop (bench/plain.py). So all of them see the
same machine: the speed of a shared one drifts by half within a minute. The first piece of each is not counted.
limit = min(rate of the slowest bare stage, cores / sum of the bare times of all stages).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from bench.bare import Bare
from bench.command import CLIP, Command, enrolled
from bench.plain import Plain
from bench.table import Row, report
from bench.turns import Program
from pipeline.graph import Source, expand
from pipeline.limits import cores
from run_pipeline import LIVE_VIEW, Settings

PLACEMENTS = ("default", "fuse", "spread")
PLAIN = "plain loop"
ROUNDS = 3
PIECE = Settings().engine.slots - 1  # as many frames as may be on the way at once
NOTES = (
    "A rate: frames / seconds of its turns, from the second piece on: start, filling and closing are left out. "
    "Medians over the rounds; of ratios, too.",
    "The command runs with --json: without the live view, which redraws itself four times a second.",
    "A bare stage: called in a loop in a process that does nothing else, on the graph's number of threads.",
    "The plain loop: cv2.VideoCapture, ONNX Runtime's and OpenCV's default threads, the same networks, the same boxes, "
    "the same codec settings on as many threads as x264 likes.",
)


@dataclass
class Round:
    """What one round measured: once through the clip for each."""

    frames: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # who -> frames in its turns
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # who -> of its turns
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # bare stage -> seconds, all frames
    named: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # who -> faces that were given a name

    def rate(self, who: str) -> float:
        """Frames a second."""
        return self.frames[who] / self.seconds[who]

    @property
    def times(self) -> dict[str, float]:
        """Seconds a frame of each bare stage."""
        return {name: seconds / self.frames["bare"] for name, seconds in self.stages.items()}

    @property
    def limit(self) -> float:
        """Frames a second that no placement on these cores can pass."""
        return min(1 / max(self.times.values()), cores() / sum(self.times.values()))

    @property
    def agreement(self) -> float:
        """The fewest faces that any of them has named beside the most: 1 where all have done the same work."""
        return min(self.named.values()) / max(1, *self.named.values())


def measure(environment: dict[str, str]) -> Round:
    """One round."""
    graph = expand(LIVE_VIEW, [Source(CLIP.stem, str(CLIP), live=False)])
    threads = str(max(1, cores() // len(graph)))
    limited = environment | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    found = Round()
    with ExitStack() as stack:
        bare = stack.enter_context(Program("bench.bare", Bare, limited, str(CLIP), threads, str(PIECE)))
        plain = stack.enter_context(Program("bench.plain", Plain, environment, str(CLIP), str(PIECE)))
        for program in (bare, plain):
            program.advance()
        commands = {}
        for name in PLACEMENTS:
            arguments = [] if name == "default" else [f"--{name}"]
            commands[name] = stack.enter_context(Command(arguments, environment))
            commands[name].wait_for(PIECE)
            commands[name].pause()
        names = list(PLACEMENTS)
        while piece := bare.advance():
            found.frames["bare"] += piece.frames
            for stage, seconds in piece.seconds.items():
                found.stages[stage] += seconds
            for name in names:
                _turn(found, name, commands[name])
            names.append(names.pop(0))  # nobody always comes behind the same
            if loop := plain.advance():
                found.frames[PLAIN] += loop.frames
                found.seconds[PLAIN] += loop.seconds
                found.named[PLAIN] += loop.named
        for name, command in commands.items():
            found.named[name] = _named(command)
    return found


def _turn(found: Round, name: str, command: Command) -> None:
    """Let the command do a piece, or what is left of the clip."""
    before, began = command.done, time.monotonic_ns()
    command.resume()
    command.wait_for(before + PIECE)
    command.pause()
    ended = time.monotonic_ns() if command.running() else int(command.frames()["done_ns"][-1])
    after = command.done
    if after > before:
        found.frames[name] += after - before
        found.seconds[name] += (ended - began) / 1e9


def _named(command: Command) -> int:
    """The faces that the command has named in the frames that the plain loop counts: from the second piece on."""
    return sum(bool(name) for result in command.results() if result.seq >= PIECE for name in result.names)


def rows(rounds: list[Round]) -> list[Row]:
    """The table."""

    def row(name: str, figures: list[float], unit: str, gate: str = "") -> Row:
        return Row(name, float(np.median(figures)), unit, gate)

    def ratio(name: str, one: str, other: str, gate: str = "") -> Row:
        return row(name, [each.rate(one) / each.rate(other) for each in rounds], "times", gate)

    return [
        *(row(f"{name}, bare", [1e3 * each.times[name] for each in rounds], "ms") for name in rounds[0].times),
        row("limit", [each.limit for each in rounds], "frames/s"),
        *(row(f"graph, {name}", [each.rate(name) for each in rounds], "frames/s") for name in PLACEMENTS),
        row(PLAIN, [each.rate(PLAIN) for each in rounds], "frames/s"),
        row("graph / limit", [each.rate("default") / each.limit for each in rounds], "times", ">= 0.85"),
        ratio("graph / plain loop", "default", PLAIN, ">= 1.3"),
        row("faces named, fewest / most", [each.agreement for each in rounds], "times", ">= 0.98"),
        ratio("default / fuse", "default", "fuse"),
        ratio("default / spread", "default", "spread"),
    ]


def main() -> int:
    """Measure all rounds; 1 when a gate fails."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with enrolled() as environment:
        rounds = [measure(environment) for _ in range(count)]
    fastest = max(PLACEMENTS, key=lambda name: float(np.median([each.rate(name) for each in rounds])))
    counted = ", ".join(f"{who} {frames}" for who, frames in rounds[0].frames.items())
    about = f"{count} rounds of {CLIP.name}; frames counted in a round: {counted}."
    names = ", ".join(f"{who} {faces}" for who, faces in rounds[0].named.items())
    named = f"Faces named from the second piece on, in a round: {names}."
    notes = [*NOTES, about, f"The fastest placement here: {fastest}.", named]
    return report("graph", rows(rounds), versions=("onnxruntime-gpu", "opencv-python", "av"), notes=notes)


if __name__ == "__main__":
    sys.exit(main())
