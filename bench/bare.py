"""The graph's stages called bare, each in a loop of its own. `python -m bench.bare CLIP OUT THREADS PIECE`

The clip goes through in pieces of PIECE frames, one for each line on standard input: all of a piece through one stage,
then all through the next. Prints, for each piece, the seconds that each stage took and the number of frames, as JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import msgspec

from bench.turns import say_in_turn
from pipeline.config import Config
from pipeline.control import StageSpec
from pipeline.frames import RingInfo, RingReader, RingWriter, allocate
from pipeline.graph import Source
from pipeline.model import set_thread_budget
from pipeline.process import build
from run_pipeline import LIVE_VIEW, Settings
from stages.record import RecordConfig


class Bare(msgspec.Struct, frozen=True):
    """What was measured of a piece."""

    frames: int
    seconds: dict[str, float]  # stage -> all its calls together


class Builder:
    """Makes stages as the processes of a graph do, on `threads` threads each, and the rings between them."""

    def __init__(self, source: Source, settings: Mapping[str, Config], threads: int, slots: int) -> None:
        set_thread_budget(threads)
        cv2.setNumThreads(threads)
        self._source, self._settings, self._slots = source, settings, slots
        self._rings: dict[int, RingInfo] = {}

    def __call__(self, stage: type[Any]) -> Any:
        """The stage."""
        spec = StageSpec(stage.__module__, stage.__name__, msgspec.json.encode(self._settings[stage.__name__]))
        return build(spec, source=self._source, ring=self._ring, after=None, frames=RingReader(self._rings.get))

    def _ring(self, width: int, height: int) -> RingWriter:
        _, info = allocate(self._source.name, width, height, self._slots)
        self._rings[info.id] = info
        return RingWriter(info)


def measure(clip: Path, out: Path, threads: int, piece: int) -> Iterator[Bare]:
    """Call every stage on every frame of one more piece of the clip, each on `threads` threads."""
    settings = Settings(record=RecordConfig(out=str(out), sources=(clip.stem,)))
    built = Builder(Source(clip.stem, str(clip), live=False), settings.by_stage(), threads, piece + 1)
    (first, *kinds) = [stage for process in LIVE_VIEW for stage in process.stages]
    frames = iter(built(first))
    stages = [built(kind) for kind in kinds]
    while True:
        began = time.perf_counter()
        messages: list[Any] = list(islice(frames, piece))
        seconds = {first.__name__: time.perf_counter() - began}
        if not messages:
            return
        count = len(messages)
        for stage in stages:
            began = time.perf_counter()
            messages = _through(stage, messages)
            seconds[type(stage).__name__] = time.perf_counter() - began
        yield Bare(count, seconds)


def _through(stage: Any, messages: Sequence[Any]) -> list[Any]:
    """One call a message, as the graph makes them for one source."""
    if hasattr(stage, "batch"):
        return [stage([message])[0] for message in messages]
    return [stage(message) for message in messages]


if __name__ == "__main__":
    say_in_turn(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
