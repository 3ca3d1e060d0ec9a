"""Which running processes hold the gallery in memory, and how new what they hold is.

Each keeps a file in HOME/readers locked with flock(2), which the kernel lets go of with the process, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import Failed

POLL_S = 0.05
WORD = 8  # bytes: the generation, big-endian, then letters that say who it is


class Reader:
    """This process's file. It needs no writing to the gallery itself. Raises Failed."""

    def __init__(self, home: Path, who: str) -> None:
        self._path = home / "readers" / f"{os.getpid()}-{secrets.token_hex(4)}"
        with self._told():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _locked(self._path)
        try:
            self._write(bytes(WORD) + f"{who} (process {os.getpid()})".encode())
        except Failed:
            self.close()
            raise

    def hold(self, generation: int) -> None:
        """Say that this process now holds the gallery of that generation. Raises Failed."""
        self._write(generation.to_bytes(WORD, "big"))

    def close(self) -> None:
        """Hold nothing any more."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _write(self, content: bytes) -> None:
        with self._told():
            if os.pwrite(self._file, content, 0) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(
                f"cannot write {self._path.parent}, where `forget` looks whom it has to wait for: {error.strerror}; "
                "see that there is room and that it can be written"
            ) from error


def _locked(path: Path) -> int:
    """A descriptor of the file at `path`, which is made, with its lock; made again where who looks was faster."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(path, file):
            return file
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    """Whether a descriptor is of the file at `path`: between opening and locking it may have been removed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False


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
            if _is_at(path, file):
                path.unlink()
        finally:
            os.close(file)
    return late
