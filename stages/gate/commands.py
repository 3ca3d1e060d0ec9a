"""What `gate` says while it runs, and the commands below it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from pipeline.home import home, keys
from stages.events.audit import audit_command
from stages.events.ledger import Ledger
from stages.gate.account import account
from stages.gate.calibrate import calibrate
from stages.gate.clip import clip
from stages.gate.enrolled import UNCALIBRATED
from stages.gate.health import QUIET_S, health, lost
from stages.gate.out import out
from stages.gate.pad import evaluate_pad
from stages.gate.report import Report, line
from stages.gate.settings import GateSettings, warnings
from stages.gate.wrong import wrong
from stages.show.web.show import announced, sentences

LOOK_S = 0.2
COLORS = {"opened": "bold green", "refused": "yellow", "held": "cyan", "alarm": "bold red"}

COMMANDS: dict[str, Callable[..., None]] = {
    "account": account,
    "audit": audit_command,
    "calibrate": calibrate,
    "clip": clip,
    "evaluate-pad": evaluate_pad,
    "out": out,
    "wrong": wrong,
}


class Announcer:
    """Prints what is decided, as it is decided; names on a terminal and in JSON only, as no journal forgets."""

    def __init__(self, settings: GateSettings, as_json: bool) -> None:
        self._report = Report(Ledger(home(), keys(), create=True))
        self._console, self._as_json, self._names = Console(), as_json, sys.stdout.isatty()
        self._due, self._began_ns = 0.0, time.time_ns()
        self._started_ns, self._lost, self._objection = self._began_ns, set[str](), UNCALIBRATED
        if not as_json:
            for sentence in warnings(settings):
                self._console.print(Text(f"WARNING: {sentence}", style="bold red"), soft_wrap=True)

    def show(self, _snapshot: Callable[[], Any], *, last: bool = False) -> None:
        """Call as often as you like."""
        now = time.monotonic()
        if now < self._due and not last:
            return
        self._due = now + LOOK_S
        self._tell_address()
        self._tell_health()
        for event in self._report.news():
            if self._as_json:
                typer.echo(msgspec.json.encode(event))
            else:
                self._console.print(
                    Text(line(event, names=self._names), style=COLORS.get(event.kind, "dim")), soft_wrap=True
                )

    def _tell_address(self) -> None:
        """Where the page is, once it is there."""
        found = announced()
        if found and found.at_ns > self._began_ns:
            self._began_ns = found.at_ns
            if not self._as_json:
                for sentence in sentences(found):
                    self._console.print(Text(sentence), soft_wrap=True)  # in one piece, to be copied

    def _tell_health(self) -> None:
        """Which cameras are lost, which are back, and that the calibration does not hold, each once."""
        found = health(home())
        if found is None or found.at_ns < self._started_ns or self._as_json:
            return
        if found.objection not in ("", UNCALIBRATED, self._objection):  # that nothing is was said at the start
            self._console.print(
                Text(f"WARNING: only simulated doors open: {found.objection}", style="bold red"), soft_wrap=True
            )
        self._objection = found.objection
        quiet = lost(found)
        for name in sorted(quiet - self._lost):
            told = f"{name}: no picture for {QUIET_S:.0f} s; nobody is seen there until it is back"
            self._console.print(Text(told, style="bold red"), soft_wrap=True)
        for name in sorted(self._lost - quiet):
            self._console.print(Text(f"{name}: there are pictures again", style="green"), soft_wrap=True)
        self._lost = quiet

    def end(self) -> None:
        """What the whole run came to."""
        summary = self._report.summary()
        if self._as_json:
            typer.echo(msgspec.json.encode(summary))
            return
        ages = ", ".join(f"{name} {age:.0f} ms" for name, age in summary.age_ms.items())
        told = f"{summary.opened} opened, {summary.refused} refused, {summary.held} held, {summary.alarms} alarms"
        self._console.print(f"{told}; from capture to decision: {ages or 'none was made in time'}")
