"""Keep what was seen: for each source an annotated MP4 and a JSONL of results, and one page that sums them up.

A kill at any moment loses and repeats nothing. While a run lasts, its files lie in the folder recording-RUN.part:
for each source the pictures (NAME.h264), the lines (NAME.jsonl), and a journal (NAME.journal). A frame counts once
its entry in the journal is written, after picture and line; what lies behind the last entry is cut off on resuming. At
the end the pictures are put into an MP4, all is synced and moved to its place, the summary last: it names
the run, so that one can tell that this run is complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.errors import Failed, Usage
from pipeline.files import sync
from pipeline.types import Drawn
from stages.show.recording import Recording
from stages.show.summary import page, survey

SUMMARY = "summary.md"
KINDS = {".h264", ".jsonl", ".journal", ".mp4", ".md"}  # what lies in a folder of recordings
FULL = (errno.ENOSPC, errno.EDQUOT)


class RecordConfig(Config, frozen=True):
    """Where the files go, and whose they are."""

    out: Annotated[str, Meta(pattern=PATH)] = "out"
    # Tells this run from those before. The config is made once a run, so that a restarted process has the same.
    run: Annotated[str, DERIVED] = msgspec.field(default_factory=lambda: secrets.token_hex(8))
    sources: Annotated[tuple[str, ...], DERIVED] = ()  # these have a JSONL even if no frame of theirs comes
    threads: Annotated[int, Meta(ge=1, le=64)] = 1  # of each encoder


class Record:
    """Drawn -> out/NAME.mp4 and out/NAME.jsonl for each source, and out/summary.md."""

    def __init__(self, config: RecordConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.folder = self.out / f"recording-{config.run}.part"
        self.summary = self.out / SUMMARY
        self.recordings: dict[str, Recording] = {}
        self.complete = False
        with _disk(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.out)

    def __call__(self, drawn: Drawn) -> None:
        if self.complete:
            raise RuntimeError("a frame came after the recording was closed")
        with _disk(self.out):
            self._recording(drawn.frame.source).add(drawn)

    def resume(self) -> dict[str, int]:
        """Take up what a killed process of this run left; returns the last seq of each source that is kept for good."""
        with _disk(self.out):
            self.complete = is_complete(self.config)
            if self.complete:
                lasts = {name: _last_seq(self.out / f"{name}.jsonl") for name in self.config.sources}
                return {name: seq for name, seq in lasts.items() if seq >= 0}
            for journal in sorted(self.folder.glob("*.journal")):
                lines = self.folder / f"{journal.stem}.jsonl"
                if not lines.exists():  # it was killed while it moved the finished files to their places
                    os.replace(self.out / lines.name, lines)
                self.recordings[journal.stem] = Recording(self.folder, journal.stem, self.config.threads)
            return {name: last.seq for name, one in self.recordings.items() if (last := one.journal.last)}

    def close(self) -> None:
        """Put all files in their places, each whole and synced; once, at the end."""
        with _disk(self.out):
            if not self.complete:
                self._begin()
                for name in self.config.sources:
                    self._recording(name)
                try:
                    self._publish()
                except OSError as error:
                    self._give_up(error)
            self.complete = True
            for recording in self.recordings.values():
                recording.close()
            self.recordings.clear()
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)

    def _give_up(self, error: OSError) -> None:
        """Raises Failed: what is half written is removed, the pictures and lines are kept."""
        for recording in self.recordings.values():
            recording.mp4.unlink(missing_ok=True)
        reason = "the disk is full" if error.errno in FULL else f"cannot write into {self.out}: {error.strerror}"
        raise Failed(
            f"{reason}; until the next run into {self.out}, the pictures (H.264) and lines lie in {self.folder}"
        ) from error

    def _recording(self, source: str) -> Recording:
        if source not in self.recordings:
            self._begin()
            self.recordings[source] = Recording(self.folder, source, self.config.threads)
        return self.recordings[source]

    def _begin(self) -> None:
        """Make the folder, unless there is something in it; what killed runs have left beside it is removed."""
        if not self.recordings:
            for stale in self.out.glob("recording-*.part"):
                if _is_ours(stale):
                    shutil.rmtree(stale)
            self.folder.mkdir()

    def _publish(self) -> None:
        """Finish all files, then move them; the summary, which makes the run complete, goes last."""
        for recording in self.recordings.values():
            recording.finish()
        surveys = [survey(one.source, one.journal, one.lines) for one in self.recordings.values()]
        written = self.folder / self.summary.name
        written.write_text(page(surveys, self.out, self.config.run), encoding="utf-8")
        sync(written)
        for recording in self.recordings.values():
            if recording.journal.last:
                os.replace(recording.mp4, self.out / recording.mp4.name)
            else:  # an earlier run's video is not of these lines
                (self.out / recording.mp4.name).unlink(missing_ok=True)
            os.replace(recording.lines, self.out / recording.lines.name)
        os.replace(written, self.summary)
        sync(self.out)


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of recordings in the making, and of nothing else."""
    return folder.is_dir() and all(path.suffix in KINDS for path in folder.iterdir())


def is_complete(config: RecordConfig) -> bool:
    """Whether the files that are there are this run's: its summary, which comes last, is."""
    summary = Path(config.out) / SUMMARY
    found = summary.read_text(encoding="utf-8") if summary.exists() else ""
    return found.splitlines()[-1:] == [f"run {config.run}"]


def _last_seq(lines: Path) -> int:
    """The seq in the last line; -1 where there is none."""
    last = -1
    if lines.exists():
        with lines.open("rb") as file:
            for line in file:
                last = msgspec.json.decode(line)["seq"]
    return last


def _lock(folder: Path) -> int:
    """A descriptor that keeps other runs out of `folder` while it is open."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Usage(f"another run records into {folder}: wait for it, or choose another folder with --out") from error
    return fd


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """What the disk refuses is a sentence for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Failed(f"the disk is full: free some space for {out}, or choose another folder with --out") from error
        raise Failed(f"cannot write into {out}: {error.strerror}; choose another folder with --out") from error
