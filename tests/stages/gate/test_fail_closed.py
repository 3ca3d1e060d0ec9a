"""Closed whenever something is broken, missing or not to be believed."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.events import schema
from stages.gallery.people import Access
from stages.gate import calibration, clock
from stages.gate.gate import Gate
from tests.stages.gate.door import SECOND, Door, jump, reader
from tests.stages.gate.scene import MODEL, calibrated, embedding


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


def real_door(**more: object) -> dict[str, object]:
    """A door that something real opens."""
    return {"doors": [{"name": "front", "output": "relay", **more}], "simulated": ["simulated"]}


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        (None, "uncalibrated"),
        ({}, ""),
        ({"model": "another"}, "uncalibrated"),
        ({"detector": "another"}, "uncalibrated"),
        ({"mode": "1:1"}, "uncalibrated"),
        ({"far": 0.1}, "uncalibrated"),
        ({"photos": 1}, "uncalibrated"),
        ({"most": 4}, "uncalibrated"),
        ({"threshold": 0.7}, "uncalibrated"),
    ],
)
def test_a_real_door_needs_a_calibration_that_holds(calibration: dict[str, object] | None, reason: str) -> None:
    if calibration is not None:
        calibrated(**calibration)
    door = Door(**real_door())
    door.comes("Ada")
    assert door.told() == [("refused", reason) if reason else ("opened", "")]
    assert door.decisions()[0].far == (0.01 if not reason else None)
    door.gate.close()


def test_another_photo_of_somebody_who_is_enrolled_outgrows_a_calibration() -> None:
    calibrated(photos=2)
    door = Door(**real_door())
    door.comes("Ada")
    door.store.add("Ada", MODEL, embedding(4)[None])
    door.goes()
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "uncalibrated")]
    door.gate.close()


def test_a_calibration_that_cannot_be_read_stops_the_gate(door: Door) -> None:
    (home() / calibration.NAME).write_text("{")
    with pytest.raises(Failed, match="run gate calibrate again"):
        door.comes("Ada")
    assert door.ordered() == 0


def test_a_clock_that_jumps_keeps_out_those_who_may_come_at_certain_times_only(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    real = time.time_ns
    monkeypatch.setattr(clock, "wall_ns", lambda: real() + 3600 * SECOND)
    door.goes(0)
    door.comes("Ada")
    door.comes("Bob")
    assert door.told() == [("refused", "clock"), ("opened", "")]
    assert any(event.kind == "clock" for event in door.events())


def test_a_restart_makes_no_clock_that_jumped_believed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    jump(monkeypatch, 3600)
    door.goes(0)
    door.comes("Ada")
    door.goes()
    door.restart()
    door.comes("Ada")
    assert door.told() == [("refused", "clock")] * 2


def test_a_clock_behind_the_log_is_not_believed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    door.comes("Bob")
    jump(monkeypatch, -3600)
    for _ in range(2):
        door.restart()  # so no jump is seen, only that the log is from the future; the first start writes a row, too
        door.comes("Ada")
        door.goes()
    assert door.told() == [("opened", ""), ("refused", "clock"), ("refused", "clock")]


def test_a_clock_that_was_set_back_is_believed_in_the_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a log with rows from the future would keep the door shut until then."""
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    jump(monkeypatch, -3600)
    door.goes(0)
    with reader().transaction() as rows:
        rows.execute("UPDATE chain SET at_ns = at_ns - ? WHERE kind = 'clock'", (clock.SETTLE_NS,))
    door.restart()
    door.comes("Ada")
    assert door.told() == [("opened", "")]


def test_while_the_database_is_locked_nothing_opens(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.1)
    door.comes("Bob")
    door.restart()
    blocker = sqlite3.connect(home() / "gate.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Failed, match="locked"):
        door.comes("Ada")
    blocker.close()
    assert door.told() == [("opened", "")]


@pytest.mark.parametrize("lost", ["events-*", "gallery-*", "../master.key"])
def test_without_a_key_nothing_opens(door: Door, lost: str) -> None:
    door.comes("Bob")
    (path,) = keys().glob(lost) if "/" not in lost else [keys() / lost]
    path.rename(path.with_name("lost"))

    def fail() -> None:
        door.restart()
        door.comes("Ada")

    with pytest.raises(Failed, match="put that file back"):
        fail()
    path.with_name("lost").rename(path)
    assert door.ordered() == 1


def test_a_corrupt_database_stops_the_gate() -> None:
    door = Door()
    door.gate.close()
    (home() / "gate.sqlite").write_bytes(b"\1" * 8192)
    with pytest.raises(Failed, match="damaged"):
        Gate(door.config)


def test_two_gates_on_one_database(door: Door) -> None:
    with pytest.raises(Failed, match="another gate runs"):
        Gate(door.config)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"timezone": "Mars/Olympus"}, "gate.timezone"),
        ({"groups": {"staff": {"windows": ["always"]}}}, "weekly time window"),
    ],
)
def test_a_config_that_makes_no_sense(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(Usage, match=sentence):
        Door(**config)


def test_a_log_without_its_id_is_a_sentence(door: Door) -> None:
    with reader().transaction() as rows:
        rows.execute("DELETE FROM ledger")
    with pytest.raises(Failed, match=r"gate\.sqlite are damaged"):
        reader()
