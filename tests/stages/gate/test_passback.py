"""Who came in already, and who waits for a second person."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stages.events.queues import Commands
from stages.gallery.people import Access
from stages.gate import clock
from tests.stages.gate.door import SECOND, Door, jump, reader
from tests.stages.gate.scene import MODEL, Camera, embedding


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


def test_nobody_comes_in_twice_without_going_out() -> None:
    doors = [
        {"name": "in", "cameras": ["cam0"], "passback": "strict"},
        {"name": "out", "cameras": ["cam1"], "direction": "out", "passback": "strict"},
    ]
    door = Door(doors=doors)
    door.comes("Ada")
    door.goes()
    door.comes("Ada")
    door.camera = Camera("cam1")
    door.comes("Ada")
    door.goes()
    door.camera = Camera("cam0")
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "passback"), ("opened", ""), ("opened", "")]
    door.gate.close()


@pytest.mark.parametrize("config", [{"doors": [{"name": "door", "passback": "strict"}]}, {"mode": "1:1"}])
def test_two_cameras_at_one_door_decide_once(config: dict[str, object]) -> None:
    door, other = Door(**config), Camera("cam1")
    badge = door.store.badge("a") or ""
    door.store.set_access("Ada", Access(badges=(badge,)))
    reader().claim("door", badge, clock.boot_ns() + 15 * SECOND)
    there = dataclasses.replace(door.seen(), track=9)
    for _ in range(3):
        said = door.gate(door.camera(door.seen())).verdicts + door.gate(other(there)).verdicts
    door.goes(6)
    assert door.told() == [("opened", "")]
    if door.config.mode == "1:N":
        assert said == ("come in", "come in")
    door.gate.close()


def test_who_went_from_one_camera_of_a_door_is_let_in_before_the_other() -> None:
    door = Door()
    door.comes("Ada", age_ms=1500)
    door.goes(6)
    assert door.told() == [("refused", "late")]
    door.camera = Camera("cam1")
    assert door.comes("Ada") == "come in"
    door.gate.close()


def test_timed_passback_outlives_a_restart() -> None:
    door = Door(doors=[{"name": "in", "passback": "timed", "passback_minutes": 10}])
    door.comes("Ada")
    door.goes()
    door.restart()
    door.comes("Ada")
    door.comes("Bob")
    assert door.told() == [("opened", ""), ("refused", "passback"), ("opened", "")]
    door.gate.close()


def test_two_people_are_needed_and_they_are_two() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30}])
    assert door.comes("Ada") == "wait for a second person"
    door.goes()
    door.comes("Ada")
    door.comes("Bob")
    assert door.told() == [("held", "second-person"), ("held", "second-person"), ("opened", "")]
    assert "together with a second person" in door.decisions()[-1].why
    door.gate.close()


@pytest.mark.parametrize(
    "access",
    [Access(watch=True), Access(valid_until=datetime.now(UTC)), Access(windows=("daily 00:00-24:00",))],
)
def test_the_first_of_two_has_still_to_be_allowed_in_when_the_second_comes(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30}])
    door.comes("Ada")
    door.store.set_access("Ada", access)
    door.goes(0)
    if access.windows:
        jump(monkeypatch, 3600)
    door.comes("Bob")
    assert (door.told(), door.ordered()) == ([("held", "second-person")] * 2, 0)
    door.gate.close()


@pytest.mark.parametrize(
    ("who", "picked", "told"),
    [
        ("Ada", True, ("opened", "")),
        ("Ada", False, ("held", "second-person")),  # nobody knows whose face it is
        ("nobody", True, ("held", "second-person")),  # somebody has come upon her track
    ],
)
def test_the_first_of_two_may_stand_there_for_as_long_as_it_takes(
    who: str, picked: bool, told: tuple[str, str]
) -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 5}], deadline_ms=20_000)
    door.comes("Ada", age_ms=9000)
    for _ in range(2):
        door.gate(door.camera(door.seen(who, 0.8 if who == "Ada" else 0.05, picked=picked), age_ms=4500))
    door.comes("Bob")
    assert door.told() == [("held", "second-person"), told]
    door.gate.close()


def test_who_is_seen_in_pictures_that_come_late_is_no_first_of_two() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 60}])
    assert door.comes("Ada", age_ms=1500) == ""
    door.comes("Bob")
    assert (door.told(), door.ordered()) == ([("held", "second-person")], 0)
    door.goes()
    assert door.told()[1:] == [("refused", "late")]
    door.gate.close()


def test_who_waits_in_vain_again_and_again_is_kept_once() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 1}])
    for _ in range(3):
        door.comes("Ada")
        door.goes()
    assert [*door.gate._decisions._pairs._waiting["vault"]] == [door.people["Ada"]]
    door.gate.close()


def opens(door: Door, detail: str = "") -> None:
    """Ada comes, and her door does as it is ordered, or says why not."""
    door.comes("Ada")
    commands = Commands(reader(), "in")
    if command := commands.take():
        commands.finish(command, detail)
    door.goes()


def test_a_door_that_fails_leaves_the_time_when_somebody_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(doors=[{"name": "in", "passback": "timed", "passback_minutes": 10}])
    opens(door)
    wall, since_boot, passed = time.time_ns, time.clock_gettime_ns, 20 * 60 * SECOND
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: since_boot(which) + passed)
    monkeypatch.setattr(time, "time_ns", lambda: wall() + passed)
    opens(door, "the relay does not answer")
    opens(door)
    opens(door)
    assert door.told() == [("opened", "")] * 3 + [("refused", "passback")]
    door.gate.close()


@pytest.mark.parametrize(("ahead_s", "minutes", "told"), [(86_400, 25, "opened"), (86_400, 5, "refused")])
def test_passback_goes_by_the_time_since_boot(
    monkeypatch: pytest.MonkeyPatch, ahead_s: int, minutes: int, told: str
) -> None:
    """The clock on the wall was ahead when she came in, and has been put right."""
    door = Door(doors=[{"name": "in", "passback": "timed", "passback_minutes": 10}])
    wall, since_boot = time.time_ns, time.clock_gettime_ns
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time_ns", lambda: wall() + ahead_s * SECOND)
        door.gate._clock = clock.Clock(0)
        door.gate._decisions._clock = door.gate._clock
        door.comes("Ada")
    door.goes()
    passed = minutes * 60 * SECOND
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: since_boot(which) + passed)
    monkeypatch.setattr(time, "time_ns", lambda: wall() + passed)
    door.gate._decisions._clock = clock.Clock(0)  # it has settled since
    door.comes("Ada")
    assert door.told()[-1][0] == told
    assert "-" not in door.decisions()[-1].why
    door.gate.close()


def test_the_first_of_two_who_has_come_in_meanwhile_is_no_second() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30, "passback": "strict"}])
    door.comes("Ada")
    with reader().commit() as commit:
        commit.move(door.people["Ada"], True, clock.wall_ns(), None)
    door.comes("Bob")
    assert (door.told(), door.ordered()) == ([("held", "second-person")] * 2, 0)
    door.gate.close()


def test_after_a_restart_nobody_waits() -> None:
    """How long ago it was only the clock on the wall would say, and that may have been set."""
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30}])
    door.comes("Ada")
    door.restart()
    assert door.comes("Bob") == "wait for a second person"
    assert (door.told(), door.ordered()) == ([("held", "second-person")] * 2, 0)
    door.gate.close()


def test_a_photo_of_who_waits_is_nobody_who_waits() -> None:
    door = Door(liveness="passive", doors=[{"name": "vault", "two_person_seconds": 5}])
    door.camera.live_threshold = 0.5
    door.comes("Ada", live=0.9)
    her = door.tracks
    door.gate._decisions._pairs._waiting["vault"][door.people["Ada"]] -= 60 * SECOND
    photo = dataclasses.replace(door.seen("Ada", live=0.1), track=her)
    door.gate(door.camera(photo))
    door.comes("Bob", live=0.9)
    assert (door.told(), door.ordered()) == ([("held", "second-person")] * 2, 0)
    door.gate.close()


def test_one_who_waits_lets_in_one_and_both_have_come_in() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30}])
    door.store.add("Cyd", MODEL, embedding(4)[None])
    cyd = next(person.id.hex() for person in door.store.people() if person.name == "Cyd")
    door.comes("Ada")
    door.comes("Bob")
    door.people["Cyd"] = cyd
    door.comes("Cyd")
    assert door.told() == [("held", "second-person"), ("opened", ""), ("held", "second-person")]
    assert [reader().presence(door.people[name]) is not None for name in ("Ada", "Bob", "Cyd")] == [True, True, False]
    door.gate.close()


def test_a_clock_that_jumps_ends_no_passback(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(doors=[{"name": "door", "passback": "timed", "passback_minutes": 10}])
    door.comes("Ada")
    door.goes()
    jump(monkeypatch, 3600)
    door.goes(0)
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "clock")]
    door.gate.close()
