"""A door that is not there, to try the gate with; and a file of heads, to keep them elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pipeline.errors import Usage
from pipeline.home import home
from stages.act.output import OutputConfig, OutputFailed, SomePath
from stages.events.records import Command, Head, Notice


class SimulatedConfig(OutputConfig, frozen=True, tag="simulated"):
    """A door of this name that only a page shows."""


class Simulated:
    """Moves nothing."""

    def __init__(self, config: SimulatedConfig) -> None:
        """There is nothing to set."""

    def open(self, command: Command) -> None:
        """That it was opened is written for every door alike: doors.py."""

    def tell(self, notice: Notice) -> None:
        """There is nobody to tell."""

    def witness(self, head: Head) -> None:
        """There is nowhere else to keep it."""

    def close(self) -> None:
        """There is nothing to let go of."""


class FileConfig(OutputConfig, frozen=True, tag="file"):
    """The heads of the chain, a JSON object a line: best on another machine's disk, for `gate audit --heads`."""

    path: SomePath


class HeadsFile:
    """Appends heads: no name, no time, nothing about anybody."""

    def __init__(self, config: FileConfig) -> None:
        """Raises Usage: whoever can change the log could change its heads as well."""
        self._path = Path(config.path)
        if self._path.resolve().is_relative_to(home().resolve()):
            raise Usage(
                f"the heads ({config.path}) may not lie inside of the data they vouch for ({home()}): "
                f"set another path for the output {config.name!r}, best on another machine"
            )

    def open(self, command: Command) -> None:
        """A file opens no door."""
        raise OutputFailed("a file opens no door")

    def tell(self, notice: Notice) -> None:
        """Append the decision's head."""
        self.witness(notice.head)

    def witness(self, head: Head) -> None:
        """Append a head, once; a line that a crash has cut short is taken back first."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(file).st_size
                tail = os.pread(file, 4096, max(0, size - 4096))
                size -= len(tail) - tail.rfind(b"\n") - 1
                line = msgspec.json.encode(head) + b"\n"
                if not tail[: tail.rfind(b"\n") + 1].endswith(line):
                    os.ftruncate(file, size)
                    os.pwrite(file, line, size)
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise OutputFailed(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """It is open only while it is written."""
