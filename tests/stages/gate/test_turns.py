"""A turn of the head, asked at the gate: of the person who was recognized, and of nobody else."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.home import home, keys
from pipeline.registry import SHIPPED
from pipeline.types import Faces
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.store import Store
from stages.gate.config import GateConfig
from stages.gate.gate import Gate
from stages.gate.settings import GateSettings, completed
from stages.liveness import LivenessConfig
from stages.match import Match, MatchConfig
from stages.pick import Pick, PickConfig
from stages.track import Track, TrackConfig
from tests.stages.gate.door import Door, reader
from tests.stages.gate.scene import Camera, Seen, embedding, turned
from tests.stages.seeing import OneFrame


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door(liveness="active")
    yield door
    door.gate.close()


def ada(door: Door, yaw: str, picked: bool = True) -> Seen:
    return door.seen("Ada", points=turned(yaw), picked=picked)


def other(door: Door, yaw: str, picked: bool = True) -> Seen:
    """Somebody else's head, where Ada was."""
    return Seen(door.tracks, embedding(3), door.people["Ada"], 0.1, points=turned(yaw), picked=picked)


def shown(door: Door, *seen: Seen) -> str:
    """What is said at last."""
    return [door.gate(door.camera(one)).verdicts[0] for one in seen][-1]


def asked(door: Door) -> str:
    """Ada comes, and is asked to turn her head; to which side."""
    door.comes("Ada", points=turned("ahead"))
    said = shown(door, ada(door, "ahead", picked=False))
    assert said in ("turn your head to your left", "turn your head to your right")
    return said.rpartition(" ")[2]


def test_a_photo_does_not_turn_its_head() -> None:
    door = Door(liveness="active", challenge_seconds=0.2)
    deadline = time.monotonic() + 10
    door.comes("Ada", points=turned("ahead"))
    while not door.told() and time.monotonic() < deadline:
        shown(door, ada(door, "ahead"))
    assert (door.told(), door.ordered()) == ([("refused", "challenge")], 0)
    door.gate.close()


def test_a_photo_that_is_put_away_for_a_turn_of_ones_own_head_opens_nothing(door: Door) -> None:
    side = asked(door)
    shown(door, other(door, "ahead"), *[other(door, side, picked=False)] * 6, *[other(door, "ahead")] * 3)
    shown(door, *[ada(door, "ahead")] * 3)
    assert door.told() == [("refused", "challenge")]
    assert "another face was seen" in door.decisions()[0].why


def test_one_face_that_is_like_nobodys_ends_no_turn(door: Door) -> None:
    """As of who walks through the picture, or of a blur."""
    side = asked(door)
    shown(door, other(door, "ahead"), ada(door, "ahead"), ada(door, side), *[ada(door, "ahead")] * 2)
    assert door.told() == [("opened", "")]


@pytest.mark.parametrize("picked", [False, True])
def test_ones_own_head_that_is_shown_only_while_it_is_turned_opens_nothing(door: Door, picked: bool) -> None:
    side = asked(door)
    shown(door, *[other(door, side, picked)] * 5, *[ada(door, "ahead")] * 3)
    assert (door.told(), door.ordered()) == ([], 0)
    shown(door, ada(door, side), *[ada(door, "ahead")] * 2)  # she herself may still turn
    assert door.told() == [("opened", "")]


def test_who_turns_so_far_that_a_face_is_like_nobodys_is_no_other(door: Door) -> None:
    side = asked(door)
    shown(door, ada(door, side), other(door, side), *[ada(door, "ahead")] * 2)
    assert door.told() == [("opened", "")]


@pytest.mark.parametrize(("liveness", "turns"), [("active", True), ("both", True), ("none", False)])
def test_faces_that_are_turned_are_picked_where_turns_are_asked(liveness: Literal["active"], turns: bool) -> None:
    settings = GateSettings(
        gate=GateConfig(liveness=liveness), liveness=LivenessConfig(models=(str(SHIPPED / "dlib_face.onnx"),))
    )
    assert completed(settings, ["cam0"]).pick.turns is turns


@pytest.mark.parametrize("who", ["her own", "another's"])
def test_a_real_head_that_turns_is_known_by_its_turned_face(
    who: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She looks ahead, turns to her left, and looks ahead again; or it is somebody else's head that is turned."""
    monkeypatch.setattr("stages.challenge.secrets.choice", lambda sides: "left")
    clip = shared / "videos" / "head-pose-face-detection-female.gif"
    eye, enrol, store = OneFrame(), Enrol(EnrolConfig()), Store(home(), keys())
    frames = [eye.pixels.copy() for _ in eye.play(clip)]
    photo = Path(home()) / "her.png"
    photo.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(photo), frames[9])
    store.add("Ada", enrol.identity, enrol([photo])[0])
    track, pick, match = Track(TrackConfig()), Pick(PickConfig(turns=True), eye), Match(MatchConfig())
    gate = Gate(GateConfig(liveness="active"))
    turns = 0
    for found in eye.play(clip):
        seen = replace(found, frame=replace(found.frame, captured_ns=time.monotonic_ns()))
        (faces,) = match([pick(track(seen))])
        assert isinstance(faces, Faces)
        if 12 <= found.frame.seq <= 15 and len(faces.rows):
            turns += 1
            if who == "another's":
                faces = replace(faces, embeddings=np.roll(faces.embeddings, 1, axis=1))
        gate(faces)
    gate.close()
    match.close()
    assert turns == 1
    outcomes = [event.decision.outcome for event in reader().events() if event.decision]
    assert outcomes == (["opened"] if who == "her own" else [])


def test_two_cameras_of_a_door_ask_for_the_same_side(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = iter(["left", "right"])
    monkeypatch.setattr("stages.challenge.secrets.choice", lambda _: next(sides))
    door, other = Door(liveness="active"), Camera("cam1")

    def both(yaw: str) -> set[str]:
        here = dataclasses.replace(door.seen("Ada"), track=1, points=turned(yaw))
        there = dataclasses.replace(here, track=2)
        return {*door.gate(door.camera(here)).verdicts, *door.gate(other(there)).verdicts}

    for _ in range(3):
        said = both("ahead")
    assert said == {"turn your head to your left"}
    for yaw in ("left", "left", "ahead", "ahead", "ahead"):
        both(yaw)
    assert door.told() == [("opened", "")]
    door.gate.close()
