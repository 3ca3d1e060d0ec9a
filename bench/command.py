"""The real command, run as its user would and timed from outside, by what it writes down itself.

The recording's journal says when each frame was captured and when its result was written; it is held open, so that it
can be read to its end after the command has removed it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.show.journal import LAYOUT
from stages.show.results import Result

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


class Command:
    """One run of the command, from outside. Use as a context: nothing of it is left behind."""

    def __init__(self, arguments: list[str], environment: dict[str, str], clip: Path = CLIP) -> None:
        self._folder = TemporaryDirectory()
        self._out = Path(self._folder.name)
        self._source = clip.stem
        self._journal = -1
        command = [sys.executable, "run_pipeline.py", "run", "--source", str(clip), "--out", str(self._out), "--json"]
        self.began = time.monotonic_ns()
        self._process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # its processes die with it, stopped ones too
        self._process.wait()
        if self._journal >= 0:
            os.close(self._journal)
        self._folder.cleanup()

    @property
    def done(self) -> int:
        """Frames whose results are written."""
        if self._journal < 0:
            found = next(self._out.glob(f"recording-*.part/{self._source}.journal"), None)
            self._journal = os.open(found, os.O_RDONLY) if found else -1
        return os.fstat(self._journal).st_size // LAYOUT.itemsize if self._journal >= 0 else 0

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the graph, by name, as far as they are up."""
        return {"supervisor": self._process.pid} | {line.process: line.pid for line in self.starts()}

    def running(self) -> bool:
        """Whether it still runs; raises SystemExit where it has failed."""
        status = self._process.poll()
        if status or (status == 0 and self._journal < 0):
            raise SystemExit(f"the command ended with {status} after {self.done} results")
        return status is None

    def frames(self) -> NDArray[np.void]:
        """(N,) of the journal's LAYOUT."""
        size = self.done * LAYOUT.itemsize
        return np.frombuffer(os.pread(self._journal, size, 0), LAYOUT)

    def results(self) -> list[Result]:
        """What is written of each frame; while it is paused, or has ended."""
        lines = next(self._out.rglob(f"{self._source}.jsonl")).read_bytes()  # they move when it ends
        return msgspec.json.Decoder(Result).decode_lines(lines[: int(self.frames()["lines_end"][-1])])

    def starts(self) -> list[Line]:
        """The log's lines that say that a process has started."""
        log = self._out / "framewire.log"
        lines = msgspec.json.Decoder(Line).decode_lines(log.read_bytes()) if log.exists() else []
        return [line for line in lines if line.event == "started"]

    def wait_for(self, frames: int) -> None:
        """Return when so many results are written, or it has ended."""
        while self.done < frames and self.running():
            time.sleep(LOOK_S)

    def pause(self) -> None:
        """Stop all its processes where they are."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids.values():
            with suppress(ProcessLookupError):  # capture ends before the others do
                os.kill(pid, number)


@dataclass(frozen=True)
class Run:
    """What one whole run of the command wrote. Times are ns of the monotonic clock."""

    began: int
    frames: NDArray[np.void]  # (N,) of the journal's LAYOUT
    started: dict[str, int]  # process -> when its interpreter had loaded the engine

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
    with Command(arguments, environment, clip) as command:
        command.wait_for(1)
        pids = command.pids
        while command.running():
            time.sleep(LOOK_S)
            look(pids, command.done)
        started = {line.process: _monotonic(line.time) for line in command.starts()}
        return Run(command.began, command.frames(), started)


def _monotonic(stamp: datetime) -> int:
    """A time of the log, on this machine's monotonic clock."""
    return round(stamp.timestamp() * 1e9) - time.time_ns() + time.monotonic_ns()
