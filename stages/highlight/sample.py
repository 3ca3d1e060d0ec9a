"""Let a few frames a second through, evenly: what need not be measured in each frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.types import Frame
from stages.highlight.motion import Motion
from stages.highlight.store import Store

RATE = 5.0  # frames a second

Rate = Annotated[float, Meta(gt=0, le=1000)]


class SampleConfig(Config, frozen=True):
    """`[sample]`"""

    rate: Rate = RATE
    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""
    motion: Annotated[str, DERIVED] = ""  # key of the track that has a row for each frame


class Sample:
    """Frame -> Frame, the first of each 1/rate s of the stream's own time; None for the others.

    Stands behind Motion, whose track tells when the frame before was: so a killed one goes on with the same frames.
    """

    def __init__(self, config: SampleConfig) -> None:
        self._rate = config.rate
        self._store = Store(Path(config.store))
        self._every = self._store.track(Motion.TRACK, config.motion)
        self._tick: int | None = None

    def __call__(self, frame: Frame) -> Frame | None:
        if self._tick is None and (before := self._every.before(frame.seq)) is not None:
            self._tick = self._ticks(before)
        tick, last = self._ticks(frame.pts_ns), self._tick
        self._tick = tick
        return None if tick == last else frame

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def _ticks(self, pts_ns: int) -> int:
        return math.floor(pts_ns * self._rate / 1e9)
