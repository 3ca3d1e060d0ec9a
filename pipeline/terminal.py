"""The last word of a command line: one sentence, and an exit code, even where nobody listens any more."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

from pipeline.errors import Failed

DEAF = (errno.EPIPE, errno.EIO, errno.ENOSPC)  # of a pipe, a terminal and a file that take no more words


def guarded(app: Callable[[], None]) -> None:
    """Run a command line, which ends in SystemExit; what a user can cause ends in one sentence, with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without some letter still shows the rest
    try:
        try:
            app()
        except SystemExit:
            _flush()  # here, where it is caught that nobody listens
            raise
    except Failed as error:
        _end(str(error), error.code)
    except OSError as error:
        if error.filename is not None:
            _end(f"{error.filename}: {error.strerror}", 1)
        if error.errno == errno.EMFILE:
            _end("too many open files: allow more, for example with ulimit -n 4096", 1)
        if error.errno not in DEAF:
            raise
        _end(f"cannot write what there is to say: {error.strerror}", 1)


def _end(sentence: str, code: int) -> NoReturn:
    with suppress(OSError):  # nobody reads it
        print(f"framewire: {sentence}", file=sys.stderr)  # noqa: T201
    try:
        _flush()
    except OSError:  # Python would try once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


def _flush() -> None:
    if sys.stdout:  # None where it was closed from the start
        sys.stdout.flush()
