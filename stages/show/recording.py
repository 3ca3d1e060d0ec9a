"""One source's files in the making: pictures, lines, and the journal that makes them count."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.errors import Usage
from pipeline.files import sync
from pipeline.types import Drawn
from stages.show.journal import Entry, Journal, append
from stages.show.results import Result
from stages.show.video import TICKS, Encoder, Packet, video_size, write_mp4

SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
LONGEST_GAP = 3600 * TICKS


class Recording:
    """One source's files in the making."""

    def __init__(self, folder: Path, source: str, threads: int) -> None:
        if not SAFE_NAME.fullmatch(source):
            raise Usage(f"the source name {source!r} cannot name a file: give it letters, digits, _ and - only")
        self.source = source
        self.video, self.lines, self.mp4 = (folder / f"{source}.{kind}" for kind in ("h264", "jsonl", "mp4"))
        self._video_fd, self._lines_fd = _open(self.video), _open(self.lines)
        self.journal = Journal(folder / f"{source}.journal")
        self._threads = threads
        self._encoder: Encoder | None = None
        self._cut()

    def add(self, drawn: Drawn) -> None:
        """Write a frame: picture, line, and last the entry that makes them count. A frame that is here is skipped."""
        frame, last = drawn.frame, self.journal.last
        if last and frame.seq <= last.seq:
            return
        if self._encoder is None:
            size = (last.width, last.height) if last else video_size(drawn.picture)
            self._encoder = Encoder(size, self._threads)
        width, height = self._encoder.size
        packet = self._encoder(drawn.picture, _next_ticks(last, frame.pts_ns))
        video_end = append(self._video_fd, packet.data, last.video_end if last else 0)
        now = time.monotonic_ns()
        line = msgspec.json.encode(Result.of(drawn.matches, now)) + b"\n"
        lines_end = append(self._lines_fd, line, last.lines_end if last else 0)
        key = int(packet.key)
        times = (frame.pts_ns, packet.ticks, frame.captured_ns, now)
        self.journal.add(Entry(frame.seq, *times, video_end, lines_end, width, height, key))

    def finish(self) -> None:
        """Make the MP4 beside its parts, and sync what will stay."""
        self._cut()
        os.fsync(self._lines_fd)
        if self.journal.last:
            write_mp4(self.video, self._packets(), self.mp4)
            sync(self.mp4)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._video_fd)
        os.close(self._lines_fd)
        self.journal.close()

    def _cut(self) -> None:
        """Drop what lies behind the last entry: its frame will come again."""
        last = self.journal.last
        os.ftruncate(self._video_fd, last.video_end if last else 0)
        os.ftruncate(self._lines_fd, last.lines_end if last else 0)

    def _packets(self) -> Iterator[Packet]:
        start = 0
        with self.video.open("rb") as file:
            for entry in self.journal:
                yield Packet(file.read(entry.video_end - start), entry.ticks, bool(entry.key))
                start = entry.video_end


def _next_ticks(last: Entry | None, pts_ns: int) -> int:
    """When the video shows a frame: as long after the last one as the stream says, from 0.

    A stream whose clock goes back, stands still, or leaps (a camera that was away) goes on a 25th of a second later.
    """
    if last is None:
        return 0
    step = _ticks(pts_ns) - _ticks(last.pts_ns)
    return last.ticks + (step if 0 < step <= LONGEST_GAP else TICKS // 25)


def _ticks(ns: int) -> int:
    return (ns * TICKS + 500_000_000) // 1_000_000_000


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
