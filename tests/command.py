"""The command line as a user has it: a process of its own, a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GATE = ROOT / "samples" / "gate.mp4"


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence of a command that failed; there must be nothing else."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("framewire: "), self.err
        return lines[0].removeprefix("framewire: ")


class User:
    """Somebody with a home, who types commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrapper: list[str] = []  # a command that the commands are started by
        self.environment = os.environ | {
            "FRAMEWIRE_HOME": str(folder / "home"),
            "FRAMEWIRE_KEYS": str(folder / "keys"),
            "COLUMNS": "200",
        }

    def __call__(self, *words: str | Path, timeout: float = 110) -> Done:
        """Type a command and wait for its end."""
        done = subprocess.run(
            [*self.wrapper, sys.executable, ROOT / "run_pipeline.py", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Type a command, and go on while it runs."""
        return subprocess.Popen(
            [sys.executable, ROOT / "run_pipeline.py", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The results of a source."""
        return read_rows(self.folder / "out" / f"{name}.jsonl")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file that may be being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def named(rows: list[dict[str, Any]], name: str) -> list[int]:
    """The frames in which somebody goes by that name."""
    return [row["seq"] for row in rows if name in row["names"]]


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
