"""Shots: the transitions of a real clip, the same rows however often the stage is killed, and cuts out of rows."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Usage
from pipeline.registry import TRANSITIONS
from pipeline.types import Frame
from stages.highlight.shots import STEP, Shots, ShotsConfig, cuts
from stages.highlight.store import Store, Track
from tests.fakes import MemoryFrames

Rows = tuple[NDArray[np.int64], NDArray[np.float32]]
COUNT = 130  # frames of the clip that are looked at: two whole windows, and an end
OWN_CUTS = [20, 82]  # the first frames of its shots, by eye


class Film:
    """A clip's tickets, and stages over stores of their own."""

    def __init__(self, clip: Path, folder: Path) -> None:
        self.frames, self.folder = MemoryFrames(), folder
        video = cv2.VideoCapture(str(clip))
        pictures = (np.asarray(video.read()[1], np.uint8) for _ in range(COUNT))
        self.tickets = [self.frames.put(picture, "film", seq) for seq, picture in enumerate(pictures)]

    def config(self, name: str) -> ShotsConfig:
        return ShotsConfig(provider="cpu", store=str(self.folder / f"{name}.sqlite"), source="film")

    def stage(self, name: str) -> Shots:
        return Shots(self.config(name), self.frames)

    def track(self, name: str) -> Track:
        config = self.config(name)
        return Store(Path(config.store)).track("shots", config.key)

    def take(self, name: str, tickets: Sequence[Frame]) -> Rows:
        """What a new stage has written once these frames have come and it is closed."""
        stage = self.stage(name)
        for ticket in tickets:
            stage(ticket)
        stage.close()
        return self.track(name).read(1)


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """The real network, for all stages: loading it takes as long as a hundred frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShotsConfig, "load", functools.cache(ShotsConfig.load))
        yield


@pytest.fixture(scope="module")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(shared / "videos" / "short_hamilton_clip.mp4", tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def whole(film: Film) -> Rows:
    return film.take("whole", film.tickets)


def same(one: Rows, other: Rows) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_where_no_network_is_named_a_cpu_gets_the_one_in_int8() -> None:
    default, whole = (ShotsConfig(model=model, provider="cpu") for model in ("", "transnetv2"))
    assert default.load().info.name == "transnetv2_int8"
    assert whole.load().info.name == "transnetv2"
    assert {TRANSITIONS[provider] for provider in ("cuda", "tensorrt")} == {"transnetv2"}
    assert default.key == ShotsConfig(model="transnetv2_int8").key != whole.key  # another file, another track


def test_the_cuts_of_a_clip(film: Film, whole: Rows) -> None:
    times, probability = whole
    assert times.tolist() == [ticket.pts_ns for ticket in film.tickets]
    assert cuts(times, probability[:, 0]).tolist() == [film.tickets[seq].pts_ns for seq in OWN_CUTS]


def test_killed_at_any_frame_it_writes_the_same_rows(film: Film, whole: Rows) -> None:
    stage, begins = film.stage("killed"), 0
    for ends in (1, 2, 24, 25, 26, 50, 74, 75, 76, 124, 125, COUNT):
        for ticket in film.tickets[begins:ends]:
            stage(ticket)
        stage = film.stage("killed")  # nothing is asked of the killed one
        assert stage.resume() == {"film": ends - 1}
        begins = ends
    stage.close()
    same(film.track("killed").read(1), whole)


def test_killed_in_the_middle_of_a_frame_it_is_as_if_that_had_not_come(
    film: Film, whole: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = film.stage("torn")
    for ticket in film.tickets[:74]:
        stage(ticket)

    def torn(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Track, "discard", torn)  # the last thing of all that a frame writes
        with pytest.raises(KeyboardInterrupt):
            stage(film.tickets[74])
    stage = film.stage("torn")
    assert stage.resume() == {"film": 73}
    assert len(film.track("torn").read(1)[0]) == 0
    stage(film.tickets[74])
    same(film.track("torn").read(1), (whole[0][:STEP], whole[1][:STEP]))


def test_frames_that_come_twice_are_skipped(film: Film, whole: Rows) -> None:
    stage = film.stage("twice")
    for ticket in [*film.tickets[:30], *film.tickets[10:75], film.tickets[0]]:
        stage(ticket)
    assert stage.resume() == {"film": 74}
    same(film.track("twice").read(1), (whole[0][:STEP], whole[1][:STEP]))


def test_more_frames_replace_the_rows_at_the_end(film: Film, whole: Rows) -> None:
    for count in (10, 60):
        times, probability = film.take("grown", film.tickets[:count])
        assert times.tolist() == whole[0][:count].tolist()
        assert np.abs(probability - whole[1][:count]).max() > 0  # the end is not yet known
    same(film.take("grown", film.tickets), whole)


def test_a_video_that_is_done_with_is_not_looked_at_again(film: Film) -> None:
    expected = film.take("done", film.tickets[:10])
    with Store(Path(film.config("done").store)) as store:
        store.finish([film.track("done")], [])
    assert film.stage("done").resume() == {"film": 9}
    same(film.take("done", film.tickets[:10]), expected)


def test_no_frame_no_row(film: Film) -> None:
    stage = film.stage("empty")
    assert stage.resume() == {}
    stage.close()
    assert [len(part) for part in film.track("empty").read(1)] == [0, 0]


def test_another_network_is_refused(tmp_path: Path) -> None:
    config = ShotsConfig(model="centerface", provider="cpu", store=str(tmp_path / "a.sqlite"))
    with pytest.raises(Usage, match="finds no transitions between shots"):
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
