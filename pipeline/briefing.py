"""What each process of a run is told before it starts: its stages, its neighbours, its share of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pipeline.child import Child
from pipeline.config import Config
from pipeline.control import Neighbour, StageSpec, Start
from pipeline.frames import RingInfo
from pipeline.graph import Source
from pipeline.limits import cores

LIVE_WINDOW = 2  # messages of any source on an `every` edge, as soon as one is live: more would only be its delay

MOST_PIXELS = 1 << 27  # of an image file: a few MB of PNG can hold a billion pixels


class EngineConfig(Config, frozen=True):
    """How the processes run."""

    slots: Annotated[int, Meta(ge=4, le=256)] = 16  # frames in a source's ring; one less may be on the way
    watchdog_s: Annotated[float, Meta(gt=0)] = 60.0  # a stage that is busy with one message for longer is killed
    threads: Annotated[int, Meta(ge=0, le=64)] = 0  # a process; 0: cores / processes, at least 1
    crashes: Annotated[int, Meta(ge=1, le=1000)] = 5  # of one process within a minute stop the graph


@dataclass(frozen=True)
class Briefing:
    """What is the same for all processes of a run."""

    sources: Sequence[Source]
    settings: Mapping[str, Config]  # the config of each stage under its class's name
    engine: EngineConfig
    run: Path  # the run directory
    log_file: Path

    def start(self, child: Child, children: Sequence[Child], rings: Sequence[RingInfo]) -> Start:
        """The first order of one of the `children`; `rings` are all that there ever were."""
        by_name = {other.name: other for other in children}
        live = any(source.live for source in self.sources)
        return Start(
            name=child.name,
            number=child.number,
            stages=[
                StageSpec(stage.__module__, stage.__name__, msgspec.json.encode(self.settings[stage.__name__]))
                for stage in child.process.stages
            ],
            hears=[
                Neighbour(edge.sender, by_name[edge.sender].number, edge.policy, self._sent_by(by_name[edge.sender]))
                for edge in child.process.hears
            ],
            heard_by=[
                Neighbour(other.name, other.number, edge.policy, self._sent_by(child))
                for other in children
                for edge in other.process.hears
                if edge.sender == child.name
            ],
            sources=list(self.sources),
            source=child.process.source,
            windows={source.name: LIVE_WINDOW if live else self.engine.slots - 1 for source in self.sources},
            rings=list(rings),
            run=str(self.run),
            log=str(self.log_file),
            page_fd=child.page_fd,
            restarts=child.restarts,
            suspects=child.suspects,
            skip=child.skip,
            threads=self.engine.threads or max(1, cores() // len(children)),
        )

    def _sent_by(self, child: Child) -> list[int]:
        own = child.process.source
        return [place for place, source in enumerate(self.sources) if own is None or source == own]


def environment(threads: int) -> dict[str, str]:
    """What a process inherits: our modules, and its budget for the libraries that read it from there."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS),
    }
