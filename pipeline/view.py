"""The live terminal view: what runs, how fast, how late. It shows numbers and knows nothing of where they come from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

LIVE_EVERY_S, LINE_EVERY_S = 0.25, 5.0
WIDE, NARROW = 118, 56  # columns from which on every number, and the usual ones, have their place
STATE_STYLES = {
    "running": "green",
    "connecting": "yellow",
    "reconnecting": "yellow",
    "crashed": "bold red",
    "ended": "dim",
}


class SourceRow(msgspec.Struct, frozen=True):
    """A camera, stream, file or folder."""

    name: str
    state: str
    address: str  # without its password
    unsent: int = 0  # packets of its stream that a `packets` edge had no room for


class ProcessRow(msgspec.Struct, frozen=True):
    """One process's numbers; NaN where there is none yet."""

    name: str
    state: str
    pid: int = 0
    received: int = 0
    sent: int = 0  # results
    fps: float = math.nan  # results a second, lately
    dropped: int = 0  # overtaken by newer ones on a `latest` edge
    overwritten: int = 0  # the pixels were gone
    refused: int = 0  # messages that made no sense
    skipped: int = 0  # messages that killed the process twice
    restarts: int = 0
    in_flight: int = 0  # sent, and not done by its hearers
    service_ms: tuple[float, float] = (math.nan, math.nan)  # p50, p99 of the stages' own time, a message
    age_ms: tuple[float, float, float] = (math.nan, math.nan, math.nan)  # p50, p95, p99, capture to its result
    rss_mb: float = math.nan
    cpu: float = math.nan  # percent of one core

    @property
    def lost(self) -> int:
        """All that came in and has no result."""
        return self.dropped + self.overwritten + self.refused + self.skipped


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a run at one moment."""

    elapsed_s: float
    sources: tuple[SourceRow, ...]
    processes: tuple[ProcessRow, ...]
    frames: int  # results at the end of the graph
    fps: float
    drops: int  # in the whole graph
    age_ms: tuple[float, float, float]  # p50, p95, p99, capture to result


class View:
    """Shows a run on a terminal, four times a second; elsewhere as a plain line every few seconds; or not at all."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        # Not redirected: what is printed behind the view's back has to come out when its terminal is gone.
        live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live = live if console.is_terminal and not quiet else None
        self._due = 0.0

    def __enter__(self) -> View:
        if self._live:
            self._say(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say(self._stop)

    def show(self, snapshot: Callable[[], Snapshot], *, last: bool = False) -> None:
        """Call as often as you like: a snapshot is asked for when the next picture is due, and for the last one."""
        now = time.monotonic()
        if self._quiet or (now < self._due and not last):
            return
        self._due = now + (LIVE_EVERY_S if self._live else LINE_EVERY_S)
        shown = snapshot()
        self._say(lambda: self._show(shown))

    def _show(self, snapshot: Snapshot) -> None:
        if self._live:
            self._live.update(render(snapshot, self._console.width), refresh=True)
        else:
            self._console.print(headline(snapshot), soft_wrap=True)

    def _stop(self) -> None:
        if self._live:
            self._live.stop()

    def _say(self, words: Callable[[], None]) -> None:
        """A terminal that is gone, or a full disk behind it, ends the view and not the run."""
        try:
            words()
        except (OSError, SystemExit):  # rich ends the program for a closed pipe
            self._quiet, self._live = True, None


def render(snapshot: Snapshot, width: int) -> RenderableType:
    """The whole picture, `width` columns wide; the most important lines come first, as a low terminal cuts the rest."""
    parts: list[RenderableType] = [headline(snapshot), Text(), _processes(snapshot.processes, width), Text()]
    parts.append(_sources(snapshot.sources))
    return Group(*parts)


def headline(snapshot: Snapshot) -> Text:
    """The totals, on one line of at most 80 columns."""
    minutes, seconds = divmod(int(snapshot.elapsed_s), 60)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{minutes:02}:{seconds:02}", "bold")
    line.append(f"  {snapshot.frames} frames  {_number(snapshot.fps, 1)} fps  ")
    line.append(f"{snapshot.drops} dropped", "yellow" if snapshot.drops else "")
    line.append("  age p50/p95/p99 ")
    line.append(f"{_numbers(snapshot.age_ms)} ms", "bold")
    return line


class Column(NamedTuple):
    """A number of a process, and on what terminals it has its place."""

    title: str
    cell: Callable[[ProcessRow], Text]
    narrow: bool = True
    wide: bool = True
    least: bool = False  # on a very narrow one


def _count(field: str, style: str = "") -> Callable[[ProcessRow], Text]:
    """A counter; `style` where it is not 0."""
    return lambda row: Text(f"{(value := getattr(row, field))}", style if value else "")


def _measure(field: str, digits: int = 0) -> Callable[[ProcessRow], Text]:
    return lambda row: Text(_number(getattr(row, field), digits))


def _times(field: str, *which: int) -> Callable[[ProcessRow], Text]:
    return lambda row: Text("/".join(_number(getattr(row, field)[index]) for index in which))


COLUMNS = (
    Column("pid", _count("pid"), narrow=False),
    Column("in", _count("received"), narrow=False),
    Column("out", _count("sent"), least=True),
    Column("fps", _measure("fps", 1), least=True),
    Column("lost", _count("lost", "yellow"), wide=False, least=True),
    Column("drop", _count("dropped", "yellow"), narrow=False),
    Column("torn", _count("overwritten", "yellow"), narrow=False),
    Column("refused", _count("refused", "red"), narrow=False),
    Column("skip", _count("skipped", "red"), narrow=False),
    Column("queue", _count("in_flight"), narrow=False),
    Column("work ms", _times("service_ms", 0, 1)),
    Column("age ms", _times("age_ms", 0, 2), wide=False),
    Column("age 50/95/99", _times("age_ms", 0, 1, 2), narrow=False),
    Column("MB", _measure("rss_mb")),
    Column("CPU%", _measure("cpu")),
)


def _processes(rows: Sequence[ProcessRow], width: int) -> Table:
    kind = "wide" if width >= WIDE else "narrow" if width >= NARROW else "least"
    columns = [column for column in COLUMNS if getattr(column, kind)]
    table = _table()
    table.add_column("process", min_width=10, max_width=24)
    table.add_column("state", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for row in rows:
        state = _state(row.state)
        if row.restarts:
            state.append(f" ×{row.restarts}", "bold red")  # how often it was started again
        table.add_row(_name(row.name), state, *(column.cell(row) for column in columns))
    return table


def _state(state: str) -> Text:
    return Text(state, STATE_STYLES.get(state, ""))


def _sources(rows: Sequence[SourceRow]) -> Table:
    table = _table()
    table.add_column("source", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("state", no_wrap=True)
    table.add_column("address")
    for row in rows:
        state = _state(row.state)
        if row.unsent:
            state.append(f" {row.unsent} packets lost", "yellow")
        table.add_row(Text(row.name), state, _name(row.address))
    return table


def _name(text: str) -> Text:
    """A text that gives way to the numbers: rich shrinks a column that could wrap, and this cuts it instead."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")


def _number(value: float, digits: int = 0) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _numbers(values: Sequence[float]) -> str:
    return "/".join(map(_number, values))
