"""The commit log of a recording: what is written of a frame counts once its entry is here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Entry(NamedTuple):
    """One frame that is recorded."""

    seq: int
    pts_ns: int  # the stream's own time
    ticks: int  # when the video shows it, 1/90000 s
    captured_ns: int  # this host's monotonic clock
    done_ns: int  # the same clock, when its line was made
    video_end: int  # bytes of the video up to and with this frame
    lines_end: int  # bytes of the lines, likewise
    width: int  # of the video, pixels
    height: int
    key: int  # 1 where the picture needs no other to be decoded


LAYOUT = np.dtype([(field, "<i8") for field in Entry._fields])


class Journal:
    """A file of fixed-size entries; one that a kill has cut short is dropped on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._count = os.fstat(self._fd).st_size // LAYOUT.itemsize
        os.ftruncate(self._fd, self._count * LAYOUT.itemsize)
        self.last = Entry(*self.table()[-1].tolist()) if self._count else None

    def add(self, entry: Entry) -> None:
        """Commit a frame."""
        append(self._fd, np.array(tuple(entry), LAYOUT).tobytes(), self._count * LAYOUT.itemsize)
        self._count += 1
        self.last = entry

    def table(self) -> NDArray[np.void]:
        """All entries as a structured array, mapped rather than read."""
        return np.memmap(self.path, LAYOUT, "r", shape=self._count) if self._count else np.empty(0, LAYOUT)

    def __iter__(self) -> Iterator[Entry]:
        table = self.table()
        for start in range(0, self._count, 4096):
            for row in table[start : start + 4096].tolist():
                yield Entry(*row)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def append(fd: int, data: bytes, at: int) -> int:
    """Write all of `data` at offset `at` and return where it ends; raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
    return at
