"""The commands `enroll`, `people` and `forget`."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import Failed, Usage
from pipeline.home import home
from stages.capture import from_environment
from stages.enrolment.forgetting import forgotten
from stages.enrolment.rules import watched
from stages.enrolment.settings import ConfigFile, settings_of, store_of
from stages.gallery.camera import Sitting
from stages.gallery.enrol import Enrol
from stages.gallery.store import Person, Store, checked_name
from stages.gate.calibration import warning

Name = Annotated[str, typer.Argument(help="Whom the photos show, as it shall stand in the picture.")]
CAMERA_HELP = "In place of photos: camera index, rtsp/http address, or a file. [default: $FRAMEWIRE_SOURCE]"
DIGITS = 12  # of a model's identity, as the table shows it


def enroll(
    name: Name,
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos that show this person's face and no other.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help=CAMERA_HELP)] = None,
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it looks like somebody else, or not like the other photos.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Onto the watch list: a gate raises an alarm.")] = False,
) -> None:
    """Make a person known, by one photo or more or in front of a camera; the same name again adds photos.

    A camera says what to do, one line at a time, and takes three pictures: of the face straight, and turned a little to
    both sides. Ctrl-C, or a minute without them, ends it, and nobody is enrolled.

    What is kept are templates and the faces cut out of the photos, encrypted. A pipeline that is running knows the
    person within a second; a gate whose config names no groups lets them in from then on, unless `gallery access` says
    otherwise.

    [bold]Example[/bold]: python run_pipeline.py enroll "Ada Lovelace" ada-1.jpg ada-2.jpg
    """
    name, address = checked_name(name), _camera(photos, camera)
    settings = settings_of(config)
    enrol = Enrol(settings)
    embeddings, portraits = Sitting(enrol, Console())(address, settings.capture) if address else enrol(photos or [])
    store = store_of(settings)
    called = [str(photo) for photo in photos or []] or [f"picture {number + 1}" for number in range(len(embeddings))]
    faces = dict(zip(called, embeddings, strict=True))
    known = store.people()
    if not force and (doubt := enrol.doubt(known, name, faces)):
        raise Failed(f"{doubt} --force takes it anyway")
    count = store.add(name, enrol.identity, embeddings, portraits, watched(known, name) if watch else None)
    Console().print(Text(f"{name} is enrolled with {count} photo{'s' if count > 1 else ''}"), soft_wrap=True)
    warn(store)


def _camera(photos: list[Path] | None, camera: str | None) -> str | None:
    """Where to look for who is to be enrolled; None for their photos. Raises Usage."""
    if photos:
        if camera is not None:
            raise Usage("photos and --camera exclude each other: give one of them")
        return None
    addresses = [camera] if camera is not None else from_environment()
    if len(addresses) != 1:
        raise Usage("give photos, or one camera with --camera or in $FRAMEWIRE_SOURCE")
    return addresses[0]


def people(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    config: ConfigFile = None,
) -> None:
    """List who is enrolled: how many photos, for which model, since when.

    [bold]Example[/bold]: python run_pipeline.py people --json
    """
    store = store_of(settings_of(config))
    rows = [row for person in store.people() for row in _rows(person)]
    if store.unread:
        Console(stderr=True).print(store.unread, soft_wrap=True)
    if as_json:
        typer.echo(msgspec.json.encode(rows))
        return
    table = Table("name", "photos", "model", "enrolled at", box=None)
    for row in rows:
        when = row.enrolled_at.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(Text(row.name), str(row.photos), row.model[:DIGITS], when)
    Console().print(table if rows else "nobody is enrolled: run enroll NAME PHOTO...")


def forget(name: Annotated[str, typer.Argument(help="Whom to forget.")], config: ConfigFile = None) -> None:
    """Forget a person: keys are destroyed, templates, portraits and what the gate has noted of them deleted.

    It waits until all running pipelines, on all hosts, have taken the gallery without them, and prints a receipt.

    [bold]Example[/bold]: python run_pipeline.py forget "Ada Lovelace"
    """
    name = checked_name(name)
    store = store_of(settings_of(config))
    lines, undone = forgotten(store, name)
    for line in lines:
        Console().print(Text(line), soft_wrap=True)
    if undone:
        raise typer.Exit(1)


class Row(msgspec.Struct, frozen=True):
    """What `people` tells of a person and one model."""

    name: str
    photos: int
    model: str  # identity of the embedder
    enrolled_at: datetime  # UTC, of the first photo


def _rows(person: Person) -> list[Row]:
    templates = sorted(person.templates, key=lambda template: template.model)
    groups = [(model, list(group)) for model, group in groupby(templates, key=lambda template: template.model)]
    return [Row(person.name, len(group), model, min(t.enrolled_at for t in group)) for model, group in groups]


def warn(store: Store) -> None:
    """Say what enrolling has changed for the gate: more people than its threshold was calibrated for."""
    if text := warning(home(), store.people):
        Console(stderr=True).print(Text(text), soft_wrap=True)
