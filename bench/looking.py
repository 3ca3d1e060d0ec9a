"""The whole graph HIGHLIGHTS over a video, a piece at a time. `python -m bench.looking VIDEO OUT PIECE`

For each line on standard input, PIECE more frames are done by all of its processes, which stand still otherwise. Prints
how many it were, their seconds, and how long the first one took, as JSON.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from run_pipeline import HIGHLIGHTS
from stages.highlight.analyse import analyse
from stages.highlight.settings import HighlightEngineConfig, HighlightSettings
from stages.highlight.videos import State

NEVER_S = 3600.0  # who stands still does not hang


class Looked(msgspec.Struct, frozen=True):
    """What was measured of a piece."""

    frames: int
    seconds: float
    first_s: float  # from the beginning until every process was done with the first frame


class Turns:
    """Told how many frames are done, lets the processes work until a piece is, and then waits for its next turn."""

    def __init__(self, piece: int) -> None:
        self._piece, self._done, self._first_s = piece, 0, 0.0
        sys.stdin.readline()
        self._began = time.perf_counter()

    def __call__(self, done: int) -> bool:
        now = time.perf_counter()
        if done and not self._first_s:
            self._first_s = now - self._began
        if done >= self._done + self._piece:
            _tell(signal.SIGSTOP)
            print(msgspec.json.encode(Looked(done - self._done, now - self._began, self._first_s)).decode(), flush=True)
            sys.stdin.readline()
            self._done, self._began = done, time.perf_counter()
            _tell(signal.SIGCONT)
        return True


def _tell(number: signal.Signals) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    for pid in children.split():
        os.kill(int(pid), number)  # one that has ended is still there: it is not waited for meanwhile


def main(video: Path, out: Path, piece: int) -> None:
    """Look at the video."""
    engine = HighlightEngineConfig(watchdog_s=NEVER_S)
    settings = HighlightSettings().by_stage([])
    store, log = out / "signals.sqlite", out / "log"
    failures = analyse(HIGHLIGHTS, video, store, settings, engine, log, State.of(video), Turns(piece))
    if failures:
        raise SystemExit("; ".join(failures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
