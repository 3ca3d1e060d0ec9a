"""A graph is a plain list of processes; its edges name their loss policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from pipeline.errors import Usage

Policy = Literal["latest", "every", "head", "packets"]


class Source(msgspec.Struct, frozen=True):
    """A camera, a stream, a file or a folder of images."""

    name: str  # unique, [A-Za-z0-9_-]: it names files and processes
    address: str  # as the user gave it; may hold a password
    live: bool  # it does not wait for us


@dataclass(frozen=True)
class Edge:
    """What a process hears, and what may be lost on the way."""

    sender: str
    policy: Policy


def latest(sender: str) -> Edge:
    """The newest message of each source wins: a live picture never builds up delay."""
    return Edge(sender, "latest")


def every(sender: str) -> Edge:
    """Acknowledged from end to end: nothing is lost, nothing is repeated, the sender waits."""
    return Edge(sender, "every")


def packets(sender: str) -> Edge:
    """The compressed stream that a source reads, beside its frames: a source never waits for who hears it.

    Its hearer has so many packets' and bytes' time to catch up; what it loses, up to a key frame, is counted where it
    was not sent, and shows as a gap in their numbers.
    """
    return Edge(sender, "packets")


def head(sender: str) -> Edge:
    """From the sources: `latest` for a live one, `every` for a recorded one."""
    return Edge(sender, "head")


@dataclass(frozen=True)
class Process:
    """Stages that run one after the other in one process."""

    name: str
    stages: tuple[type[Any], ...]
    hears: tuple[Edge, ...] = ()
    per_source: bool = False
    nice: int = 0  # nice(2): how far it gives way to the others where all cores are busy, as when a graph starts
    source: Source | None = None  # set by `expand`


def expand(graph: Sequence[Process], sources: Sequence[Source]) -> list[Process]:
    """One process a source where `per_source`, and every edge between two processes that exist. Raises Usage."""
    if len({source.name for source in sources}) != len(sources):
        raise Usage("two sources have the same name: give each --source only once")
    per_source = {process.name for process in graph if process.per_source}
    names = {process.name for process in graph}

    def edges(edge: Edge) -> list[Edge]:
        if edge.sender not in names:
            raise Usage(f"the graph has no process {edge.sender!r}; it has {', '.join(sorted(names))}")
        if edge.sender not in per_source:
            return [edge]
        policy: dict[bool, Policy] = {True: "latest", False: "every"}
        return [
            Edge(f"{edge.sender}-{source.name}", policy[source.live] if edge.policy == "head" else edge.policy)
            for source in sources
        ]

    found: list[Process] = []
    for process in graph:
        if process.per_source:
            found += [replace(process, name=f"{process.name}-{source.name}", source=source) for source in sources]
        else:
            heard = tuple(new for edge in process.hears for new in edges(edge))
            found.append(replace(process, hears=heard))
    return found


def spread(graph: Sequence[Process]) -> list[Process]:
    """The same graph with a process for every stage, joined by `every` edges."""
    last = {process.name: _own(process, process.stages[-1]) for process in graph}
    found = []
    for process in graph:
        heard = tuple(replace(edge, sender=last[edge.sender]) for edge in process.hears)
        for stage in process.stages:
            name = _own(process, stage)
            found.append(replace(process, name=name, stages=(stage,), hears=heard))
            heard = (every(name),)
    return found


def fuse(graph: Sequence[Process]) -> list[Process]:
    """The same graph, a chain, with all but the sources in one process."""
    sources = [process for process in graph if process.per_source]
    rest = [process for process in graph if not process.per_source]
    stages = tuple(stage for process in rest for stage in process.stages)
    return [*sources, replace(rest[0], stages=stages)]


def _own(process: Process, stage: type[Any]) -> str:
    return process.name if len(process.stages) == 1 else stage.__name__.lower()
