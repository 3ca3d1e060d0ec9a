"""Record in a process of its own, to be killed: the messages of seq FIRST..COUNT-1, then close.

python -m tests.stages.recording_child OUT RUN COUNT [CALL NTH]

With CALL (a function of os or shutil) it kills itself with SIGKILL in the NTH call, counted from 0; a write has got
half its bytes out by then. With "restarted" it goes on where a killed one stopped. Prints each seq when it is done.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import Any

import numpy as np

from pipeline.types import Detections, Drawn, Frame, Matches
from stages.record import Record, RecordConfig

SIZE = (96, 64)  # width, height


def shade(seq: int) -> int:
    """The grey of a frame's picture: tells which frame a decoded picture is."""
    return 20 + seq * 37 % 210


def pts_ns(seq: int) -> int:
    """30 frames a second, not quite evenly."""
    return 7_000_000_000 + seq * 33_333_333 + seq % 3 * 2_000_000


def drawn(seq: int, source: str = "cam", size: tuple[int, int] = SIZE, names: tuple[str, ...] = ("José",)) -> Drawn:
    """A message as Draw makes it, with one face for each name."""
    width, height = size
    frame = Frame(source, seq, 1_000_000, pts_ns(seq), 1, 0, 2, width, height)
    n = len(names)
    boxes = np.tile(np.array([[1.5, 2, 30, 40]], np.float32), (n, 1))
    points = np.zeros((n, 5, 2), np.float32)
    found = Detections(frame, boxes, np.full(n, 0.9, np.float32), np.zeros(n, np.int32), points, ("face",))
    similarity = np.array([0.8 if name else np.nan for name in names], np.float32)
    return Drawn(Matches(found, names, similarity), np.full((height, width, 3), shade(seq), np.uint8))


def arm(call: str, nth: int) -> None:
    """Make the nth call of `call` the last thing that this process does."""
    module = shutil if call == "rmtree" else os
    real = getattr(module, call)
    left = [nth]

    def armed(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            if call == "pwrite":
                fd, data, at = args
                real(fd, data[: len(data) // 2], at)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(module, call, armed)


def main(out: str, run: str, count: str, call: str = "", nth: str = "0") -> None:
    restarted = call == "restarted"
    if call and not restarted:
        arm(call, int(nth))
    record = Record(RecordConfig(out=out, run=run, sources=("cam",)))
    first = record.resume().get("cam", -1) + 1 if restarted else 0
    for seq in range(first, int(count)):
        record(drawn(seq))
        print(seq, flush=True)
    record.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
