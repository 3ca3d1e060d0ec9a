"""Look at many videos, several at once on the cores of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config
from pipeline.errors import Failed
from pipeline.graph import Process
from pipeline.limits import cores
from stages.highlight.analyse import analyse
from stages.highlight.progress import Bars
from stages.highlight.settings import HighlightEngineConfig
from stages.highlight.videos import Hashes, facts

CORES_EACH = 2  # that one video keeps busy: decoding and the slowest of the branches


@dataclass(frozen=True)
class Work:
    """How videos are looked at."""

    graph: Sequence[Process]
    settings: Mapping[str, Config]  # of each stage under its class's name
    engine: HighlightEngineConfig
    folder: Path  # where the signals are kept
    log: Path

    def store(self, sha256: str) -> Path:
        """The file with the signals of a video."""
        return self.folder / f"{sha256}.sqlite"


class Looked(NamedTuple):
    """A video, and what became of the look at it."""

    path: Path
    sha256: str  # "" where it could not be read
    notes: list[str]  # what was wrong with it, a sentence each


def look_at(work: Work, paths: Sequence[Path], jobs: int, bars: Bars, stopped: Sequence[object]) -> Iterator[Looked]:
    """Look at `jobs` videos at a time (0: as many as the cores bear), until something is in `stopped`.

    What was begun then, another call goes on with.
    """
    hashes = Hashes(work.folder)
    with ThreadPoolExecutor(jobs or max(1, cores() // CORES_EACH)) as pool:
        yield from pool.map(lambda path: _look(work, path, hashes, bars, stopped), paths)


def _look(work: Work, path: Path, hashes: Hashes, bars: Bars, stopped: Sequence[object]) -> Looked:
    if stopped:
        return Looked(path, "", [])
    try:
        bar = bars.begin(path.name, facts(path).frames)
        sha256 = hashes.sha256(path)
    except Failed as error:
        return Looked(path, "", [str(error)])

    def goes_on(done: int) -> bool:
        bars.show(bar, done)
        return not stopped

    notes = analyse(work.graph, path, work.store(sha256), work.settings, work.engine, work.log, goes_on)
    bars.finish(bar)
    return Looked(path, sha256, notes)
