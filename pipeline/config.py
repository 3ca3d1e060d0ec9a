"""TOML -> frozen structs. A typo fails with the path of its key, not with a default."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import Usage

PATH = r"^[^\0]*$"  # what a path may hold

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
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Usage(f"the config {path} is wrong: {error}") from error
