"""How far several pieces of work are: a bar each on a terminal, elsewhere a line every few seconds or for each."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stages.highlight.words import plain

LINE_EVERY_S = 5.0


class Bars:
    """Bars with the time left. To be told from any thread."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._console, self._plain = console, not console.is_terminal
        self._said: dict[TaskID, float] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, what: str, total: float) -> TaskID:
        """A bar for `what`."""
        task = self._progress.add_task(plain(what), total=total)
        self._said[task] = time.monotonic()
        return task

    def show(self, task: TaskID, done: float) -> None:
        """So much of its total is done."""
        self._progress.update(task, completed=done)
        if self._plain and time.monotonic() - self._said[task] >= LINE_EVERY_S:
            self._say(task, f"{min(99.0, self._row(task).percentage):.0f} %")

    def advance(self, task: TaskID) -> None:
        """One more of its total is done."""
        self._progress.advance(task)
        if self._plain:
            self._say(task, f"{self._row(task).completed:.0f} of {self._row(task).total:.0f}")

    def _say(self, task: TaskID, done: str) -> None:
        self._said[task] = time.monotonic()
        row = self._row(task)
        left = f", {row.time_remaining:.0f} s left" if row.time_remaining else ""
        text = f"{row.description}: {done}{left}"
        self._console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def _row(self, task: TaskID) -> Task:
        return next(row for row in self._progress.tasks if row.id == task)

    def end(self, task: TaskID) -> None:
        """It is done: its place is free for another."""
        self._progress.remove_task(task)
