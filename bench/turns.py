"""Programs that take turns, a second each, so that all of them see the same machine: a shared one's speed drifts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

import msgspec

from bench.command import ROOT

Said = TypeVar("Said")


class Program(Generic[Said]):
    """A bench's program that does one piece of its work each time it is told to. Use as a context."""

    def __init__(self, module: str, kind: type[Said], environment: dict[str, str], clip: str, *arguments: str) -> None:
        self._out = TemporaryDirectory()
        self._kind = kind
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, clip, self._out.name, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Program[Said]:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._out.cleanup()

    def advance(self) -> Said | None:
        """Let it do its next piece; returns what it says of it, None where there was none left."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line and self._process.wait():
            raise SystemExit(f"{self._process.args!r} failed")
        return msgspec.json.decode(line, type=self._kind) if line else None


def say_in_turn(pieces: Iterator[msgspec.Struct]) -> None:
    """The program's side: for each line on standard input, do a piece and print what it gave."""
    for _ in sys.stdin.buffer:
        piece = next(pieces, None)
        if piece is None:
            return
        sys.stdout.buffer.write(msgspec.json.encode(piece) + b"\n")
        sys.stdout.buffer.flush()
