"""What a gate prints while it runs, and what a run came to; in a process of its own, as its standard output tells."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from pipeline.home import home
from stages.gate.commands import Announcer
from stages.gate.health import Pulse
from stages.gate.report import Report
from stages.gate.settings import GateSettings
from tests.command import ROOT
from tests.stages.gate.door import Door, reader
from tests.stages.gate.scene import Camera, calibrated

CHILD = """
import sys
from stages.gate.commands import Announcer
from stages.gate.settings import GateSettings
from tests.stages.gate.door import Door
door, announcer = Door(), Announcer(GateSettings(), sys.argv[1:] == ["--json"])
door.comes("Ada")
door.comes("nobody", similarity=0.2, frames=9)
announcer.show(dict)
announcer.end()
"""


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


def printed(stdout: int, *words: str) -> None:
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", CHILD, *words], stdout=stdout, cwd=ROOT, env=environment, check=False)
    os.close(stdout)
    assert done.returncode == 0


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_names_go_into_no_journal_unless_asked_for(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "journal"
    printed(os.open(file, os.O_WRONLY | os.O_CREAT), *words)
    text = file.read_text()
    assert ("Ada" in text) is bool(words)
    assert "opened" in text
    assert "unknown" in text


def test_names_are_on_a_terminal() -> None:
    ours, theirs = os.openpty()
    printed(theirs)
    assert "Ada may come in" in os.read(ours, 1 << 16).decode()
    os.close(ours)


def test_a_report_counts_and_keeps_nobody() -> None:
    door, report = Door(), Report(reader())
    for _ in range(3):
        door.comes("Ada")
        door.goes()
    assert any(event.decision and event.decision.name == "Ada" for event in report.news())
    summary = report.summary()
    assert (summary.opened, summary.refused) == (3, 0)
    assert list(summary.age_ms) == ["p50", "p95", "p99"]
    assert sorted(summary.age_ms.values()) == list(summary.age_ms.values())
    assert "Ada" not in str(vars(report))
    assert Report(reader()).summary().age_ms == {}


def test_what_a_person_should_know_is_said_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    def said(**gate: object) -> str:
        Announcer(msgspec.convert({"gate": gate}, GateSettings), as_json=False)
        return capsys.readouterr().out

    assert "no liveness: a photo of somebody who is enrolled is taken for them" in said(liveness="none")
    assert "passes an active challenge one time in two" in said(liveness="active")
    assert "not calibrated: only simulated doors open; run gate calibrate" in said()
    calibrated()
    assert said() == ""


def test_a_calibration_that_does_not_hold_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    announcer, door = Announcer(GateSettings(), as_json=False), Door()
    calibrated(model="another:89ab")
    capsys.readouterr()
    for _ in range(2):
        door.comes("Ada")
        door.gate._looked = -math.inf
        door.gate.tick(time.monotonic())
        announcer.show(dict, last=True)
    told = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
    again = "the threshold was calibrated for another embedder: run gate calibrate again"
    assert told == [f"WARNING: only simulated doors open: {again}"]


def test_a_camera_that_is_lost_is_told_of_once_and_once_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    camera, added = Camera(), [0]
    steady = time.monotonic_ns
    monkeypatch.setattr("stages.gate.health.time.monotonic_ns", lambda: steady() + added[0])
    announcer, pulse = Announcer(GateSettings(), as_json=False), Pulse(home(), deadline_ms=1000)
    for _ in range(2):
        pulse.see(camera().frame)
        for later_ns in (1_000_000_000, 2_000_000_000, 2_000_000_000):
            added[0] += later_ns
            pulse.beat(0, "")
            announcer.show(dict, last=True)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cam0")]
    lost = "cam0: no picture for 2 s; nobody is seen there until it is back"
    assert told == [lost, "cam0: there are pictures again", lost]
