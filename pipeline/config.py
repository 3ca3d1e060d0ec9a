"""TOML -> frozen structs. A typo fails with the path of its key, not with a default."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Meta
from msgspec.inspect import Metadata, StructType, type_info

from pipeline.errors import Usage

PATH = r"^[^\0]*$"  # what a path may hold
DERIVED = Meta(extra={"derived": True})  # on a field that follows from others, or from the command line: none of a file

T = TypeVar("T")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every config: frozen, and a key nobody knows is an error."""


def load(path: Path, kind: type[T]) -> T:
    """Read `path` as `kind`; raises Usage naming the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Usage(f"cannot read the config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Usage(f"the config {path} is not UTF-8 text") from error
    try:
        given = tomllib.loads(text)
        found = msgspec.convert(given, kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Usage(f"the config {path} is wrong: {error}") from error
    if key := _derived(given, type_info(kind), "$"):
        raise Usage(f"the config {path} is wrong: {key} follows from the rest: leave it out")
    return found


def _derived(given: dict[str, Any], kind: Any, path: str) -> str:
    """The path of a key in `given` that no file sets; "" for none. Looks into tables, as no array of them has one."""
    for field in kind.fields:
        if field.encode_name not in given:
            continue
        here = f"{path}.{field.encode_name}"
        if isinstance(field.type, Metadata) and field.type.extra == DERIVED.extra:
            return here
        if isinstance(field.type, StructType) and (below := _derived(given[field.encode_name], field.type, here)):
            return below
    return ""
