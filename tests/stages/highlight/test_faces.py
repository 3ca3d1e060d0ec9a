"""Faces in the sample clip: how many, how near, where, and whose; by id, until somebody is forgotten."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner

from pipeline.errors import Failed
from pipeline.home import home, keys
from pipeline.types import Detections, Matches
from stages.crop import Crop, CropConfig
from stages.enrolment.commands import enroll, forget
from stages.events.ledger import Ledger
from stages.gallery.store import Store as Gallery
from stages.highlight.cluster import look, take_over
from stages.highlight.faces import FacesSeen, FacesSeenConfig, Recognize
from stages.highlight.known import FOLDER, Known, enrolled, here
from stages.highlight.settings import HighlightEngineConfig, HighlightSettings
from stages.highlight.store import KNOWN, Store
from stages.highlight.videos import State
from stages.highlight.work import Found, Work
from stages.match import LOOK_S, MatchConfig
from tests.stages.events.conftest import SNAPSHOT, decision
from tests.stages.seeing import SAMPLES, OneFrame

NAME = "Eileen Collins"
STEP = 40
FOUND = Found(SAMPLES / "gate.mp4", State.of(SAMPLES / "gate.mp4"), "video", 1)
app = typer.Typer()
for command in (enroll, forget):
    app.command()(command)


def call(*words: object) -> str:
    """A command as a user types it: what it says."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def config(name: str = "video") -> FacesSeenConfig:
    return FacesSeenConfig(store=str(home() / FOLDER / f"{name}.sqlite"), source="cam")


def work() -> Work:
    """As the machine has it that asks others."""
    settings = HighlightSettings().by_stage(Gallery(home(), keys()).people())
    return Work([], settings, HighlightEngineConfig(), home() / FOLDER, home() / "log")


