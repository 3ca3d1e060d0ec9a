"""`gate wrong`: the gate took somebody for another person; that face is to match that person less from now on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from pipeline import config as toml
from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.index import Gallery
from stages.gallery.store import Store
from stages.gate.settings import GateSettings


def wrong(
    event: Annotated[int, typer.Argument(help="The number of the decision, as `gate --json` and the log have it.")],
    config: Annotated[Path | None, typer.Option(help="The TOML file that the gate is given.")] = None,
) -> None:
    """Say that a decision was about somebody else than it says; the face in its snapshot is kept as not theirs.

    [bold]Example[/bold]: python run_pipeline.py gate wrong 217
    """
    ledger = Ledger(home(), keys())
    found = ledger.events(before=event + 1, limit=1)
    decision = found[0].decision if found and found[0].seq == event else None
    if decision is None or not decision.person:
        raise Failed(f"event {event} is no decision about somebody who is enrolled: see which is with gate --json")
    snapshot = ledger.snapshot(event)
    if snapshot is None:
        raise Failed(f"event {event} has no snapshot any more: nothing can be learned from it")
    settings = toml.load(config, GateSettings) if config else GateSettings()
    enrol, store = (
        Enrol(EnrolConfig(detect=settings.detect, nms=settings.nms, match=settings.match)),
        Store(home(), keys()),
    )
    pixels = np.asarray(cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    faces, people = enrol.faces(pixels), store.people()
    before = Gallery(people, enrol.identity).similarity(decision.person, faces)
    name = next((person.name for person in people if person.id.hex() == decision.person), "")
    if not len(faces) or not name:
        raise Failed(f"the face of event {event} cannot be found again, or the person is not enrolled any more")
    face = faces[int(before.argmax())]
    store.add_negative(name, enrol.identity, face)
    after = Gallery(store.people(), enrol.identity).similarity(decision.person, face[None])[0]
    told = f"this face is not {name}'s: its match goes from {before.max():.2f} to {after:.2f}"
    Console().print(Text(told), soft_wrap=True)
