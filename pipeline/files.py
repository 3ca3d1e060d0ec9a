"""Files that are there whole or not at all: written beside, synced, and renamed."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes, *, synced: bool) -> None:
    """Put `content` into `path`, for its owner alone; what was there before stays until all of it is written.

    `synced` waits for the disk: not worth it for what is written again and again. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as part:
        part.write(content)
        part.flush()
        if synced:
            os.fsync(part.fileno())
    os.replace(beside, path)
    if synced:
        sync(path.parent)
