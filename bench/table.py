"""What every bench reports with: a table on the terminal, and the same as JSON and Markdown in bench/results/."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.limits import cores

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure; with a gate such as ">= 8" or "<= 0.4" (in `unit`) it passes or fails, else it is only reported."""

    name: str
    figure: float
    unit: str
    gate: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the figure is within its gate (a NaN is not); None when there is no gate."""
        if not self.gate:
            return None
        sign, bound = self.gate.split()
        return {">=": self.figure >= float(bound), "<=": self.figure <= float(bound)}[sign]

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The row as text."""
        figure = f"{self.figure:.3g}" if abs(self.figure) < 1000 else f"{self.figure:.0f}"
        return self.name, figure, self.unit, self.gate, {None: "", True: "pass", False: "FAIL"}[self.passed]


def report(name: str, rows: Sequence[Row], *, versions: Sequence[str] = (), notes: Sequence[str] = ()) -> int:
    """Print the rows of `python -m bench.NAME`, write bench/results/NAME.json and .md, return the exit code.

    `versions` are the distributions whose versions matter; `notes` say what was measured, one sentence each. The code
    is 1 when a gate failed, else 0.
    """
    about = _about(name, versions)
    columns = ("what", "figure", "unit", "gate", "")
    table = Table(*columns, title=f"bench.{name}")
    for row in rows:
        style = {None: "", True: "green", False: "bold red"}[row.passed]
        table.add_row(*row.cells, style=style)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)

    figures = [{"name": r.name, "figure": r.figure, "unit": r.unit, "gate": r.gate, "passed": r.passed} for r in rows]
    text = [f"# bench.{name}", ""]
    text += ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *(r.cells for r in rows))]
    text += ["", *(f"- {note}" for note in notes), *(f"- {key}: {value}" for key, value in about.items()), ""]
    RESULTS.mkdir(exist_ok=True)
    _write(RESULTS / f"{name}.json", json.dumps({**about, "rows": figures, "notes": list(notes)}, indent=2) + "\n")
    _write(RESULTS / f"{name}.md", "\n".join(text))
    return int(any(row.passed is False for row in rows))


def _about(name: str, versions: Sequence[str]) -> dict[str, Any]:
    """What a reader needs to run it again: command, machine, versions."""
    software = {"Python": platform.python_version()} | {each: version(each) for each in versions}
    return {
        "command": " ".join(["python", "-m", f"bench.{name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": cores(),
        "load at the end": round(os.getloadavg()[0], 1),
        "versions": ", ".join(f"{key} {value}" for key, value in software.items()),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
