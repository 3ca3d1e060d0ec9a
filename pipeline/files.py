"""Files that are there whole or not at all: written beside, synced, and renamed; or removed so that nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK = 1 << 20
PRIVATE = 0o600
OUTPUT = 0o666  # less the umask, as any program's output


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes, *, synced: bool, mode: int = PRIVATE) -> None:
    """Put `content` into `path`, for its owner alone; what was there before stays until all of it is written.

    `synced` waits for the disk: not worth it for what is written again and again. Others may read it, too, where
    `mode` says so. Nothing of it is left if it raises. Raises OSError.
    """
    path.parent.mkdir(mode=mode | (mode & 0o444) >> 2, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(file, "wb") as part:
            part.write(content)
            part.flush()
            if synced:
                os.fsync(part.fileno())
        os.replace(beside, path)
    except BaseException:  # also what the handler of a signal raises
        beside.unlink(missing_ok=True)
        raise
    if synced:
        sync(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to: what is there when the block ends becomes `path`, synced; nothing of it is left if it raises.

    What was in `path` before stays until then. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        yield beside
        sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def shred(path: Path) -> None:
    """Remove a file, zeros in its place first: what is only unlinked stays in free blocks. Raises OSError.

    An SSD, or a file system that copies on write, may keep what was there all the same.
    """
    with suppress(FileNotFoundError):  # somebody else was faster
        with path.open("r+b", buffering=0) as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0:
                left -= file.write(bytes(min(left, CHUNK)))
            os.fsync(file.fileno())
        path.unlink()
