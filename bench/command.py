"""The real command, run as its user would and timed from outside, by what it writes down itself.

The recording's journal says when each frame was captured and when its result was written; it is held open, so that it
can be read to its end after the command has removed it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.show.journal import LAYOUT

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "samples" / "gate.mp4"
PHOTOS = ROOT / "samples" / "enrol"
LOOK_S = 0.01

Look = Callable[[dict[str, int], int], None]


class Line(msgspec.Struct, frozen=True):
    """What is needed of a line of the log."""

    time: datetime
    process: str
    pid: int
    event: str


@dataclass(frozen=True)
class Run:
    """One run of the command. Times are ns of the monotonic clock."""

    began: int
    ended: int
    frames: NDArray[np.void]  # (N,) of the journal's LAYOUT
    started: dict[str, int]  # process -> when its interpreter had loaded the engine
    cpu_s: float  # of all its processes

    @property
    def rate(self) -> float:
        """Frames a second from the first capture to the last result: not the start of processes, not the closing."""
        return len(self.frames) * 1e9 / float(self.frames["done_ns"][-1] - self.frames["captured_ns"][0])

    @property
    def whole_rate(self) -> float:
        """Frames a second from the command to its end."""
        return len(self.frames) * 1e9 / (self.ended - self.began)

    def after(self, moment: int) -> float:
        """Seconds from the command to `moment`."""
        return (int(moment) - self.began) / 1e9


@contextmanager
def enrolled() -> Iterator[dict[str, str]]:
    """An environment for the command in which the sample's people are enrolled, and a gallery of nobody else's."""
    with TemporaryDirectory() as home, TemporaryDirectory() as keys:
        environment = os.environ | {"FRAMEWIRE_HOME": home, "FRAMEWIRE_KEYS": keys}
        for photo in sorted(PHOTOS.iterdir()):
            command = [sys.executable, "run_pipeline.py", "enroll", photo.stem, str(photo)]
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        yield environment


def run(arguments: list[str], environment: dict[str, str], clip: Path = CLIP, look: Look = lambda *_: None) -> Run:
    """Run the command on `clip`; `look` is called again and again with the pids by process and the frames done."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        command = [sys.executable, "run_pipeline.py", "run", "--source", str(clip), "--out", folder, "--json"]
        began = time.monotonic_ns()
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        journal, usage = _follow(process, out, clip.stem, look)
        ended = time.monotonic_ns()
        frames = np.frombuffer(os.pread(journal, os.fstat(journal).st_size, 0), LAYOUT)
        os.close(journal)
        return Run(began, ended, frames, {line.process: _monotonic(line.time) for line in _starts(out)}, usage)


def _follow(process: subprocess.Popen[bytes], out: Path, source: str, look: Look) -> tuple[int, float]:
    """Wait for the end; returns the journal's descriptor and the CPU seconds of the command's processes."""
    journal = -1
    pids = {"supervisor": process.pid}
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        time.sleep(LOOK_S)
        if journal < 0:
            found = next(out.glob(f"recording-*.part/{source}.journal"), None)
            journal = os.open(found, os.O_RDONLY) if found else -1
            pids |= {line.process: line.pid for line in _starts(out)} if found else {}
        else:
            look(pids, os.fstat(journal).st_size // LAYOUT.itemsize)
    if process.returncode or journal < 0:
        raise SystemExit(f"the command ended with {process.returncode} and {'no' if journal < 0 else 'some'} results")
    return journal, usage.ru_utime + usage.ru_stime


def _starts(out: Path) -> list[Line]:
    """The log's lines that say that a process has started."""
    lines = msgspec.json.Decoder(Line).decode_lines((out / "framewire.log").read_bytes())
    return [line for line in lines if line.event == "started"]


def _monotonic(stamp: datetime) -> int:
    """A time of the log, on this machine's monotonic clock."""
    return round(stamp.timestamp() * 1e9) - time.time_ns() + time.monotonic_ns()
