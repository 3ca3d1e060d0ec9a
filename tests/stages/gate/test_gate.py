"""One decision a passage, and closed whenever something is broken, missing or late. Real databases, made-up faces."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.events import schema
from stages.events.ledger import Ledger
from stages.events.queues import Commands
from stages.events.records import Decision, Event
from stages.gallery.people import Access
from stages.gallery.store import Store
from stages.gate import calibration, clock
from stages.gate.config import DoorConfig, GateConfig, GroupConfig
from stages.gate.gate import Gate
from stages.gate.passage import Vote
from stages.gate.passages import GAP_NS
from tests.stages.gate.scene import MODEL, SNAPSHOT, Camera, Seen, calibrated, embedding

SECOND = 1_000_000_000


class Door:
    """A gate with Ada and Bob enrolled, and what can be read of it."""

    def __init__(self, **config: object) -> None:
        self.store = Store(home(), keys())
        for seed, name in enumerate(("Ada", "Bob"), 1):
            self.store.add(name, MODEL, embedding(seed)[None])
        self.people = {person.name: person.id.hex() for person in self.store.people()}
        self.config = msgspec.convert({"liveness": "none", "detector": "detector:4567"} | config, GateConfig)
        self.camera = Camera()
        self.tracks = 0
        self.gate = Gate(self.config)

    def seen(self, name: str = "Ada", similarity: float = 0.8, **more: object) -> Seen:
        """Somebody, on the newest track."""
        seed = {"Ada": 1, "Bob": 2}.get(name, 3)
        person = self.people.get(name, self.people["Ada"])
        return Seen(self.tracks, embedding(seed), person, similarity, **more)  # type: ignore[arg-type]

    def comes(
        self, name: str = "Ada", frames: int = 3, similarity: float = 0.8, age_ms: float = 5, **more: object
    ) -> str:
        """Somebody comes, and is seen in so many frames; what is said to them at last."""
        self.tracks += 1
        said = ""
        for _ in range(frames):
            said = self.gate(self.camera(self.seen(name, similarity, **more), age_ms=age_ms)).verdicts[0]
        return said

    def goes(self, seconds: float = GAP_NS / SECOND + 1) -> None:
        """Time goes by for who was seen."""
        for passage in self.gate._passages.open:
            passage.seen_ns -= int(seconds * SECOND)
        self.gate._looked = -math.inf
        self.gate.tick(time.monotonic())

    def waits(self, seconds: float) -> None:
        """Time goes by for who stands there, and is still seen."""
        for passage in self.gate._passages.open:
            passage.first_seen_ns -= int(seconds * SECOND)
            passage.badge_ns -= int(seconds * SECOND)
            passage.votes = [_older(vote, seconds) for vote in passage.votes]
            passage.newest = passage.newest and _older(passage.newest, seconds)

    def events(self) -> list[Event]:
        return [event for event in reader().events() if event.kind not in ("started",)][::-1]

    def decisions(self) -> list[Decision]:
        return [event.decision for event in self.events() if event.decision]

    def told(self) -> list[tuple[str, str]]:
        return [(made.outcome, made.reason) for made in self.decisions()]

    def ordered(self) -> int:
        """How many door commands were given."""
        return len(reader().all("SELECT 1 FROM commands"))

    def restart(self) -> None:
        """As after a kill: nothing is closed in order, the kernel drops the lock."""
        import os

        os.close(self.gate._lock)
        self.gate = Gate(self.config)


def _older(vote: Vote, seconds: float) -> Vote:
    return msgspec.structs.replace(vote, captured_ns=vote.captured_ns - int(seconds * SECOND))


def reader() -> Ledger:
    return Ledger(home(), keys())


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.gate.close()


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


def test_a_stale_frame_opens_nothing_and_a_fresh_one_does(door: Door) -> None:
    door.comes("Ada", frames=6, age_ms=1500)
    assert (door.told(), door.ordered()) == ([], 0)
    door.comes("Ada", frames=1)
    assert door.told() == [("opened", "")]


def test_a_fresh_frame_makes_no_face_younger_that_was_compared_long_ago(door: Door) -> None:
    door.comes("Ada", age_ms=1500)
    door.gate(door.camera(door.seen(picked=False)))
    door.gate(door.camera(door.seen("nobody", 0.2)))  # compared, and not like her
    assert (door.told(), door.ordered()) == ([], 0)
    door.gate(door.camera(door.seen(), age_ms=300))
    door.gate(door.camera(door.seen(picked=False)))
    (made,) = door.decisions()
    assert made.outcome == "opened"
    assert made.age_ms is not None
    assert made.age_ms >= 300


def test_who_has_used_up_all_votes_has_still_to_be_there(door: Door) -> None:
    door.comes("Ada", frames=8, age_ms=1500)
    door.gate(door.camera(door.seen(picked=False)))
    assert door.told() == []
    door.gate(door.camera(door.seen()))
    (made,) = door.decisions()
    assert (made.outcome, len(made.ballots)) == ("opened", 8)


def test_who_was_only_seen_stale_is_refused(door: Door) -> None:
    door.comes("Ada", age_ms=1500)
    door.goes(5)
    assert (door.told(), door.ordered()) == ([("refused", "late")], 0)
    assert "Ada was recognized, in pictures that came too late" in door.decisions()[0].why


def test_who_stays_and_is_only_seen_stale_is_no_stranger(door: Door) -> None:
    for _ in range(20):
        door.comes("Ada", frames=1, age_ms=1500)
        door.waits(1)
    (made,) = door.decisions()
    assert (made.outcome, made.reason, made.name, door.ordered()) == ("refused", "late", "Ada", 0)


def test_pictures_that_are_late_for_long_are_told_of_once(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door.comes("Ada", age_ms=1500)
    assert caplog.text == ""  # not at once
    monkeypatch.setattr("stages.gate.health.LATE_NS", 0)
    door.comes("Ada", age_ms=1500)
    assert caplog.text.count("cam0: its pictures are 1.5 s old") == 1
    door.comes("Ada")
    door.comes("Ada", age_ms=1500)
    assert caplog.text.count("cam0: its pictures are 1.5 s old") == 2


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


@pytest.mark.parametrize("badge", ["", "4711"])
def test_the_watch_list_is_for_those_who_show_no_badge_and_for_those_who_show_anothers(badge: str) -> None:
    door = Door(mode="1:1")
    door.store.set_access("Ada", Access(watch=True))
    door.store.set_access("Bob", Access(badges=(door.store.badge("4711") or "",)))
    if badge:
        reader().claim("door", door.store.badge(badge) or "", clock.boot_ns() + 60 * SECOND)
    assert door.comes("Ada") == "no entry"
    assert (door.told(), door.ordered()) == ([("alarm", "watch-list")], 0)
    door.gate.close()


def test_who_is_put_on_the_watch_list_and_goes_raises_an_alarm() -> None:
    door = Door(mode="1:1")
    door.comes("Ada")
    door.store.set_access("Ada", Access(watch=True))
    door.goes(5)
    assert door.told() == [("alarm", "watch-list")]
    door.gate.close()


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


def turned(yaw: str) -> tuple[tuple[float, float], ...]:
    """Five points of a head that looks ahead, or to its left or right by about 40 degrees."""
    nose = {"ahead": 50.0, "left": 56.0, "right": 44.0}[yaw]
    eyes = {"ahead": (40, 60), "left": (42, 58), "right": (42, 58)}[yaw]
    return ((eyes[0], 40), (eyes[1], 40), (nose, 51.5), (eyes[0] + 2, 60.6), (eyes[1] - 2, 60.6))


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
        _jump(monkeypatch, 3600)
    door.comes("Bob")
    assert (door.told(), door.ordered()) == ([("held", "second-person")] * 2, 0)
    door.gate.close()


def test_the_first_of_two_may_stand_there_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 5}])
    door.comes("Ada")
    ada, boot_ns = door.seen(), clock.boot_ns
    for seconds in (4, 8):
        monkeypatch.setattr("stages.gate.pairs.boot_ns", lambda ahead=seconds: boot_ns() + ahead * SECOND)
        door.gate(door.camera(ada))
    door.comes("Bob")
    assert door.told() == [("held", "second-person"), ("opened", "")]
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


def test_one_who_waits_lets_in_one_and_both_have_come_in() -> None:
    door = Door(doors=[{"name": "vault", "two_person_seconds": 30, "passback": "strict"}])
    door.store.add("Cyd", MODEL, embedding(4)[None])
    cyd = next(person.id.hex() for person in door.store.people() if person.name == "Cyd")
    door.comes("Ada")
    door.comes("Bob")
    door.people["Cyd"] = cyd
    door.restart()
    door.comes("Cyd")
    assert door.told() == [("held", "second-person"), ("opened", ""), ("held", "second-person")]
    assert [reader().presence(door.people[name]) is not None for name in ("Ada", "Bob", "Cyd")] == [True, True, False]
    door.gate.close()


def test_somebody_who_passes_by_does_not_use_up_the_badge_of_another() -> None:
    door = Door(mode="1:1")
    badge = door.store.badge("4711")
    door.store.set_access("Ada", Access(badges=(badge,)))
    door.comes("nobody", similarity=0.2)
    reader().claim("door", badge, clock.boot_ns() + 60 * SECOND)
    door.goes(5)
    assert door.told() == [("refused", "unknown")]
    door.comes("Ada")
    assert door.told()[-1] == ("opened", "")
    door.gate.close()


def badges(door: Door, count: int) -> list[str]:
    """So many people, each with a badge and a face of their own: embedding 100 and on."""
    numbers = [door.store.badge(str(number)) or "" for number in range(count)]
    for number, badge in enumerate(numbers):
        door.store.add(f"P{number}", MODEL, embedding(100 + number)[None], access=Access(badges=(badge,)))
    return numbers


def test_three_badges_of_others_may_be_shown_in_a_passage_and_each_is_written_down() -> None:
    door = Door(mode="1:1")
    numbers = badges(door, 5)
    people = {person.name: person.id.hex() for person in door.store.people()}
    door.tracks += 1
    like_the_last = Seen(door.tracks, embedding(104), people["P4"], 0.9)
    for _ in range(2):
        door.gate(door.camera(like_the_last))
    said = []
    for number in numbers:
        reader().claim("door", number, clock.boot_ns() + 10 * SECOND)
        door.gate(door.camera(like_the_last))
        door.waits(8)
        said += door.gate(door.camera(like_the_last)).verdicts
    assert (door.told(), door.ordered()) == ([("refused", "not-the-holder")] * 3, 0)
    assert said[-2:] == ["no entry"] * 2  # and the right one comes too late
    door.tracks += 1
    for _ in range(3):
        assert door.gate(door.camera(dataclasses.replace(like_the_last, track=door.tracks))).verdicts == ("no entry",)
    door.restart()
    door.gate(door.camera(dataclasses.replace(like_the_last, track=door.tracks)))
    door.goes()
    assert len(door.told()) == 3
    door.gate.close()


def test_who_takes_another_badge_after_the_wrong_one_is_let_in() -> None:
    door = Door(mode="1:1")
    wrong, *_ = badges(door, 1)
    own = door.store.badge("4711") or ""
    door.store.set_access("Ada", Access(badges=(own,)))
    reader().claim("door", wrong, clock.boot_ns() + 10 * SECOND)
    door.comes("Ada", frames=8)
    door.waits(8)
    assert door.gate(door.camera(door.seen())).verdicts == ("no entry",)
    assert reader().claimed("door", clock.boot_ns()) is None
    reader().claim("door", own, clock.boot_ns() + 10 * SECOND)
    assert door.gate(door.camera(door.seen())).verdicts == ("come in",)
    assert door.told() == [("refused", "not-the-holder"), ("opened", "")]
    door.gate.close()


def test_who_stands_beside_uses_up_nobody_elses_badge() -> None:
    door = Door(mode="1:1")
    badge = door.store.badge("4711") or ""
    door.store.set_access("Ada", Access(badges=(badge,)))
    beside = Seen(99, embedding(3), door.people["Ada"], 0.2)
    for _ in range(8):
        door.gate(door.camera(beside))
    ada = dataclasses.replace(door.seen(), track=98)
    door.gate(door.camera(beside, ada))
    reader().claim("door", badge, clock.boot_ns() + 10 * SECOND)
    assert door.gate(door.camera(beside, ada)).verdicts == ("", "come in")
    assert door.told() == [("opened", "")]
    door.gate.close()


def one_to_one(**config: object) -> Door:
    """A door in 1:1 at which Ada's badge is "a" and Bob's "b"."""
    door = Door(mode="1:1", **config)
    for name in ("Ada", "Bob"):
        door.store.set_access(name, Access(badges=(door.store.badge(name[0].lower()) or "",)))
    return door


def shows(door: Door, number: str) -> str:
    """A badge is shown at the door; its HMAC."""
    badge = door.store.badge(number) or ""
    reader().claim("door", badge, clock.boot_ns() + 15 * SECOND)
    return badge


def test_who_waits_in_view_uses_up_no_badge_of_who_is_still_to_come() -> None:
    door = one_to_one()
    door.comes("Bob", frames=8)
    bob, badge = door.seen("Bob"), shows(door, "a")
    assert door.gate(door.camera(bob)).verdicts == ("",)
    assert reader().claimed("door", clock.boot_ns()) == badge
    door.tracks += 1
    for _ in range(2):
        said = door.gate(door.camera(bob, door.seen("Ada"))).verdicts
    assert (said, door.told()) == (("", "come in"), [("opened", "")])
    door.gate.close()


def test_who_waits_in_view_while_others_show_badges_may_show_one_too() -> None:
    door = one_to_one()
    door.store.set_access("Ada", Access(badges=tuple(door.store.badge(number) or "" for number in "123")))
    door.comes("Bob", frames=8)
    for number in "123":
        shows(door, number)
        door.gate(door.camera(door.seen("Bob")))
        door.waits(1)
    shows(door, "b")
    assert door.gate(door.camera(door.seen("Bob"))).verdicts == ("come in",)
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_faces_are_compared_with_the_holders_of_three_badges_at_most() -> None:
    """However fast one takes the place of another."""
    door = Door(mode="1:1")
    people = badges(door, 4)
    last = next(person.id.hex() for person in door.store.people() if person.name == "P3")
    door.tracks = 1
    for number in (None, None, *people):
        if number:
            reader().claim("door", number, clock.boot_ns() + 10 * SECOND)
        said = door.gate(door.camera(Seen(1, embedding(103), last, 0.9))).verdicts
    assert (said, door.told(), door.ordered()) == (("show your badge",), [], 0)
    door.gate.close()


def test_a_badge_may_be_shown_long_after_coming() -> None:
    door = one_to_one()
    door.comes("Ada", frames=8)
    door.waits(11)
    for _ in range(2):
        assert door.gate(door.camera(door.seen())).verdicts == ("show your badge",)
    shows(door, "a")
    assert door.gate(door.camera(door.seen(picked=False))).verdicts == ("come in",)
    door.gate.close()


def test_a_badge_is_not_refused_for_faces_of_long_ago() -> None:
    door = one_to_one()
    door.comes("Ada", frames=8)
    door.waits(11)
    badge = shows(door, "a")
    door.gate(door.camera(door.seen(picked=False)))
    door.waits(8)
    door.gate(door.camera(door.seen(picked=False)))
    assert (door.told(), reader().claimed("door", clock.boot_ns())) == ([], badge)
    door.gate.close()


def test_who_shows_a_badge_late_has_the_time_to_turn_the_head() -> None:
    door = one_to_one(liveness="active")
    ahead = turned("ahead")
    for seconds in (0.5, 1, 1, 1, 1, 1, 1, 0.5):
        door.gate(door.camera(door.seen(points=ahead)))
        door.waits(seconds)
    shows(door, "a")
    assert door.gate(door.camera(door.seen(points=ahead))).verdicts[0] == "look at the camera"
    door.waits(5.6)
    assert door.gate(door.camera(door.seen(points=ahead))).verdicts[0].startswith("turn your head")
    assert door.told() == []
    door.gate.close()


def test_the_next_in_line_who_shows_a_badge_too_early_gets_nobody_refused() -> None:
    door = one_to_one()
    shows(door, "a")
    door.comes("Ada", frames=1)
    shows(door, "b")
    door.gate(door.camera(door.seen()))
    shows(door, "a")
    assert door.gate(door.camera(door.seen())).verdicts == ("come in",)
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_a_badge_says_whose_face_it_has_to_be() -> None:
    door = Door(mode="1:1")
    badge = door.store.badge("4711")
    door.store.set_access("Ada", Access(badges=(badge,)))
    ledger = reader()
    assert door.comes("Ada") == "show your badge"
    ledger.claim("door", badge, clock.boot_ns() + 10 * SECOND)
    assert door.gate(door.camera(door.seen())).verdicts == ("come in",)
    assert ledger.claimed("door", clock.boot_ns()) is None  # spent
    ledger.claim("door", badge, clock.boot_ns() + 10 * SECOND)
    door.goes()
    door.comes("Bob", frames=9)  # his face, her badge
    door.waits(8)
    door.gate(door.camera(door.seen("Bob")))
    assert ledger.claimed("door", clock.boot_ns()) is None  # spent, too
    door.goes()
    door.comes("Ada")
    door.goes()
    assert door.told() == [("opened", ""), ("refused", "not-the-holder"), ("refused", "no-badge")]
    door.gate.close()


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


def _jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * SECOND))


def test_a_clock_that_jumps_ends_no_passback(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(doors=[{"name": "door", "passback": "timed", "passback_minutes": 10}])
    door.comes("Ada")
    door.goes()
    _jump(monkeypatch, 3600)
    door.goes(0)
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "clock")]
    door.gate.close()


def test_a_restart_makes_no_clock_that_jumped_believed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    _jump(monkeypatch, 3600)
    door.goes(0)
    door.comes("Ada")
    door.goes()
    door.restart()
    door.comes("Ada")
    assert door.told() == [("refused", "clock")] * 2


def test_a_clock_behind_the_log_is_not_believed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.store.set_access("Ada", Access(windows=("daily 00:00-24:00",)))
    door.comes("Bob")
    real = time.time_ns
    monkeypatch.setattr(clock, "wall_ns", lambda: real() - 3600 * SECOND)
    door.restart()  # so no jump is seen, only that the log is from the future
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "clock")]


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


def test_a_command_of_a_decision_is_for_its_door_and_expires(door: Door) -> None:
    door.comes("Ada")
    command = Commands(reader(), "door").take()
    assert command
    assert command.seconds == DoorConfig(name="door").seconds


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
