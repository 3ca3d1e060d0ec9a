"""The run directory: where a run's sockets lie. Locked while its supervisor lives; a later run sweeps unlocked ones."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline.errors import Failed

LONGEST = 60  # letters of the parent: a Unix socket's path has at most 107


class RunDirectory:
    """A fresh directory that only this user may enter, with a path short enough for a Unix socket's address."""

    def __init__(self) -> None:
        self._base = _base()
        with _Lock(self._base / "lock"):  # else a sweep could take a directory between its making and its locking
            _sweep(self._base)
            self.path = Path(tempfile.mkdtemp(prefix="", dir=self._base))
            self._lock = _Lock(self.path / "lock")
            self._lock.__enter__()

    def remove(self) -> None:
        """Leave nothing behind."""
        with _Lock(self._base / "lock"):  # else a sweep could look for a lock that is just being removed
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.__exit__()


class _Lock:
    """flock(2) on a file: gone with the process that holds it, however that dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> _Lock:
        self._take(fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def free(self) -> bool:
        """Whether nobody holds it."""
        try:
            self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(self._fd)
        return True

    def _take(self, how: int) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, how)


def _base() -> Path:
    wishes = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()]
    parent = next((wish for wish in wishes if wish and len(wish) < LONGEST and os.access(wish, os.W_OK)), "/tmp")
    base = Path(parent) / f"framewire-{os.getuid()}"
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Failed(f"{base} is not a directory that is yours alone: remove it, and run this again")
    return base


def _sweep(base: Path) -> None:
    for directory in base.iterdir():
        if directory.is_dir() and _Lock(directory / "lock").free():
            shutil.rmtree(directory, ignore_errors=True)
