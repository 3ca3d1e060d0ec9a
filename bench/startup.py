"""From the command to its first result. `python -m bench.startup`"""

from __future__ import annotations

import sys

import numpy as np

from bench.command import Run, enrolled, run
from bench.table import Row, report

RUNS = 5


def main() -> int:
    """Start the command again and again; 1 when it is too slow."""
    with enrolled() as environment:
        runs = [run(["--seconds", "0.5"], environment) for _ in range(RUNS + 1)][1:]  # the first fills the disk's cache

    def median(moments: list[int]) -> float:
        return float(np.median([each.after(moment) for each, moment in zip(runs, moments, strict=True)]))

    results = [_first(each, "done_ns") for each in runs]
    rows = [
        Row("the last process is up", median([max(each.started.values()) for each in runs]), "s"),
        Row("the first frame is captured", median([_first(each, "captured_ns") for each in runs]), "s"),
        Row("the first result is written", median(results), "s", gate="<= 4"),
        Row("the first result, slowest run", max(each.after(at) for each, at in zip(runs, results, strict=True)), "s"),
    ]
    notes = [f"Medians of {RUNS} starts on the sample clip, after one that is not counted; default placement."]
    return report("startup", rows, versions=("onnxruntime-gpu", "opencv-python", "av"), notes=notes)


def _first(run: Run, moment: str) -> int:
    return int(run.frames[moment][0])


if __name__ == "__main__":
    sys.exit(main())
