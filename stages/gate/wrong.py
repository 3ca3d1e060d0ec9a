"""`gate wrong`: the gate took somebody for another person; that face is to match that person less from now on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipeline import config as toml
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.store import Store
from stages.gate.mistaken import mistaken
from stages.gate.settings import GateSettings


def wrong(
    event: Annotated[int, typer.Argument(help="The number of the decision, as `gate --json` and the log have it.")],
    config: Annotated[Path | None, typer.Option(help="The TOML file that the gate is given.")] = None,
) -> None:
    """Say that a decision was about somebody else than it says; the face in its snapshot is kept as not theirs.

    [bold]Example[/bold]: python run_pipeline.py gate wrong 217
    """
    settings = toml.load(config, GateSettings) if config else GateSettings()
    enrol = Enrol(EnrolConfig(detect=settings.detect, nms=settings.nms, match=settings.match))
    found = mistaken(Ledger(home(), keys()), Store(home(), keys()), enrol, event)
    told = f"this face is not {found.name}'s: its match goes from {found.before:.2f} to {found.after:.2f}"
    Console().print(Text(told), soft_wrap=True)
