"""The commands below `gallery`: many people at once, rules, one person's data out and in, another model, a new key."""

from __future__ import annotations

import csv
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.text import Text

from pipeline.errors import Failed, Usage
from pipeline.files import replace_file, sync
from pipeline.home import home, keys
from stages.enrolment.commands import warn
from stages.enrolment.portable import Exported, exported, taken_in
from stages.enrolment.rules import check_dates
from stages.enrolment.settings import ConfigFile, settings_of, store_of
from stages.gallery.enrol import Enrol
from stages.gallery.keyfile import Keys
from stages.gallery.master import Master, make_master, master_path
from stages.gallery.people import Access, Person, Template
from stages.gallery.store import Store, checked_name
from stages.sources.images import is_image

NEVER = 1 << 62  # a generation that no running process can have

app = typer.Typer(help="Many people at once, rules, export and import, another model, a new master key.")
Name = Annotated[str, typer.Argument(help="Who.")]


@app.command("enroll-all")
def enroll_all(
    source: Annotated[Path, typer.Argument(help="A folder of folders, NAME/photo.jpg; or a CSV with name,photo.")],
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even what looks like somebody else, or not like the other photos.")
    ] = False,
) -> None:
    """Enroll many people; says of each photo that could not be used why, and ends with exit code 1 if there was one.

    Photos that are enrolled already are passed over: it may be run again with more.

    [bold]Example[/bold]: python run_pipeline.py gallery enroll-all staff/
    """
    people = _folders(source) if source.is_dir() else _listed(source)
    settings = settings_of(config)
    enrol, store = Enrol(settings), store_of(settings)
    known = store.people()
    problems, added, again = [], 0, 0
    for name, photos in track(people.items(), description="people", transient=True):
        taken: dict[str, NDArray[np.float32]] = {}
        if not photos:
            problems.append(f"{name}: there is no photo in the folder")
        for photo in photos:
            try:
                embeddings, portraits = enrol([photo])
            except Failed as error:
                problems.append(f"{name}: {error}")
                continue
            if enrol.has(known, name, embeddings[0]):  # what a run before this has stored
                again += 1
                continue
            faces = {**taken, str(photo): embeddings[0]}
            if not force and (doubt := enrol.doubt(known, name, faces)):
                problems.append(f"{name}: {doubt}")
                continue
            store.add(name, enrol.identity, embeddings, portraits)
            taken = faces
            added += 1
        templates = tuple(Template(enrol.identity, datetime.now(UTC), face) for face in taken.values())
        known.append(Person(b"", name, Access(), templates, ()))  # all of them anew would be read for each
    for problem in problems:
        Console().print(Text(problem), soft_wrap=True)
    Console().print(
        f"photos enrolled: {added}, there already: {again}, not taken: {len(problems)}; people: {len(people)}"
    )
    warn(store)
    raise typer.Exit(1 if problems else 0)


@app.command()
def access(
    name: Name,
    group: Annotated[list[str] | None, typer.Option(help="A group of the gate's config; several times.")] = None,
    window_: Annotated[list[str] | None, typer.Option("--window", help='Like "Mon-Fri 07:00-19:00".')] = None,
    since: Annotated[datetime | None, typer.Option("--from", help="May come in from then on.")] = None,
    until: Annotated[datetime | None, typer.Option(help="May come in until then.")] = None,
    watch: Annotated[bool | None, typer.Option(help="Raise an alarm in place of opening.")] = None,
    badge: Annotated[list[str] | None, typer.Option(help="The number of a badge; several times.")] = None,
    no_badges: Annotated[bool, typer.Option("--no-badges", help="Take all badges away.")] = False,
    config: ConfigFile = None,
) -> None:
    """Say when somebody may come in; what was said before of groups, windows and dates is replaced.

    Badges are replaced by --badge, and who is watched stays so until --no-watch. Dates are those of gate.timezone in
    --config, as at the door; without one, of this machine.

    [bold]Example[/bold]: python run_pipeline.py gallery access "Ada Lovelace" --group staff --until 2027-01-31
    """
    if badge and no_badges:
        raise Usage("--badge and --no-badges exclude each other: give one of them")
    name, settings = checked_name(name), settings_of(config)
    check_dates(since, until)
    store, zone = store_of(settings), settings.gate.zone()
    before = next((person.access for person in store.people() if person.name == name), Access())
    rules = Access(
        groups=tuple(group or ()),
        windows=tuple(window_ or ()),
        valid_from=since.replace(tzinfo=zone).astimezone(UTC) if since else None,
        valid_until=until.replace(tzinfo=zone).astimezone(UTC) if until else None,
        watch=before.watch if watch is None else watch,
        badges=tuple(filter(None, map(store.badge, badge))) if badge else () if no_badges else before.badges,
    )
    store.set_access(name, rules)
    dates = [("from", rules.valid_from), ("until", rules.valid_until)]
    told = [f"{word} {date.astimezone(zone).isoformat(' ', 'minutes')}" for word, date in dates if date]
    Console().print(Text(", ".join([f"{name}: the rules are set", *told])), soft_wrap=True)
    if config and (unknown := [group for group in rules.groups if group not in settings.gate.groups]):
        there = ", ".join(settings.gate.groups) or "none"  # no error: other gates of the gallery have groups of theirs
        words = f"{config} has no group {', '.join(unknown)}: it has {there}, and any other counts at other gates alone"
        Console(stderr=True).print(Text(words), soft_wrap=True)


