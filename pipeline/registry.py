"""The model catalogue: what ships, what was pulled, what upstream has, and whether files are what they should be."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from pipeline.errors import Failed, Usage
from pipeline.home import home

SHIPPED = Path(__file__).resolve().parents[1] / "models"
UPSTREAM = "upstream.toml"  # in SHIPPED: what `pull` knows
# What looks for faces where nobody asks for another; on CPUs the same network in int8, in half the time.
DETECTORS = {"cpu": "centerface_int8", "cuda": "centerface", "tensorrt": "centerface"}
# What looks for transitions between shots, likewise; in int8 in a third of the time.
TRANSITIONS = {"cpu": "transnetv2_int8", "cuda": "transnetv2", "tensorrt": "transnetv2"}

T = TypeVar("T")
Where = Literal["shipped", "pulled", "upstream"]
State = Literal["ok", "wrong", "missing"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model file, whoever carries it; what is fed and found goes for files that do not say it."""

    name: str
    file: str
    task: str
    sha256: str
    bytes: int
    licence: str
    layout: str = ""
    order: str = ""  # "RGB" or "BGR"
    mean: tuple[float, float, float] | None = None  # input = (pixel - mean) * scale, pixels 0..255
    scale: tuple[float, float, float] | None = None
    align: str = ""  # embedders: "dlib" or "arcface"
    input: str = ""  # one line for people
    output: str = ""


class Card(Facts, frozen=True, kw_only=True):
    """NAME.toml, beside the model file."""

    origin: str
    accuracy: dict[str, Any] = {}  # measured figures, each with the command that made it


class Upstream(Facts, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model file in somebody else's repository, at one commit."""

    repository: str  # owner/name
    path: str
    commit: str

    @property
    def address(self) -> str:
        """Where the raw file is."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"

    def card(self) -> Card:
        """The card to lay beside the file."""
        facts = {name: getattr(self, name) for name in Facts.__struct_fields__}
        return Card(origin=f"{self.repository}: {self.path} @{self.commit}", **facts)


class Entry(msgspec.Struct, frozen=True):
    """A row of the catalogue."""

    card: Card
    where: Where
    path: Path  # where the file is, or would be once pulled


class Verdict(msgspec.Struct, frozen=True):
    """What `verify` found."""

    entry: Entry
    state: State


def pulled() -> Path:
    """The directory of pulled models."""
    return home() / "models"


def list_models() -> list[Entry]:
    """Every model known here, by name: shipped ones, pulled ones, and those of upstream that are not pulled yet."""
    entries = [
        *(Entry(entry.card(), "upstream", pulled() / entry.file) for entry in upstream()),
        *_carded(pulled(), "pulled"),
        *_carded(SHIPPED, "shipped"),
    ]
    return sorted({entry.card.name: entry for entry in entries}.values(), key=lambda entry: entry.card.name)


def verify() -> list[Verdict]:
    """Compare each file that is, or should be, on this machine with the sha256 on record."""
    record = {entry.name: entry.sha256 for entry in upstream()}
    return [
        # A card lies beside its file, so for a pulled file the catalogue's hash counts where there is one.
        Verdict(entry, _state(entry.path, record.get(entry.card.name, entry.card.sha256)))
        for entry in list_models()
        if entry.where != "upstream"
    ]


def resolve(name: str | Path) -> Path:
    """The file of a model: the name of a shipped model, of a pulled one, or a path; raises Usage where it is none."""
    known = {entry.card.name: entry for entry in list_models()}
    entry = known.get(str(name))
    if entry and entry.where != "upstream":
        return entry.path
    if os.path.isfile(name):  # os.path: pathlib raises for what may not be searched
        return Path(name)
    if entry:
        raise Usage(f"the model {name} is not on this machine yet; run: python run_pipeline.py models pull {name}")
    raise Usage(f"there is no model {name}: give the path of an ONNX file or one of {', '.join(known)}")


def upstream() -> list[Upstream]:
    """What `pull` can get."""
    return _read(SHIPPED / UPSTREAM, dict[Literal["model"], list[Upstream]])["model"]


def card_beside(file: Path) -> Card:
    """The card NAME.toml beside the model file; a blank one where there is none."""
    path = file.with_suffix(".toml")
    if os.path.isfile(path):
        try:
            return _read(path, Card)
        except Failed as error:
            raise Failed(f"{error}; it lies beside {file.name} and is read as its card: rename what is none") from error
    return Card(name=file.stem, file=file.name, task="", sha256="", bytes=0, licence="", origin="")


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as lower-case hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _carded(folder: Path, where: Where) -> list[Entry]:
    found = sorted(folder.glob("*.toml")) if os.path.isdir(folder) else []
    paths = [path for path in found if path.name != UPSTREAM]
    cards = [_read(path, Card) for path in paths]
    return [Entry(card, where, folder / card.file) for card in cards]


def _state(path: Path, sha256: str) -> State:
    if not os.path.isfile(path):
        return "missing"
    return "ok" if sha256_of(path) == sha256 else "wrong"


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Failed(f"cannot read {path}: {error}") from error
