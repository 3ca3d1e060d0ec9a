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
QUIET_S = 2.0  # a camera that has given no frame for longer is lost: what is known of it is not how it is now
LATE_NS = 10_000_000_000  # all frames of a camera were too late to open anything for so long: time to say so

log = logging.getLogger(__name__)


class CameraHealth(msgspec.Struct, frozen=True):
    """The newest frame of a camera that has come through to the gate."""

    seq: int
    captured_ns: int  # this host's monotonic clock
    age_ms: float  # then, from capture to the gate
    quiet_s: float  # since it came


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
        self._newest: dict[str, tuple[Frame, int]] = {}  # of each camera, and when it came, monotonic

    def see(self, frame: Frame) -> None:
        """A frame has come through."""
        now = time.monotonic_ns()
        age_ms = (now - frame.captured_ns) / 1e6
        if age_ms <= self._deadline_ms:
            self._late_ns.pop(frame.source, None)
        elif now - self._late_ns.setdefault(frame.source, now) >= LATE_NS:
            self._late_ns[frame.source] = math.inf
            log.warning("%s: its pictures are %.1f s old, so nobody is let in", frame.source, age_ms / 1e3)
        self._newest[frame.source] = frame, now

    def beat(self, open_passages: int, objection: str) -> None:
        """Replace the file. Raises Failed."""
        cameras = {name: _camera(frame, came_ns) for name, (frame, came_ns) in self._newest.items()}
        now = Health(time.time_ns(), os.getpid(), cameras, open_passages, objection)
        try:
            replace_file(self._path, msgspec.json.encode(now), synced=False)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}; the log lies there, too") from error


def health(home: Path) -> Health | None:
    """What was written last; None where no gate has run, or a power cut or an update has left what says nothing."""
    try:
        return msgspec.json.decode((home / NAME).read_bytes(), type=Health)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def lost(found: Health) -> set[str]:
    """The cameras that have given frames and do not any more."""
    return {name for name, camera in found.cameras.items() if camera.quiet_s > QUIET_S}


def _camera(frame: Frame, came_ns: int) -> CameraHealth:
    quiet_s = (time.monotonic_ns() - came_ns) / 1e9
    return CameraHealth(frame.seq, frame.captured_ns, round((came_ns - frame.captured_ns) / 1e6, 1), round(quiet_s, 1))