def content() -> bytes:
    """All that lies in the data directory."""
    return b"".join(path.read_bytes() for path in sorted(home().rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def enrolled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the person of the sample is enrolled, and their keys."""
    folder = tmp_path_factory.mktemp("enrolled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEWIRE_HOME", str(folder / "home"))
        patch.setenv("FRAMEWIRE_KEYS", str(folder / "keys"))
        call("enroll", NAME, SAMPLES / "enrol" / f"{NAME}.jpg")
    return folder


@pytest.fixture(scope="module")
def matches(enrolled_home: Path) -> list[Matches]:
    """What Recognize makes of every 40th frame of the sample."""
    frames = OneFrame()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEWIRE_HOME", str(enrolled_home / "home"))
        patch.setenv("FRAMEWIRE_KEYS", str(enrolled_home / "keys"))
        crop, recognize = Crop(CropConfig(), frames), Recognize(MatchConfig(provider="cpu"))
        made = [recognize([crop(found)])[0] for found in frames.play(SAMPLES / "gate.mp4", STEP)]
        recognize.close()
    return made


@pytest.fixture
def person(enrolled_home: Path, places: Path) -> str:
    """Who is enrolled in this test's home: their id."""
    shutil.copytree(enrolled_home, places, dirs_exist_ok=True)
    (one,) = Gallery(home(), keys()).people()
    return one.id.hex()


def write(matches: list[Matches], to: FacesSeenConfig) -> None:
    seen = FacesSeen(to)
    for one in matches:
        seen(one)
    seen.close()


def test_faces_are_counted_and_the_known_one_is_recognized_by_id(matches: list[Matches], person: str) -> None:
    write(matches, config())

    store, key = Store(Path(config().store)), config().key
    times, measured = store.track("faces", key).read(3)
    counts, heights, centres = measured.T
    seen, cosines = store.track(KNOWN + person, key).read(1)
    assert times.tolist() == [one.frame.pts_ns for one in matches]
    assert counts.tolist() == [len(one.found.boxes) for one in matches]
    assert (counts == 0).tolist() == np.isnan(centres).tolist() == (heights == 0).tolist()
    assert 1 <= len(seen) < len(times)
    assert set(seen.tolist()) == {one.frame.pts_ns for one in matches if person in one.names}
    assert ((cosines >= 0.6) & (cosines <= 1)).all()
    assert {name for one in matches for name in one.names} <= {person, ""}
    assert NAME.encode() not in content()


def test_stopped_at_any_frame_it_goes_on_with_the_same_rows(matches: list[Matches], person: str) -> None:
    write(matches, config("whole"))
    assert FacesSeen(config("parts")).resume() == {}
    for end, one in enumerate(matches, 1):
        write(matches[max(0, end - 3) : end], config("parts"))
        assert FacesSeen(config("parts")).resume() == {"cam": one.frame.seq}
    for name, columns in (("faces", 3), (KNOWN + person, 1)):
        whole, parts = (
            Store(Path(config(which).store)).track(name, config().key).read(columns) for which in ("whole", "parts")
        )
        for ours, theirs in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_nearest_of_two_faces_is_told(matches: list[Matches], person: str) -> None:
    """As in a mirror."""
    one = next(match for match in matches if person in match.names)
    row = [one.names.index(person)] * 2
    boxes, scores, classes = (part[row] for part in (one.found.boxes, one.found.scores, one.found.classes))
    found = Detections(one.frame, boxes, scores, classes, None, one.found.labels)
    write([Matches(found, (person, person), np.array([0.7, 0.8], np.float32))], config())
    _, cosines = Store(Path(config().store)).track(KNOWN + person, config().key).read(1)
    assert cosines.tolist() == [[np.float32(0.8)]]


def test_faces_count_where_nobody_is_enrolled_and_who_is_then_is_recognized(
    matches: list[Matches], places: Path
) -> None:
    frames = OneFrame()
    crop, recognize = Crop(CropConfig(), frames), Recognize(MatchConfig(provider="cpu"))
    crops = [crop(found) for found in frames.play(SAMPLES / "gate.mp4", STEP)]
    before = [recognize([one])[0] for one in crops]
    call("enroll", NAME, SAMPLES / "enrol" / f"{NAME}.jpg")
    recognize.tick(time.monotonic() + LOOK_S)
    after = [recognize([one])[0] for one in crops]
    recognize.close()
    assert [len(one.found.boxes) for one in before] == [len(one.found.boxes) for one in matches]
    assert {name for one in before for name in one.names} == {""}
    assert np.isnan(np.concatenate([one.similarity for one in before])).all()
    assert [[name != "" for name in one.names] for one in after] == [
        [name != "" for name in one.names] for one in matches
    ]


def test_who_is_forgotten_is_in_no_file_any_more(matches: list[Matches], person: str) -> None:
    other = "0" * 32
    for name in ("video", "another"):
        write(matches, config(name))
    store = Store(Path(config().store))
    store.track(KNOWN + other, config().key).add(0, 0, [0.7])
    assert person.encode() in content()

    receipt = call("forget", NAME)

    assert "in what `highlights` keeps of 2 videos they are not known any more" in receipt
    assert "NOT YET" not in receipt
    everything = content()
    for trace in (person.encode(), bytes.fromhex(person), NAME.encode()):
        assert trace not in everything
    assert len(store.track("faces", config().key).read(3)[0]) == len(matches)
    assert store.track(KNOWN + other, config().key).last == (0, 0)


def test_a_run_goes_on_without_who_is_forgotten(matches: list[Matches], person: str) -> None:
    """Also where the gallery is on a server and `forget` was said on another host."""
    write(matches, config())
    recognize = Recognize(MatchConfig(provider="cpu"))
    Gallery(home(), keys()).disown(NAME)
    recognize.tick(time.monotonic() + LOOK_S)
    recognize.close()
    assert Known(home() / FOLDER).owners() == set()
    assert person.encode() not in (home() / FOLDER / "video.sqlite").read_bytes()


def test_who_reads_a_file_without_end_is_told_of_and_it_can_be_said_again(
    matches: list[Matches], person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(matches, config())
    monkeypatch.setattr("stages.gallery.rows.BUSY_S", 0.1)
    with closing(sqlite3.connect(config().store, 0, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM track").fetchall()
        with pytest.raises(Failed, match=r"another process reads .* without end: stop it and say this again"):
            call("forget", NAME)
    call("forget", NAME)
    assert person.encode() not in content()


def test_a_file_that_is_damaged_stops_it_before_the_name_is_gone(matches: list[Matches], person: str) -> None:
    write(matches, config())
    with closing(Ledger(home(), keys(), create=True)) as ledger, ledger.commit() as commit:
        commit.decide(decision("opened", person), SNAPSHOT, ())
    damaged = home() / FOLDER / "a.sqlite"
    damaged.write_bytes(b"nothing" * 1000)
    with pytest.raises(Failed, match=r"a\.sqlite .*: delete the file"):
        call("forget", NAME)
    assert person.encode() not in Path(config().store).read_bytes()  # the others do not wait for it
    with closing(Ledger(home(), keys())) as ledger:
        assert ledger.owners() == set()  # nor does the gate's log
    damaged.unlink()
    call("forget", NAME)


def test_who_is_forgotten_while_another_machine_looks_is_not_known_again(
    matches: list[Matches], person: str, tmp_path: Path
) -> None:
    write(matches, config())
    with Store(Path(config().store)) as store:
        seen = store.snapshot()
    call("forget", NAME)
    take_over(work(), FOUND, seen)
    assert Known(home() / FOLDER).owners() == set()
    for trace in (person.encode(), bytes.fromhex(person)):
        assert trace not in content()


def test_what_was_left_of_a_task_is_forgotten_too(matches: list[Matches], person: str) -> None:
    """It was killed, and another one has not come by yet."""
    write(matches, replace(config(), store=str(here(home() / FOLDER) / "video.sqlite")))
    assert "of 1 videos they are not known" in call("forget", NAME)
    assert person.encode() not in content()


def test_a_machine_where_others_are_enrolled_looks_at_nothing(person: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = work()
    monkeypatch.setenv("FRAMEWIRE_HOME", str(home() / "elsewhere"))
    seen = look(asked, FOUND, b"kept", lambda _: True)
    assert (seen.signals, seen.whole) == (b"kept", False)
    assert "has other people enrolled than the machine that asks it: let them share $FRAMEWIRE_HOME" in seen.notes[0]


def test_where_nothing_is_kept_nobody_is_forgotten(tmp_path: Path) -> None:
    assert Known(tmp_path).erase(bytes(16)) == 0
    assert Known(tmp_path).owners() == set()


def test_somebody_new_makes_it_another_measurement(person: str) -> None:
    gallery = Gallery(home(), keys())
    before = enrolled(gallery.people())
    assert enrolled(gallery.people()) == before
    call("enroll", "Somebody", SAMPLES / "enrol" / f"{NAME}.jpg", "--force")
    keyed = {replace(config(), enrolled=digest).key for digest in (before, enrolled(gallery.people()))}
    assert len(keyed) == 2
    assert replace(config(), match=MatchConfig(threshold=0.7)).key != config().key
