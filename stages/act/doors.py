"""How each door is, for a page to show: HOME/doors/NAME.json, whatever it is that opens the door."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from pipeline.errors import Failed
from pipeline.files import replace_file
from pipeline.home import home
from stages.events.records import Command


class DoorState(msgspec.Struct, frozen=True):
    """When a door was opened last, since the gate was started; before that nothing is known of it."""

    door: str
    opened_ns: int | None = None  # wall clock
    until_ns: int | None = None
    seq: int | None = None  # of the decision


def begin(door: str) -> None:
    """Nothing is known of the door: what a gate before this one has opened may have been closed with it."""
    _path(door).unlink(missing_ok=True)


def opened(command: Command) -> None:
    """Write that its door was opened just now. Raises Failed."""
    now = time.time_ns()
    state = DoorState(command.door, now, now + int(command.seconds * 1e9), command.seq)
    try:
        replace_file(_path(command.door), msgspec.json.encode(state), synced=False)
    except OSError as error:
        raise Failed(f"cannot write {_path(command.door)}: {error.strerror}; make room, or set its owner") from error


def state(door: str) -> DoorState:
    """How the door is. A file that a power cut left empty, or damaged, says nothing."""
    try:
        return msgspec.json.decode(_path(door).read_bytes(), type=DoorState)
    except (FileNotFoundError, msgspec.DecodeError):
        return DoorState(door)


def _path(door: str) -> Path:
    return home() / "doors" / f"{door}.json"
