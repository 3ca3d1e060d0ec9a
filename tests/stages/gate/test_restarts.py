"""What a gate makes, at its start, of what it finds: passages of another boot, notices for an output that is gone."""

from __future__ import annotations

import json
import math
import time

import msgspec
import pytest

from stages.events.audit import audit
from stages.events.queues import Outbox
from stages.events.retention import RetentionConfig
from stages.gate import clock
from stages.gate.gate import DAY_S, Gate
from tests.stages.events.conftest import retain_all
from tests.stages.gate.door import SECOND, Door, jump, reader


@pytest.fixture(autouse=True)
def _data(places: object) -> None:
    """Every test has data of its own."""


def reboots(door: Door, ago_s: float) -> None:
    """The machine was up for a year then, and the passage was seen so long ago."""
    with reader().transaction() as rows:
        values = (365 * 86_400 * SECOND, int(ago_s * SECOND))
        rows.execute("UPDATE passages SET boot = 'another', seen_ns = ?, at_ns = at_ns - ?", values)
    door.restart()


@pytest.mark.parametrize(("ago_s", "opened"), [(1, 1), (60, 2)])
def test_after_a_reboot_the_wall_clock_says_how_long_ago_a_passage_was(ago_s: float, opened: int) -> None:
    door = Door()
    door.comes("Ada")
    reboots(door, ago_s)
    door.goes(0)
    door.comes("Ada")
    assert door.told() == [("opened", "")] * opened
    door.gate.close()


def test_faces_of_another_boot_are_no_evidence_of_who_stands_there_now() -> None:
    """The clock on the wall may have stood still meanwhile, and the monotonic one be where it was then."""
    door = Door()
    door.comes("Ada", age_ms=1500)
    reboots(door, 0)
    assert door.comes("nobody", frames=1, similarity=0.3) == ""
    assert door.comes("Ada", frames=1) == ""
    assert (door.told(), door.ordered()) == ([], 0)
    door.gate.close()


def test_who_was_recognized_before_a_restart_and_is_gone_after_it_is_no_stranger() -> None:
    door = Door()
    door.comes("Ada", age_ms=1500)
    door.restart()
    door.goes()
    (made,) = door.decisions()
    assert (made.reason, made.name) == ("gone", "Ada")
    assert reader().snapshot(door.events()[0].seq)
    door.store.forget("Ada")
    door.goes(0)
    assert reader().snapshot(door.events()[0].seq) is None
    door.gate.close()


def test_a_face_of_long_ago_is_no_evidence_of_who_stands_there_now() -> None:
    door = Door()
    door.comes("Ada", frames=1, age_ms=15_000)
    door.gate(door.camera(door.seen("Ada")))
    assert door.told() == []
    door.gate(door.camera(door.seen("Ada")))
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_notices_for_an_output_that_is_gone_are_told_of_and_go_out_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door(notify=["mqtt", "hook"])
    door.comes("Ada")
    door.gate.close()

    Gate(msgspec.structs.replace(door.config, notify=("hook",))).close()

    assert "notices wait for outputs that are not in gate.notify" in caplog.text
    note = reader().events(limit=1)[0].note
    assert json.loads(note)["waiting"] == {"mqtt": 1}
    assert audit(reader(), []).findings == ()
    caplog.clear()
    gate = Gate(door.config)
    assert caplog.text == ""
    assert Outbox(reader(), "mqtt").next() is not None
    gate.close()


def test_what_is_too_old_goes_a_portion_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are decided on in between."""
    monkeypatch.setattr("stages.events.retention.PORTION", 2)
    door = Door(retention={"events": None, "strangers": None, "snapshots": 1.0})
    for _ in range(5):
        door.comes("Ada")
        door.goes()
    with reader().transaction() as rows:
        rows.execute("UPDATE chain SET at_ns = 1")
    door.gate._retained = -math.inf
    left = []
    for _ in range(5):
        door.goes()
        left.append(reader().one("SELECT count(*) FROM sealed WHERE snapshot IS NOT NULL"))
    assert left == [(3,), (1,), (0,), (0,), (0,)]
    door.gate.close()


def test_notices_for_an_output_that_stays_away_go_with_their_decisions() -> None:
    door = Door(notify=["mqtt"])
    door.comes("Ada")
    with reader().transaction() as rows:
        rows.execute("UPDATE chain SET at_ns = 1")
    door.gate.close()
    gate = Gate(msgspec.structs.replace(door.config, notify=()))
    retain_all(reader(), RetentionConfig())
    assert reader().all("SELECT 1 FROM outbox") == []
    gate.close()


@pytest.mark.parametrize(("who", "like", "told"), [("nobody", 0.2, "unknown"), ("Ada", 0.8, "gone")])
def test_a_reboot_loses_nobody_who_was_seen_before_it(who: str, like: float, told: str) -> None:
    door = Door()
    door.comes(who, similarity=like, age_ms=1500)
    reboots(door, 1)
    door.goes()
    assert door.told() == [("refused", told)]
    assert reader().snapshot(door.events()[0].seq)
    door.gate.close()


def test_for_who_stands_there_no_time_goes_by_while_the_gate_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    door.comes("Ada")
    real = clock.boot_ns
    monkeypatch.setattr("stages.gate.gate.boot_ns", lambda: real() + 11 * SECOND)  # its database has hung so long
    door.gate._looked = -math.inf
    door.gate.tick(time.monotonic())
    door.gate(door.camera(door.seen()))  # from before
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_a_passage_that_was_over_before_a_restart_is_not_taken_up() -> None:
    door = Door()
    door.comes("Ada")
    with reader().transaction() as rows:
        rows.execute("UPDATE passages SET seen_ns = seen_ns - ?", (60 * SECOND,))
    door.restart()
    door.comes("Ada")
    assert door.told() == [("opened", "")] * 2
    door.gate.close()


def test_a_clock_that_may_be_ahead_makes_nothing_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    door.comes("Ada")
    jump(monkeypatch, 4000 * 86_400)
    door.restart()  # it finds a clock that has not jumped since
    door.goes()
    assert door.told() == [("opened", "")]
    due = door.gate._retained + DAY_S
    for look in range(10):
        door.gate.tick(due + look)
    assert door.told() == []  # it was not put right for ten minutes
    door.comes("Bob")
    door.gate._retained = -math.inf
    jump(monkeypatch, 4000 * 86_400)  # now it is seen
    for look in range(10, 20):
        door.gate.tick(due + look)
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_a_passage_that_another_version_kept_stays_decided() -> None:
    door = Door()
    door.comes("Ada")
    (kept,) = reader().passages()
    other = msgspec.msgpack.encode(msgspec.msgpack.decode(kept.evidence) | {"holders": [["a", 1]]})
    with reader().commit() as commit:
        commit.keep(msgspec.structs.replace(kept, evidence=other))
    door.restart()
    door.comes("Ada")
    assert door.told() == [("opened", "")]
    door.gate.close()
