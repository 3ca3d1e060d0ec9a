"""Let a few frames a second through, evenly: what need not be measured in each frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.types import Frame
from stages.highlight.store import Store

RATE = 5.0  # frames a second

Rate = Annotated[float, Meta(gt=0, le=1000)]


class SampleConfig(Config, frozen=True):
    """`[sample]`"""

    rate: Rate = RATE
    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""
    track: Annotated[str, DERIVED] = ""  # the one that is fed: its last row is the last frame let through
    key: Annotated[str, DERIVED] = ""


class Sample:
    """Frame -> Frame, the first of each 1/rate s of the stream's own time; None for the others."""

    def __init__(self, config: SampleConfig) -> None:
        self._rate = config.rate
        store = Store(Path(config.store))
        last = store.track(config.track, config.key).last
        store.close()
        self._tick = self._ticks(last[1]) if last else None

    def __call__(self, frame: Frame) -> Frame | None:
        tick = self._ticks(frame.pts_ns)
        if tick == self._tick:
            return None
        self._tick = tick
        return frame

    def _ticks(self, pts_ns: int) -> int:
        return math.floor(pts_ns * self._rate / 1e9)


class SampleLook(Sample):
    """`Sample` for what is said of the whole picture. Settings go by class name, and each feeds a track of its own."""


class SamplePeople(Sample):
    """`Sample` for people."""


class SampleFaces(Sample):
    """`Sample` for faces."""
