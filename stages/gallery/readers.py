"""Which running processes hold the gallery in memory, and how new what they hold is.

Each keeps a file in HOME/readers locked with flock(2), which the kernel lets go of with the process, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path

from pipeline.errors import Failed

POLL_S = 0.05
WORD = 8  # bytes: the generation, big-endian, then letters that say who it is


class Reader:
    """This process's file. It needs no writing to the gallery itself. Raises Failed."""

    def __init__(self, home: Path, who: str) -> None:
        self._path = home / "readers" / f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failed(
                f"cannot write {self._path.parent}: {error.strerror}: forget waits for what is noted there"
            ) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.pwrite(self._file, f"{who} (process {os.getpid()})".encode(), WORD)
        self.hold(0)

    def hold(self, generation: int) -> None:
        """Say that this process now holds the gallery of that generation."""
        os.pwrite(self._file, generation.to_bytes(WORD, "big"), 0)

    def close(self) -> None:
        """Hold nothing any more."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def wait_for(home: Path, generation: int, seconds: float) -> list[str]:
    """Wait until all running processes hold the gallery of `generation` or a newer one; who does not in time."""
    ends = time.monotonic() + seconds
    while (late := _behind(home, generation)) and time.monotonic() < ends:
        time.sleep(POLL_S)
    return late


def _behind(home: Path, generation: int) -> list[str]:
    late = []
    for path in sorted((home / "readers").glob("*")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process lives
            content = os.pread(file, 4096, 0)
            if int.from_bytes(content[:WORD], "big") < generation:
                late.append(content[WORD:].decode(errors="replace"))
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(file)
    return late
