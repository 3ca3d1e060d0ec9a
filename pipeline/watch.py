"""A run, followed to its end; its numbers at one moment, read from its processes' pages and from /proc."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.child import Child
from pipeline.metrics import Counter, Page, State, quantile
from pipeline.supervise import Supervisor
from pipeline.view import ProcessRow, Snapshot, SourceRow

LATELY_S = 2.0  # the span that rates are taken over
TICK = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
QUANTILES = (0.5, 0.95, 0.99)


class Shows(Protocol):
    """What shows a run's numbers, and asks for them only as often as it does."""

    def __call__(self, snapshot: Callable[[], Snapshot], /, *, last: bool = False) -> None:
        """Show them; the `last` ones stay."""


def heard() -> list[int]:
    """The signals to stop that come from now on: as soon as there is something to clean up."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    return signals


def follow(
    run: Supervisor, shown: Callable[[str], str], show: Shows, seconds: float | None, signals: Sequence[int]
) -> Snapshot:
    """Show a run until it ends; the first of the signals finishes it, a second one aborts it. The last numbers.

    It is finished `seconds` after all has loaded; `shown` is as in Watch.
    """
    watch = Watch(run, shown)
    ends = float("inf")
    while run.step(0.05):
        if seconds is not None and ends == float("inf") and run.is_under_way():
            ends = time.monotonic() + seconds
        if len(signals) > 1:
            run.abort()
        elif signals or time.monotonic() > ends:
            run.finish()
        show(watch.snapshot)
    show(watch.snapshot, last=True)
    return watch.snapshot()


class Watch:
    """Looks at a run again and again; rates are over the last two seconds."""

    def __init__(self, run: Supervisor, shown: Callable[[str], str]) -> None:
        """`shown` gives an address as it may be shown, without its password."""
        self._run = run
        self._shown = shown
        self._began = time.monotonic()
        heard = {edge.sender for child in run.children for edge in child.process.hears}
        self._endings = [child for child in run.children if child.name not in heard]
        self._past: deque[tuple[float, dict[str, tuple[int, float]]]] = deque()

    def snapshot(self) -> Snapshot:
        """The numbers now."""
        now = time.monotonic()
        usage = {child.name: (child.page.get(Counter.SENT), _cpu_seconds(child)) for child in self._run.children}
        self._past.append((now, usage))
        while len(self._past) > 2 and self._past[1][0] < now - LATELY_S:
            self._past.popleft()
        rows = tuple(self._row(child, now, usage[child.name]) for child in self._run.children)
        endings = {child.name for child in self._endings}
        ages = [sum(counts) for counts in zip(*(child.page.age.counts() for child in self._endings), strict=True)]
        return Snapshot(
            elapsed_s=now - self._began,
            sources=tuple(self._source(child) for child in self._run.children if child.process.source),
            processes=rows,
            frames=sum(row.sent for row in rows if row.name in endings),
            fps=sum(row.fps for row in rows if row.name in endings),
            drops=sum(row.lost for row in rows),
            age_ms=_quantiles(ages),
        )

    def _row(self, child: Child, now: float, usage: tuple[int, float]) -> ProcessRow:
        page = child.page
        then, before = self._past[0]
        span = now - then
        sent, cpu = before[child.name]
        p50, _, p99 = _quantiles(page.service.counts())
        return ProcessRow(
            name=child.name,
            state=_state(child, page),
            pid=child.running.pid if child.running else 0,
            received=page.get(Counter.RECEIVED),
            sent=usage[0],
            fps=(usage[0] - sent) / span if span else float("nan"),
            dropped=page.get(Counter.DROPPED),
            overwritten=page.get(Counter.OVERWRITTEN),
            refused=page.get(Counter.REFUSED),
            skipped=page.get(Counter.SKIPPED),
            restarts=child.restarts,
            in_flight=page.get(Counter.IN_FLIGHT),
            service_ms=(p50, p99),
            age_ms=_quantiles(page.age.counts()),
            rss_mb=_resident_mb(child),
            cpu=max(0.0, 100 * (usage[1] - cpu) / span) if span else float("nan"),
        )

    def _source(self, child: Child) -> SourceRow:
        source = child.process.source
        assert source is not None
        state, address = _state(child, child.page), self._shown(source.address)
        return SourceRow(source.name, state, address, child.page.get(Counter.UNSENT))


def _state(child: Child, page: Page) -> str:
    if child.ended:
        return "ended"
    return State(page.get(Counter.STATE)).name.lower() if child.running else "crashed"


def _quantiles(counts: Sequence[int]) -> tuple[float, float, float]:
    p50, p95, p99 = (quantile(counts, q) for q in QUANTILES)
    return p50, p95, p99


def _cpu_seconds(child: Child) -> float:
    """User and system time of the process that runs now; /proc/PID/stat, see proc(5)."""
    fields = _proc(child, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def _resident_mb(child: Child) -> float:
    fields = _proc(child, "statm").split()
    return int(fields[1]) * PAGE_BYTES / 1e6 if fields else float("nan")


def _proc(child: Child, name: str) -> str:
    try:
        return Path(f"/proc/{child.running.pid}/{name}").read_text() if child.running else ""
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has just ended
