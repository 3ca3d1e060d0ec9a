"""The command `doctor`: what this machine has, what is wrong with it and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from pipeline import home, limits, machine, trials
from pipeline.finding import Finding

STYLES = {"ok": "green", "note": "yellow", "broken": "bold red"}


def examine(state: Path, keys: Path) -> Iterator[Finding]:
    """Look at everything, one finding after the other; trying the providers takes seconds."""
    yield machine.system()
    yield machine.processor(limits.PROC, limits.GROUPS)
    yield machine.memory(limits.PROC, limits.GROUPS)
    yield machine.shared_memory()
    yield machine.open_files()
    yield from machine.places(state, keys)
    yield machine.system_libraries()
    yield trials.packages()
    yield from trials.models()
    yield machine.gpu()
    yield from trials.providers()
    yield from trials.codecs()
    yield from machine.cameras(Path("/dev"), Path("/sys/class/video4linux"))


AsJson = Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")]


def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: what works, what does not, and what to do about it.

    Providers, codecs and the shared memory are really tried. The exit code is 1 where something is broken that the main
    job needs.

    [bold]Example[/bold]: python run_pipeline.py doctor
    """
    console = Console(stderr=as_json)
    with console.status("trying out this machine"):
        findings = list(examine(home.home(), home.keys()))
    if as_json:
        typer.echo(msgspec.json.encode(findings))
    else:
        console.print(_table(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table("", "", Column("found", overflow="fold"), Column("what to do", overflow="fold"), box=None)
    for finding in findings:
        state = Text(finding.state, STYLES[finding.state])
        table.add_row(finding.what, state, Text(finding.found), Text(finding.advice))
    return table
