"""What every stage has that takes frames and writes a track of its own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from stages.highlight.store import Store


class Keyed(Protocol):
    """The config of a stage that writes a track."""

    @property
    def key(self) -> str:
        """What the measurement depends on, beside the video."""


class RecorderConfig(Keyed, Protocol):
    """That of one that takes frames."""

    @property
    def store(self) -> str:
        """The video's SQLite file."""

    @property
    def source(self) -> str:
        """The video's name in the run."""


class Recorder:
    """Opens its track, and knows which frames it need not take again."""

    TRACK: ClassVar[str]

    def __init__(self, config: RecorderConfig) -> None:
        self._store = Store(Path(config.store))
        self._track = self._store.track(self.TRACK, config.key)
        self._source = config.source
        last = self._track.last
        self._last = last[0] if last else -1  # seq of the last frame that it is done with

    def resume(self) -> dict[str, int]:
        """The last frame of the source that it is done with."""
        return {self._source: self._last} if self._last >= 0 else {}

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()
