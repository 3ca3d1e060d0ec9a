"""One decision a passage. Real databases, made-up faces."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from stages.events.queues import Commands
from stages.gallery.people import Access
from stages.gate.config import DoorConfig, GroupConfig
from stages.gate.decisions import COMMAND_NS
from stages.gate.gate import Gate
from tests.stages.gate.door import Door, reader
from tests.stages.gate.scene import SNAPSHOT, turned


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


def test_an_enrolled_person_is_let_in_once_a_passage(door: Door) -> None:
    assert door.comes("Ada", frames=20) == "come in"
    (made,) = door.decisions()
    assert (made.outcome, made.name, made.person, made.door) == ("opened", "Ada", door.people["Ada"], "door")
    assert made.score == pytest.approx(0.8)
    assert made.age_ms is not None
    assert made.age_ms >= 5
    assert len(made.ballots) == 2
    assert door.ordered() == 1
    assert reader().snapshot(door.events()[0].seq) == SNAPSHOT
    door.goes(5)
    door.comes("Ada")  # back within the gap: another track, the same passage
    assert door.told() == [("opened", "")]
    door.goes()
    door.comes("Ada")
    assert door.told() == [("opened", "")] * 2


def test_a_stranger_is_kept_out_and_written_down_once_gone(door: Door) -> None:
    assert door.comes("nobody", similarity=0.3) == ""
    assert door.told() == []
    door.goes(5)
    assert door.told() == [("refused", "unknown")]
    door.goes()
    assert (door.told(), door.ordered()) == ([("refused", "unknown")], 0)
    assert door.decisions()[0].person == ""


def test_a_stranger_who_stays_is_decided_about_when_all_faces_are_used_up(door: Door) -> None:
    assert door.comes("nobody", frames=9, similarity=0.3) == "no entry"
    assert door.told() == [("refused", "unknown")]


def test_one_good_look_is_not_enough(door: Door) -> None:
    door.comes("Ada", frames=1)
    door.comes("Ada", frames=3, similarity=0.5)
    door.goes(5)
    assert (door.told(), door.ordered()) == ([("refused", "unknown")], 0)


def test_a_restart_does_not_open_twice(door: Door) -> None:
    door.comes("Ada")
    door.restart()
    door.comes("Ada")
    assert door.told() == [("opened", "")]


def test_a_restart_in_the_middle_goes_on_where_it_was(door: Door) -> None:
    door.comes("Ada", frames=1)
    door.restart()
    assert door.told() == []
    assert door.comes("Ada", frames=1) == "come in"
    assert door.told() == [("opened", "")]


def test_a_stranger_is_not_lost_in_a_restart(door: Door) -> None:
    door.comes("nobody", similarity=0.3)
    door.restart()
    door.goes()
    assert door.told() == [("refused", "unknown")]


def test_a_window_that_cannot_be_read_opens_nothing_and_stops_nobody_else(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a gallery from before windows were checked may have one."""
    monkeypatch.setattr("stages.gallery.store.check", lambda access: None, raising=False)
    door.store.set_access("Ada", Access(windows=("whenever",)))
    assert door.comes() == "no entry"
    door.goes()
    assert door.comes("Bob") == "come in"
    assert door.told() == [("refused", "unreadable"), ("opened", "")]


def test_groups_and_windows_decide(door: Door) -> None:
    door.gate.close()
    door.config = msgspec.structs.replace(door.config, groups={"staff": GroupConfig()})
    door.gate = Gate(door.config)
    door.store.set_access("Ada", Access(groups=("staff",)))
    door.comes("Ada")
    door.comes("Bob")
    assert door.told() == [("opened", ""), ("refused", "no-group")]


def test_who_has_expired_is_kept_out_from_the_next_passage_on(door: Door) -> None:
    door.comes("Ada")
    door.store.set_access("Ada", Access(valid_until=datetime.now(UTC) - timedelta(minutes=1)))
    door.goes()
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "expired")]


def test_who_is_forgotten_while_the_gate_runs_is_a_stranger(door: Door) -> None:
    door.comes("Bob")
    door.store.forget("Ada")
    door.goes()
    door.comes("Ada")
    door.goes()
    assert door.told() == [("opened", ""), ("refused", "unknown")]


def test_the_watch_list_raises_an_alarm_and_opens_nothing(door: Door) -> None:
    door.store.set_access("Ada", Access(watch=True))
    assert door.comes("Ada") == "no entry"  # no word of the alarm
    assert (door.told(), door.ordered()) == ([("alarm", "watch-list")], 0)


def test_outputs_are_told_of_every_decision() -> None:
    door = Door(notify=["mqtt", "hook"])
    door.comes("Ada")
    assert reader().all("SELECT output, seq FROM outbox ORDER BY output") == [("hook", 2), ("mqtt", 2)]
    door.gate.close()


@pytest.mark.parametrize(
    ("live", "threshold", "told"),
    [
        (0.9, 0.5, [("opened", "")]),
        (0.3, 0.5, [("refused", "not-live")]),
        (math.nan, 0.5, [("refused", "not-live")]),  # the network told nothing: too small a face
        (0.9, math.nan, [("refused", "not-live")]),  # there is no network at all
    ],
)
def test_passive_liveness(live: float, threshold: float, told: list[tuple[str, str]]) -> None:
    door = Door(liveness="passive")
    door.camera.live_threshold = threshold
    door.comes("Ada", frames=9, live=live)
    assert door.told() == told
    assert door.ordered() == sum(outcome == "opened" for outcome, _ in told)
    door.gate.close()


def test_active_liveness_asks_for_a_turn_of_the_head() -> None:
    door = Door(liveness="active")

    def shown(yaw: str, picked: bool) -> str:
        return door.gate(door.camera(door.seen(points=turned(yaw), picked=picked))).verdicts[0]

    door.comes("Ada", points=turned("ahead"))
    said = shown("ahead", picked=False)
    side = said.rpartition(" ")[2]
    assert said in ("turn your head to your left", "turn your head to your right")
    assert shown(side, picked=False) == said  # whose face is turned has not been looked at
    assert shown(side, picked=True) == "look at the camera again"
    assert shown("ahead", picked=False) == "look at the camera"
    assert door.told() == []  # nor whose face it is that comes back
    assert shown("ahead", picked=True) == "come in"
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_a_command_of_a_decision_is_for_its_door_and_expires(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.comes("Ada")
    command = Commands(reader(), "door").take()
    assert command
    assert command.seconds == DoorConfig(name="door").seconds
    assert 0 < command.until_ns - time.time_ns() <= COMMAND_NS
    door.goes()
    door.comes("Ada")
    assert door.ordered() == 2
    steady = time.clock_gettime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: steady(clock) + COMMAND_NS)
    assert Commands(reader(), "door").take() is None
