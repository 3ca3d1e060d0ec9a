"""`gate clip`: the moving pictures of a decision as a file, for who has to show them to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import Failed, Usage
from pipeline.files import replace_file
from pipeline.home import home, keys
from stages.events import clips
from stages.events.ledger import Ledger


def clip(
    event: Annotated[int, typer.Argument(help="The number of the decision, as `gate --json` and the log have it.")],
    out: Annotated[Path, typer.Option(help="The MP4 to write. It is not encrypted: keep it safe.")],
) -> None:
    """Write the clip of a decision as an MP4.

    [bold]Example[/bold]: python run_pipeline.py gate clip 217 --out 217.mp4
    """
    if out.exists():
        raise Usage(f"{out} is there already: give the name of a new file")
    ledger = Ledger(home(), keys())
    found = clips.get(ledger, event)
    ledger.close()
    if found is None:
        raise Failed(f"event {event} has no clip, or none any more: gate --json says which have one")
    try:
        replace_file(out, found.mp4, synced=True)
    except OSError as error:
        raise Failed(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"{out}: {len(found.mp4) / 1e6:.1f} MB, not encrypted")
