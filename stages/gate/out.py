"""`gate out`: somebody has left by another way than a door of the gate; passback lets them in again."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.store import Store, checked_name
from stages.gate.clock import wall_ns


def out(name: Annotated[str, typer.Argument(help="Who is not inside any more, or never was.")]) -> None:
    """Say that somebody is out, whatever the doors have seen, so that passback lets them in again.

    [bold]Example[/bold]: python run_pipeline.py gate out "Ada Lovelace"
    """
    name = checked_name(name)
    left(Store(home(), keys()), Ledger(home(), keys()), name)
    Console().print(Text(f"{name} is out, and may come in again"), soft_wrap=True)


def left(store: Store, ledger: Ledger, name: str) -> None:
    """Note that `name` is out. Raises Failed where nobody is called so."""
    person = next((one.id.hex() for one in store.people() if one.name == name), None)
    if person is None:
        raise Failed(f"nobody is enrolled as {name!r}: see who is with `people`")
    with ledger.commit() as commit:
        commit.move(person, False, wall_ns(), None)