@app.command("re-embed")
def re_embed(config: ConfigFile = None) -> None:
    """Make templates for the embedder of the config out of the faces that are kept; stopped, it goes on when run again.

    [bold]Example[/bold]: python run_pipeline.py gallery re-embed --config framewire.toml
    """
    settings = settings_of(config)
    enrol, store = Enrol(settings), store_of(settings)
    done, without = 0, []
    for person in track(store.people(), description="people", transient=True):
        if portraits := store.unembedded(person.name, enrol.identity):
            faces = enrol.embed(list(portraits.values()))
            store.re_embed(person.name, enrol.identity, dict(zip(portraits, faces, strict=True)))
            done += 1
        elif all(template.model != enrol.identity for template in person.templates):
            without.append(person.name)
    for name in without:
        Console().print(Text(f"{name}: no face is kept, from an older framewire: enroll a photo again"), soft_wrap=True)
    Console().print(f"{done} people embedded anew")
    raise typer.Exit(1 if without else 0)


@app.command("export")
def export_(
    name: Name, folder: Annotated[Path, typer.Argument(help="A new folder.")], config: ConfigFile = None
) -> None:
    """Write what is kept of one person, readable by anybody who has the folder: person.json, and the photos to see.

    In person.json are also the faces of others who were taken for this person, as `import` needs them. Not in it are
    pictures and clips of decisions, which the page and `gate clip` give out, and whether the person is inside.

    [bold]Example[/bold]: python run_pipeline.py gallery export "Ada Lovelace" ada/
    """
    what = exported(store_of(settings_of(config)), name)
    if folder.exists():
        raise Usage(f"{folder} is there already: give the name of a new folder")
    try:
        _write(what, folder)
    except OSError as error:
        raise Failed(f"cannot write {folder}: {error.strerror}; give another folder, or make room") from error
    Console().print(Text(f"{what.name} is in {folder}, not encrypted: keep it safe"), soft_wrap=True)


def _write(what: Exported, folder: Path) -> None:
    """All of it or nothing: what is left half-way is not encrypted either, so it goes.

    Only a kill leaves it, in a folder NAME.xxxxxxxx.part that nobody takes for their own.
    """
    files = {"person.json": msgspec.json.format(msgspec.json.encode(what))}
    files |= {f"portrait-{number}.png": photo.image for number, photo in enumerate(what.photos)}
    beside = Path(mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        for name, content in files.items():
            replace_file(beside / name, content, synced=True)
        os.replace(beside, folder)
    except BaseException:  # Ctrl-C, too
        shutil.rmtree(beside)
        raise


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder that `export` wrote.")],
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it looks like somebody else, or the photos unlike each other.")
    ] = False,
) -> None:
    """Enroll the person of an export, from the photos in its person.json, with their rules.

    [bold]Example[/bold]: python run_pipeline.py gallery import ada/
    """
    path = folder / "person.json"
    try:
        what = msgspec.json.decode(path.read_bytes(), type=Exported)
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}; give a folder that `export` wrote") from error
    except msgspec.DecodeError as error:
        raise Failed(f"{path} is none that `export` wrote: {error}") from error
    settings = settings_of(config)
    store = store_of(settings)
    done = taken_in(store, Enrol(settings), what, force=force)
    Console().print(Text(f"{done.name} is enrolled with {done.photos} photos"), soft_wrap=True)
    if done.note:
        Console(stderr=True).print(Text(done.note), soft_wrap=True)
    warn(store)


@app.command()
def rotate() -> None:
    """Make a new master key and wrap every data key with it; the old one opens nothing any more.

    Nothing else may run on these data meanwhile. Stopped half way, it goes on when run again.

    [bold]Example[/bold]: python run_pipeline.py gallery rotate
    """
    if os.environ.get("FRAMEWIRE_MASTER_KEY"):
        raise Usage("the master key comes from $FRAMEWIRE_MASTER_KEY, which would stay the old one: unset it to rotate")
    path = master_path()
    if path != keys().parent / "master.key" and os.environ.get("FRAMEWIRE_MASTER") is None:
        raise Usage("the master key is a credential of systemd: set $FRAMEWIRE_MASTER to the file and rotate there")
    store = Store(home(), keys())
    running = store.wait_for(NEVER, 0)
    if running:
        raise Failed(f"{running[0]} runs on these data: stop it, then rotate")
    wrapped = store.key_file()  # brings a gallery of an older framewire up to date
    old, fresh = Master.load(home()), path.with_name(f"{path.name}.new")
    if not fresh.exists():
        make_master(fresh)
    new = Master.of(fresh)
    count = wrapped.rewrap(new) if wrapped else 0
    for file in sorted(keys().glob("*.keys")):
        count += Keys(file, old).rewrap(new)
    os.replace(fresh, path)
    sync(path.parent)
    Console().print(f"{count} keys are wrapped by a new master key: {path}; put a copy of it in a safe place")


def _folders(source: Path) -> dict[str, list[Path]]:
    """Name -> photos."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(source.iterdir()):
        if folder.is_dir():  # two may be one name, which is written in two ways
            found.setdefault(checked_name(folder.name), []).extend(filter(is_image, sorted(folder.iterdir())))
    if not found:
        raise Usage(f"{source} holds no folders: put each person's photos into one that has their name")
    return found


def _listed(source: Path) -> dict[str, list[Path]]:
    """Name -> photos, from a CSV whose paths are beside it."""
    found: dict[str, list[Path]] = {}
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                if not row.get("name") or not row.get("photo"):
                    raise Usage(f"{source} needs the columns name and photo, both filled in every row")
                found.setdefault(checked_name(row["name"]), []).append(source.parent / row["photo"])
    except OSError as error:
        raise Failed(f"cannot read {source}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Usage(f"{source} is no CSV in UTF-8: {error}") from error
    if not found:
        raise Usage(f"{source} lists nobody: give it a line name,photo and one for each photo")
    return found
