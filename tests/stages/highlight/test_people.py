"""People in real clips: how many, how near, where; and the same rows whenever it is stopped."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.types import Candidates, Detections, Frame
from stages.highlight.people import DetectPeople, DetectPeopleConfig, People, PeopleConfig
from stages.highlight.store import Store
from stages.nms import Nms, NmsConfig
from tests.fakes import MemoryFrames


def found(clip: Path, step: int, most: int) -> list[Detections]:
    """The people that the detector which ships finds in every `step`-th frame of a clip."""
    frames, nms = MemoryFrames(), Nms(NmsConfig())
    detect = DetectPeople(DetectPeopleConfig(provider="cpu"), frames)
    with av.open(str(clip)) as container:
        pictures = islice(container.decode(video=0), 0, step * most, step)
        tickets = [
            frames.put(np.asarray(p.to_ndarray(format="bgr24"), np.uint8), "clip", i) for i, p in enumerate(pictures)
        ]
    results = [one for start in range(0, len(tickets), 8) for one in detect(tickets[start : start + 8])]
    return [nms(result) for result in results if isinstance(result, Candidates)]


def config(folder: Path) -> PeopleConfig:
    return PeopleConfig(store=str(folder / "video.sqlite"), source="clip")


def rows(one: PeopleConfig) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What is in the track."""
    return Store(Path(one.store)).track("people", one.key).read(3)


def boxes(labels: tuple[str, ...], *corners: tuple[float, float, float, float]) -> Detections:
    """One box of each label, in a picture of 200x100."""
    count = len(corners)
    frame = Frame("clip", 0, 1, 0, 1, 0, 2, 200, 100)
    ones, classes = np.ones(count, np.float32), np.arange(count, dtype=np.int32)
    return Detections(frame, np.array(corners, np.float32).reshape(-1, 4), ones, classes, None, labels)


@pytest.fixture(scope="module")
def street(shared: Path) -> list[Detections]:
    return found(shared / "videos" / "vtest.avi", 40, 16)


def test_people_of_a_street_are_counted(street: list[Detections], tmp_path: Path) -> None:
    people = People(config(tmp_path))
    for one in street:
        people(one)
    people.close()

    times, measured = rows(config(tmp_path))
    counts, heights, centres = measured.T
    assert times.tolist() == [one.frame.pts_ns for one in street]
    assert counts.min() >= 1
    assert 3 <= counts.mean() <= 9  # there are four to nine
    assert ((heights > 0.1) & (heights < 0.35)).all()  # nobody is near
    assert ((centres > 0.1) & (centres < 0.95)).all()


def test_somebody_near_is_large_and_stands_where_they_stand(shared: Path, tmp_path: Path) -> None:
    people = People(config(tmp_path))
    for one in found(shared / "videos" / "one-by-one-person-detection.mp4", 5, 20)[14:]:
        people(one)
    counts, heights, centres = rows(config(tmp_path))[1].T
    assert counts.max() == 1
    assert heights.max() > 0.8
    np.testing.assert_allclose(centres[counts == 1], 0.59, atol=0.05)


def test_in_clips_of_cars_there_is_nobody(shared: Path, tmp_path: Path) -> None:
    people = People(config(tmp_path))
    for one in found(shared / "videos" / "car-detection.mp4", 20, 16):
        people(one)
    counts, heights, centres = rows(config(tmp_path))[1].T
    assert len(counts) == 16
    assert not counts.any()
    assert not heights.any()
    assert np.isnan(centres).all()


def test_only_people_count_and_the_near_ones_say_where(tmp_path: Path) -> None:
    people = People(config(tmp_path))
    people(boxes(("person", "dog", "person"), (0, 0, 20, 40), (90, 0, 200, 100), (100, 0, 140, 60)))
    ((count, height, centre),) = rows(config(tmp_path))[1]
    assert (count, height) == (2, np.float32(0.6))
    assert centre == pytest.approx((10 * 800 + 120 * 2400) / 3200 / 200)


def test_stopped_at_any_frame_it_goes_on_with_the_same_rows(street: list[Detections], tmp_path: Path) -> None:
    whole, parts = config(tmp_path / "whole"), config(tmp_path / "parts")
    people = People(whole)
    for one in street:
        people(one)
    assert People(parts).resume() == {}
    for end, one in enumerate(street):
        people = People(parts)
        for again in street[max(0, end - 2) : end]:  # sent again, as nobody had said that it was done
            people(replace(again, boxes=again.boxes[:0], scores=again.scores[:0], classes=again.classes[:0]))
        people(one)
        people.close()
        assert People(parts).resume() == {"clip": one.frame.seq}
    for ours, theirs in zip(rows(parts), rows(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_other_settings_are_another_measurement(tmp_path: Path) -> None:
    one = config(tmp_path)
    detect, nms = DetectPeopleConfig(threshold=0.5), NmsConfig(iou=0.6)
    others = replace(one, detect=detect), replace(one, nms=nms), replace(one, rate=10.0)
    assert len({one.key, *(other.key for other in others)}) == 4
    assert replace(one, detect=DetectPeopleConfig(provider="cpu")).key == one.key
