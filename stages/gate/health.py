"""How the gate is, in a file that a page, a watchdog or a test may look at: HOME/health.json, four times a second."""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path

import msgspec

from pipeline.errors import Failed
from pipeline.files import replace_file
from pipeline.types import Frame

NAME = "health.json"
LATE_NS = 10_000_000_000  # all frames of a camera were too late to open anything for so long: time to say so

log = logging.getLogger(__name__)


class CameraHealth(msgspec.Struct, frozen=True):
    """The newest frame of a camera that has come through to the gate."""

    seq: int
    captured_ns: int  # this host's monotonic clock
    age_ms: float  # then, from capture to the gate


class Health(msgspec.Struct, frozen=True):
    """What can be said of the gate."""

    at_ns: int  # wall clock
    process: int
    cameras: dict[str, CameraHealth]
    open_passages: int
    objection: str  # why only simulated doors open; "" where others may


class Pulse:
    """Writes it."""

    def __init__(self, home: Path, deadline_ms: float) -> None:
        """A frame that is older than `deadline_ms` opens nothing."""
        self._path, self._deadline_ms = home / NAME, deadline_ms
        self._late_ns: dict[str, float] = {}  # monotonic, since when a camera's frames are; inf once that was told
        self._cameras: dict[str, CameraHealth] = {}

    def see(self, frame: Frame) -> None:
        """A frame has come through."""
        now = time.monotonic_ns()
        age_ms = (now - frame.captured_ns) / 1e6
        if age_ms <= self._deadline_ms:
            self._late_ns.pop(frame.source, None)
        elif now - self._late_ns.setdefault(frame.source, now) >= LATE_NS:
            self._late_ns[frame.source] = math.inf
            log.warning("%s: its pictures are %.1f s old, so nobody is let in", frame.source, age_ms / 1e3)
        self._cameras[frame.source] = CameraHealth(frame.seq, frame.captured_ns, round(age_ms, 1))

    def beat(self, open_passages: int, objection: str) -> None:
        """Replace the file. Raises Failed."""
        now = Health(time.time_ns(), os.getpid(), self._cameras, open_passages, objection)
        try:
            replace_file(self._path, msgspec.json.encode(now), synced=False)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}; the log lies there, too") from error


def health(home: Path) -> Health | None:
    """What was written last; None where no gate has run."""
    path = home / NAME
    return msgspec.json.decode(path.read_bytes(), type=Health) if path.exists() else None
