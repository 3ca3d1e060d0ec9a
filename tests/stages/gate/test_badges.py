"""1:1: the face has to be that of the badge's holder, and nobody uses up the badge of another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.gallery.people import Access
from stages.gate import clock
from tests.stages.gate.door import SECOND, Door, reader
from tests.stages.gate.scene import MODEL, Camera, Seen, embedding, turned


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


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


def like(face: NDArray[np.float32], cosine: float, own: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """One of somebody's faces, which are all like `own`: so near to `face`."""
    across = own - (own @ face) * face
    noise = embedding(seed)
    noise -= (noise @ face) * face + (noise @ across) * across / (across @ across)
    mixed = 0.95 * across / np.linalg.norm(across) + np.sqrt(1 - 0.95**2) * noise / np.linalg.norm(noise)
    row: NDArray[np.float32] = cosine * face + np.sqrt(1 - cosine**2) * mixed
    return row.astype(np.float32)


def test_so_many_faces_are_compared_with_each_holder_however_often_badges_are_changed() -> None:
    door = Door(mode="1:1")
    victims, *others = badges(door, 4)
    victim, seeds = door.people["Ada"], iter(range(1000, 2000))
    door.tracks = 1

    def frame(cosine: float) -> str:
        face = like(embedding(100), cosine, embedding(500), next(seeds))
        said = door.gate(door.camera(Seen(1, face, victim, cosine))).verdicts[0]
        door.waits(0.7)
        return said

    for _ in range(8):
        frame(0.5)
    for number in (*others[:2], victims):  # each is compared with these, and no row is written for it
        reader().claim("door", number, clock.boot_ns() + 15 * SECOND)
        frame(0.5)
    for _ in range(4):
        reader().claim("door", others[2], clock.boot_ns() + 15 * SECOND)  # one too many: it does not count
        for place in range(8):
            frame(0.65 if place >= 6 else 0.5)
        reader().claim("door", victims, clock.boot_ns() + 15 * SECOND)
        frame(0.5)
    assert door.ordered() == 0
    assert all(len(faces) <= 8 for one in door.gate._passages.open for faces in one.holders.values())
    door.gate.close()


def test_an_alarm_uses_up_nobodys_badge() -> None:
    door = one_to_one()
    door.store.set_access("Bob", Access(watch=True))
    badge = shows(door, "a")
    bob = dataclasses.replace(door.seen("Bob"), track=4)
    for _ in range(2):
        door.gate(door.camera(bob))
    assert (door.told(), reader().claimed("door", clock.boot_ns())) == ([("alarm", "watch-list")], badge)
    assert door.comes("Ada") == "come in"
    door.gate.close()


def test_a_badge_is_not_refused_for_faces_in_pictures_of_long_ago() -> None:
    door = one_to_one()
    badge = shows(door, "a")
    door.comes("Bob", frames=3, age_ms=60_000)
    door.waits(8)
    door.gate(door.camera(door.seen("Bob", picked=False), age_ms=60_000))
    assert (door.told(), reader().claimed("door", clock.boot_ns())) == ([], badge)
    door.gate.close()


def test_before_another_camera_of_the_door_a_badge_counts_once() -> None:
    door, other = one_to_one(), Camera("cam1")
    there = dataclasses.replace(door.seen(), track=9)
    for _ in range(2):
        door.gate(other(there))
    shows(door, "a")
    assert door.comes("Ada") == "come in"
    first = next(one for one in door.gate._passages.open if one.camera == "cam0")
    first.seen_ns -= 11 * SECOND  # she stays before the other camera only
    door.gate(other(there))
    door.goes()
    assert door.told() == [("opened", "")]
    door.gate.close()


def test_a_photo_shown_after_its_owner_opens_nothing() -> None:
    """The holder stood there, live, and has gone; somebody shows her badge and her photo."""
    door = one_to_one(liveness="passive")
    door.camera.live_threshold = 0.5
    door.comes("Ada", frames=8, live=0.95)
    door.goes(3)
    shows(door, "a")
    assert door.comes("Ada", frames=3, live=0.01) == "look at the camera"
    door.goes(5)
    assert (door.told()[0][0], door.ordered()) == ("refused", 0)
    door.gate.close()
