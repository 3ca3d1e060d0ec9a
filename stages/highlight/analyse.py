"""Look at one video, as far as nobody has done that before: a run of the graph, with what is missing of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from pipeline.config import Config
from pipeline.errors import Failed, Usage
from pipeline.graph import Process, Source
from pipeline.supervise import Supervisor
from stages.highlight.recorder import Keyed
from stages.highlight.settings import SOURCE, HighlightEngineConfig
from stages.highlight.store import Store, told
from stages.highlight.videos import State, facts

LOOK_S = 0.1


def analyse(
    graph: Sequence[Process],
    video: Path,
    store: Path,
    settings: Mapping[str, Config],
    engine: HighlightEngineConfig,
    log: Path,
    state: State,
    goes_on: Callable[[int], bool],
) -> list[str]:
    """Have every track of the `video` whole in the file `store`; sentences on what went wrong with it.

    `state` is the file's, from before its content was told. `goes_on` is told the frames that are done, again and
    again, and says whether to go on; where not, another call goes on where this one has stopped. Who calls it is
    `alone`. Raises Failed.
    """
    settings = placed(settings, store)
    with told(store), Store(store) as kept:
        keys = {process.name: recorders([process], settings) for process in graph}
        tracks = {name: [kept.track(*item) for item in keys[name].items()] for name in keys}
        unfinished = [process for process in graph if not all(track.whole for track in tracks[process.name])]
        if not unfinished:
            return kept.notes()
        wanted = with_senders(graph, unfinished)
        picture = facts(video)
        engine = engine.fitted(picture.width, picture.height)
        with Supervisor(wanted, [Source(SOURCE, str(video), live=False)], settings, engine, log) as run:
            stopped = False
            while run.step(LOOK_S):
                done = [child.page.last_sent()[0] + 1 for child in run.children if child.process.hears]
                if not stopped and not goes_on(min(done, default=0)):
                    stopped = True
                    run.finish()
        notes = list(dict.fromkeys(run.failures))  # picture and sound fail in the same words
        measured = [track for process in unfinished for track in tracks[process.name]]
        if State.of(video) != state:
            kept.drop(measured)
            raise Failed(f"{video} has changed while it was looked at: say it again when nothing writes it any more")
        if run.aborted and not stopped:
            raise Failed("; ".join(notes))
        if not stopped:
            kept.finish(measured, notes)
        return notes


@contextmanager
def alone(video: Path, store: Path) -> Iterator[None]:
    """Keep other runs from looking at the same video meanwhile. Raises Usage where one does."""
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file beside it: closing a descriptor of the database itself would let go of SQLite's own locks.
    file = os.open(store.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Usage(f"another run looks at {video} just now: wait until it is done") from None
    finally:
        os.close(file)


def placed(settings: Mapping[str, Config], store: Path) -> dict[str, Config]:
    """The configs, of which each stage that writes into a store is told which."""
    return {
        name: replace(config, store=str(store)) if "store" in config.__struct_fields__ else config
        for name, config in settings.items()
    }


def with_senders(graph: Sequence[Process], processes: Iterable[Process]) -> list[Process]:
    """These processes and all that they cannot do without, in the order of the graph."""
    names = {process.name for process in processes}
    for process in reversed(graph):
        if process.name in names:
            names |= {edge.sender for edge in process.hears}
    return [process for process in graph if process.name in names]


def recorders(processes: Iterable[Process], settings: Mapping[str, Config]) -> dict[str, str]:
    """The name and the key of the track that each stage writes which writes one."""
    stages = [stage for process in processes for stage in process.stages if hasattr(stage, "TRACK")]
    return {stage.TRACK: cast(Keyed, settings[stage.__name__]).key for stage in stages}
