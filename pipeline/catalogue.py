"""The commands `models list`, `models verify` and `models pull`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pipeline.errors import Failed
from pipeline.pull import pull
from pipeline.registry import Entry, list_models, verify

app = typer.Typer(
    help="The networks: which ship, which can be had, and whether the files are what they should be.\n\n"
    "[bold]Example[/bold]: python run_pipeline.py models list"
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")]
STYLES = {"shipped": "green", "pulled": "green", "upstream": "dim"}


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every model that is here or can be pulled.

    [bold]Example[/bold]: python run_pipeline.py models list
    """
    entries = list_models()
    if as_json:
        typer.echo(msgspec.json.encode([_row(entry) for entry in entries]))
        return
    table = Table("name", "", "task", "layout", "size", "licence", box=None)
    for entry in entries:
        card, where = entry.card, f"[{STYLES[entry.where]}]{entry.where}[/]"
        size = f"{card.bytes / 1e6:.1f} MB"
        table.add_row(card.name, where, card.task, card.layout, size, card.licence)
    Console().print(table)


@app.command("verify")
def verify_() -> None:
    """Compare the files on this machine with the sha256 on record; the exit code is 1 where one differs.

    [bold]Example[/bold]: python run_pipeline.py models verify
    """
    verdicts = verify()
    for verdict in verdicts:
        typer.echo(f"{verdict.state:8}{verdict.entry.card.name:16}{verdict.entry.card.sha256}  {verdict.entry.path}")
    wrong = [verdict.entry for verdict in verdicts if verdict.state != "ok"]
    if wrong:
        again = "pull it again" if wrong[0].where == "pulled" else "install framewire again"
        raise Failed(f"the file of {', '.join(entry.card.name for entry in wrong)} is not the one on record: {again}")


@app.command("pull")
def pull_(
    name: Annotated[str, typer.Argument(help="A name from `models list`.")],
    mirror: Annotated[str | None, typer.Option(help="A folder or http(s) address that holds the files.")] = None,
) -> None:
    """Get a model from where its makers published it, or from a mirror; a file with another sha256 is not kept.

    [bold]Example[/bold]: python run_pipeline.py models pull yunet --mirror /media/stick/models
    """
    typer.echo(pull(name, mirror=mirror))


def _row(entry: Entry) -> dict[str, object]:
    return {"where": entry.where, "path": str(entry.path), **msgspec.to_builtins(entry.card)}
