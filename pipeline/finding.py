"""What `doctor` finds out about one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from pipeline.errors import Failed


class Finding(msgspec.Struct, frozen=True):
    """One row: `broken` stops the main job, a `note` does not."""

    what: str
    state: Literal["ok", "note", "broken"]
    found: str
    advice: str = ""  # one sentence: what to do


def tried(what: str, trial: Callable[[], str], advice: str, *, needed: bool) -> Finding:
    """The finding of `trial`, which returns what it found or raises what is wrong."""
    try:
        return Finding(what, "ok", trial())
    except (Failed, ImportError, OSError, ValueError) as error:
        return Finding(what, "broken" if needed else "note", str(error), advice)
