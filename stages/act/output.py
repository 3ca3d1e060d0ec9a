"""What every output can do: open a door, tell of a decision, or both."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Protocol

from msgspec import Meta

from pipeline.config import PATH, Config
from pipeline.errors import Failed
from stages.events.records import Command, Head, Notice

SafeName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,40}$")]
Seconds = Annotated[float, Meta(gt=0, le=60)]
SomePath = Annotated[str, Meta(pattern=PATH, min_length=1)]


class OutputFailed(Exception):
    """It could not be done now, and why, in a clause; what is to be told is tried again, a door is not."""


class Output(Protocol):
    """One way out of the gate. Calls come from a thread of its own and may take as long as their time-out."""

    def open(self, command: Command) -> None:
        """Open the door for `command.seconds`. Raises OutputFailed."""

    def tell(self, notice: Notice) -> None:
        """Deliver a notice; it may have been delivered before, with the same key. Raises OutputFailed."""

    def witness(self, head: Head) -> None:
        """Keep the newest row's head elsewhere, where it is no decision's; it may have come before. OutputFailed."""

    def close(self) -> None:
        """Let go, within two seconds; a door that this output holds open is closed."""


class OutputConfig(Config, frozen=True, tag_field="kind"):
    """`[[act.outputs]]`: `kind` says which, the rest is its own."""

    name: SafeName


def secret(path: str, what: str) -> bytes:
    """The content of a file that only its owner may read, without the newline at its end. Raises Failed."""
    try:
        mode, content = Path(path).stat().st_mode, Path(path).read_bytes()
    except OSError as error:
        raise Failed(f"cannot read the {what} {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise Failed(f"the {what} {path} is open to other users: run chmod 400 {path}")
    if not content.strip():
        raise Failed(f"the {what} {path} is empty: write the secret into it")
    return content.rstrip(b"\r\n")
