"""Shots: the transitions of a real clip, the same rows however often the stage is killed, and cuts out of rows."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Usage
from pipeline.types import Frame
from stages.highlight.shots import STEP, Shots, ShotsConfig, cuts
from stages.highlight.store import Store
from tests.fakes import MemoryFrames

Rows = tuple[NDArray[np.int64], NDArray[np.float32]]
OWN_CUTS = [20, 82, 211]  # of the clip, by eye


class Film:
    """A clip's tickets, and stages over stores of their own."""

    def __init__(self, clip: Path, folder: Path) -> None:
        self.frames, self.folder = MemoryFrames(), folder
        video, self.tickets = cv2.VideoCapture(str(clip)), list[Frame]()
        while (found := video.read())[0]:
            self.tickets.append(self.frames.put(np.asarray(found[1], np.uint8), "film", len(self.tickets)))

    def config(self, name: str) -> ShotsConfig:
        return ShotsConfig(provider="cpu", store=str(self.folder / f"{name}.sqlite"), source="film")

    def stage(self, name: str) -> Shots:
        return Shots(self.config(name), self.frames)

    def rows(self, name: str) -> Rows:
        config = self.config(name)
        return Store(Path(config.store)).track("shots", config.key).read(1)

    def unbroken(self, name: str, count: int) -> Rows:
        stage = self.stage(name)
        for ticket in self.tickets[:count]:
            stage(ticket)
        stage.close()
        return self.rows(name)


@pytest.fixture(scope="module")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(shared / "videos" / "short_hamilton_clip.mp4", tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def whole(film: Film) -> Rows:
    return film.unbroken("whole", len(film.tickets))


def same(one: Rows, other: Rows) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_cuts_of_a_clip(film: Film, whole: Rows) -> None:
    times, probability = whole
    assert times.tolist() == [ticket.pts_ns for ticket in film.tickets]
    assert cuts(times, probability[:, 0]).tolist() == [film.tickets[seq].pts_ns for seq in OWN_CUTS]


def test_killed_at_any_frame_it_writes_the_same_rows(film: Film, whole: Rows) -> None:
    stage, begins = film.stage("killed"), 0
    for ends in (1, 2, 24, 25, 26, 74, 75, 76, 125, 174, 175, 274):
        for ticket in film.tickets[begins:ends]:
            stage(ticket)
        stage = film.stage("killed")  # nothing is asked of the killed one
        assert stage.resume() == {"film": ends - 1}
        begins = ends
    stage(film.tickets[-1])
    stage.close()
    same(film.rows("killed"), whole)


def test_what_is_cut_off_in_the_middle_of_a_frame_is_as_if_the_frame_had_not_come(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = film.unbroken("hundred", 100)
    stage = film.stage("torn")
    for ticket in film.tickets[:74]:
        stage(ticket)

    def torn(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage._track, "discard", torn)
    with pytest.raises(KeyboardInterrupt):
        stage(film.tickets[74])
    stage = film.stage("torn")
    assert stage.resume() == {"film": 73}
    for ticket in film.tickets[74:100]:
        stage(ticket)
    stage.close()
    same(film.rows("torn"), expected)


def test_frames_that_come_twice_are_skipped(film: Film) -> None:
    expected = film.unbroken("once", STEP)
    stage = film.stage("twice")
    for ticket in [*film.tickets[:30], *film.tickets[10:STEP], film.tickets[0]]:
        stage(ticket)
    stage.close()
    same(film.rows("twice"), expected)


@pytest.mark.parametrize("stopped", [10, 60, 120])
def test_more_frames_replace_the_rows_at_the_end(film: Film, stopped: int) -> None:
    name = f"stopped at {stopped}"
    same(film.unbroken(name, stopped), film.unbroken(f"only {stopped}", stopped))
    same(film.unbroken(name, 130), film.unbroken(f"130 after {stopped}", 130))


def test_a_video_that_is_done_with_is_not_looked_at_again(film: Film) -> None:
    expected = film.unbroken("done", 10)
    config = film.config("done")
    Store(Path(config.store)).track("shots", config.key).finish()
    stage = film.stage("done")
    assert stage.resume() == {"film": 9}
    stage(film.tickets[9])
    stage.close()
    same(film.rows("done"), expected)


def test_no_frame_no_row(film: Film) -> None:
    stage = film.stage("empty")
    assert stage.resume() == {}
    stage.close()
    assert [len(part) for part in film.rows("empty")] == [0, 0]


def test_another_network_is_refused(tmp_path: Path) -> None:
    config = ShotsConfig(model="centerface", provider="cpu", store=str(tmp_path / "a.sqlite"))
    with pytest.raises(Usage, match="set shots.model to transnetv2"):
        Shots(config, MemoryFrames())


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([], []),
        ([0.1, 0.2, 0.1], []),
        ([0, 0, 0.9, 0, 0], [3]),
        ([0, 0.6, 0.8, 0.7, 0], [3]),  # gradual: behind its maximum
        ([0.9, 0, 0, 0.9, 0.4, 0.9, 0], [1, 4, 6]),
        ([0, 0, 0.9], []),  # no frame of the new shot is there
        ([0, 0.5, 0], []),  # at the threshold is not above it
    ],
)
def test_cuts_are_behind_the_maxima(probability: list[float], expected: list[int]) -> None:
    times = np.arange(len(probability), dtype=np.int64) * 40_000_000
    found = cuts(times, np.array(probability, np.float32))
    assert found.dtype == np.int64
    assert (found // 40_000_000).tolist() == expected


def test_the_threshold_is_the_callers() -> None:
    times = np.arange(3, dtype=np.int64)
    assert cuts(times, np.array([0, 0.3, 0], np.float32), 0.2).tolist() == [2]
