"""Look at many videos, several at once on the cores of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config
from pipeline.errors import Failed
from pipeline.graph import Process
from pipeline.limits import cores
from stages.highlight.analyse import alone, analyse
from stages.highlight.progress import Bars
from stages.highlight.settings import HighlightEngineConfig
from stages.highlight.videos import Hashes, State, facts
from stages.sources.address import check_file

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


class Found(NamedTuple):
    """A video that can be looked at."""

    path: Path
    state: State
    sha256: str
    frames: int  # about


def find(work: Work, paths: Sequence[Path], stopped: Sequence[object]) -> tuple[list[Found], list[Looked]]:
    """The videos, each content once, and those that cannot be read. Until something is in `stopped`."""
    hashes = Hashes(work.folder)
    found: dict[str, Found] = {}
    failed = []
    for path in paths:
        if stopped:
            break
        try:
            check_file(path)
            state = State.of(path)
            one = Found(path, state, hashes.sha256(path, state), facts(path).frames)
        except Failed as error:
            failed.append(Looked(path, "", [str(error)]))
        else:
            found.setdefault(one.sha256, one)
    return list(found.values()), failed


def look_at(work: Work, videos: Sequence[Found], jobs: int, bars: Bars, stopped: Sequence[object]) -> list[Looked]:
    """Look at `jobs` videos at a time (0: as many as the cores bear), until something is in `stopped`.

    What was begun then, another call goes on with. What goes wrong unforeseen with one of them stops all.
    """
    wrong: list[BaseException] = []

    def goes_on() -> bool:
        return not stopped and not wrong

    whole = bars.begin("videos", len(videos)) if len(videos) > 1 else None

    def look(video: Found) -> Looked:
        if not goes_on():
            return Looked(video.path, "", [])
        try:
            found = _look(work, video, bars, goes_on)
        except BaseException as error:
            wrong.append(error)
            raise
        if whole is not None:
            bars.advance(whole)
        return found

    with ThreadPoolExecutor(jobs or max(1, cores() // CORES_EACH)) as pool:
        return list(pool.map(look, videos))


def _look(work: Work, video: Found, bars: Bars, goes_on: Callable[[], bool]) -> Looked:
    bar = bars.begin(video.path.name, video.frames)

    def watched(done: int) -> bool:
        bars.show(bar, done)
        return goes_on()

    store = work.store(video.sha256)
    try:
        with alone(video.path, store):
            notes = analyse(work.graph, video.path, store, work.settings, work.engine, work.log, video.state, watched)
    except Failed as error:
        return Looked(video.path, "", [str(error)])
    finally:
        bars.end(bar)
    return Looked(video.path, video.sha256, notes)
