"""How the gate is, in a file that a page, a watchdog or a test may look at: HOME/health.json, four times a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from pipeline.errors import Failed
from pipeline.files import replace_file
from pipeline.types import Frame

NAME = "health.json"


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

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._cameras: dict[str, CameraHealth] = {}

    def see(self, frame: Frame) -> None:
        """A frame has come through."""
        age_ms = (time.monotonic_ns() - frame.captured_ns) / 1e6
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
