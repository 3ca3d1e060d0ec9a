"""Pictures that come too late open nothing, and are told of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.stages.gate.door import Door
from tests.stages.gate.scene import Camera


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


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


def test_who_came_late_before_one_camera_is_let_in_before_the_other() -> None:
    door = Door()
    door.tracks = 1
    for _ in range(12):
        door.gate(door.camera(door.seen("Ada"), age_ms=1500))
        door.waits(1)
    for _ in range(3):  # she turns away, and is still there
        door.gate(door.camera(dataclasses.replace(door.seen("nobody", 0.3), track=1), age_ms=1500))
        door.waits(4)
    assert door.told() == [("refused", "late")]
    door.camera = Camera("cam1")
    assert door.comes("Ada") == "come in"
    door.gate.close()


def test_who_was_late_before_one_camera_is_let_in_once_before_two_others() -> None:
    door = Door()
    door.comes("Ada", age_ms=1500)
    door.goes(5)
    for name in ("cam1", "cam2"):
        door.camera = Camera(name)
        door.comes("Ada")
    assert (door.told(), door.ordered()) == ([("refused", "late"), ("opened", "")], 1)
    door.gate.close()
