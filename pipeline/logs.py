"""Structured logs: every process appends JSON lines to one file, of which the supervisor begins a new one in time."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path

import msgspec

MOST_BYTES = 10_000_000  # of a file, and what is written until the supervisor looks again
FILES = 5  # with the one that is written

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what was passed as `extra` becomes fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its newline."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": os.getpid(),
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to(path: Path, process: str) -> None:
    """Send this process's log to `path`, appended line by line (O_APPEND keeps the lines of many processes whole).

    Where `path` was renamed, the next line makes a new file.
    """
    handler = WatchedFileHandler(path, mode="a", encoding="utf-8")
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def rotate(path: Path) -> None:
    """Rename a log that is large enough to `path`.1, .1 to .2 and so on; the oldest goes. For one process of a run."""
    with suppress(FileNotFoundError):  # until the first line there is none
        if path.stat().st_size < MOST_BYTES:
            return
        names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, FILES))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
