"""Pick: few faces of a track and good ones; and what the quality of a face is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.errors import Usage
from pipeline.frames import Overwritten
from pipeline.types import Detections, Frame, Picked
from stages.crop import TEMPLATES, Align, Crop, CropConfig
from stages.embed import Embedder, EmbedderConfig
from stages.pick import Pick, PickConfig
from stages.quality import Quality, rate
from stages.track import Track, TrackConfig
from tests.stages.seeing import SAMPLES, SECOND, OneFrame, later, overlap

MS = 1_000_000
Image = NDArray[np.uint8]


class Portrait(NamedTuple):
    """A real photo with one face in it, and what the detector says of it."""

    eye: OneFrame
    pixels: Image
    found: Detections


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    pixels = cv2.imread(str(SAMPLES / "enrol" / "Eileen Collins.jpg"))
    assert pixels is not None
    eye = OneFrame()
    found = eye.faces(np.asarray(pixels, np.uint8))
    assert len(found.boxes) == 1
    return Portrait(eye, eye.pixels, replace(found, tracks=np.array([7], np.int32)))


@pytest.fixture
def eye(portrait: Portrait) -> OneFrame:
    portrait.eye.pixels = portrait.pixels
    return portrait.eye


def picker(eye: OneFrame, **keys: object) -> Pick:
    return Pick(msgspec.convert(keys, PickConfig), eye)


class Seen(NamedTuple):
    """A face of the sample clip."""

    picked: bool
    similarity: float  # of its chip to the photo that is enrolled


@pytest.fixture(scope="module")
def walked_past() -> tuple[list[Seen], list[Picked]]:
    """All faces of Eileen Collins in every second frame, and all that was picked of anybody."""
    rows = {row[0]: row[1:5] for row in json.loads((SAMPLES / "gate.json").read_text())["people"][1]["faces"]}
    eye, embed = OneFrame(), Embedder(EmbedderConfig(provider="cpu"))
    crop = Crop(CropConfig(), eye)
    photo = cv2.imread(str(SAMPLES / "enrol" / "Eileen Collins.jpg"))
    assert photo is not None
    (enrolled,) = embed(crop(eye.faces(np.asarray(photo, np.uint8))).chips)
    track, pick = Track(TrackConfig()), picker(eye)
    seen, picks = [], []
    for found in eye.play(SAMPLES / "gate.mp4", 2):
        picked = pick(track(found))
        picks.append(picked)
        tracks = picked.found.tracks
        assert tracks is not None
        truth = rows.get(found.frame.seq)
        crops = crop(found)
        for row, likeness in zip(crops.rows.tolist(), embed(crops.chips) @ enrolled, strict=True):
            if truth and overlap(found.boxes[row], np.array(truth, np.float32)) > 0.3:
                seen.append(Seen(row in picked.rows.tolist(), likeness))
    return seen, picks


def test_few_faces_of_each_track_are_picked_and_they_match_better_than_the_rest(
    walked_past: tuple[list[Seen], list[Picked]],
) -> None:
    seen, picks = walked_past
    names = [name for one in picks if one.found.tracks is not None for name in one.found.tracks[one.rows].tolist()]
    assert len(set(names)) == 2
    assert all(2 <= names.count(name) <= 8 for name in set(names))
    picked = [one.similarity for one in seen if one.picked]
    assert np.mean(picked) > np.mean([one.similarity for one in seen if not one.picked]) + 0.03
    assert min(picked) > 0.7


def test_a_snapshot_comes_with_picked_faces_only(walked_past: tuple[list[Seen], list[Picked]]) -> None:
    for one in walked_past[1]:
        assert bool(one.snapshot) == bool(len(one.rows))
        if one.snapshot:
            picture = cv2.imdecode(np.frombuffer(one.snapshot, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (720, 1280, 3)
            assert (one.quality >= 0.2).all()
            assert np.isnan(one.live).all()


def test_picks_are_further_and_further_apart(eye: OneFrame, portrait: Portrait) -> None:
    pick = picker(eye)
    times = [t for t in range(0, 20_000, 10) if len(pick(later(portrait.found, t * MS)).rows)]
    waits = [min(100 * 1.5**k, 1000) for k in range(1, len(times))]
    assert len(times) > 20  # as long as somebody is there
    assert all(wait <= gap < wait + 10 for wait, gap in zip(waits, np.diff(times).tolist(), strict=True))


def test_a_much_better_face_does_not_wait(eye: OneFrame, portrait: Portrait) -> None:
    pick = picker(eye)
    eye.pixels = np.asarray(cv2.GaussianBlur(portrait.pixels, (0, 0), 4), np.uint8)
    (blurred,) = pick(later(portrait.found, 0)).quality
    eye.pixels = portrait.pixels
    (sharp,) = pick(later(portrait.found, 20 * MS)).quality
    assert sharp > 1.15 * blurred
    assert len(pick(later(portrait.found, 40 * MS)).rows) == 0  # as good, and too early


def test_where_turns_are_asked_a_face_that_is_turned_is_due_soon(eye: OneFrame, portrait: Portrait) -> None:
    assert portrait.found.keypoints is not None
    points = portrait.found.keypoints.copy()
    points[0, 2, 0] += 0.4 * (points[0, 1, 0] - points[0, 0, 0])  # the nose by tan 42 of its depth
    for turns, expected in ((True, 9), (False, 1)):
        pick = picker(eye, floor=0.1, turns=turns)
        for t in range(20):
            pick(later(portrait.found, t * SECOND))
        later_ms = range(19_040, 21_000, 40)
        aside = [t for t in later_ms if len(pick(later(replace(portrait.found, keypoints=points), t * MS)).rows)]
        assert len(aside) == expected


def test_what_is_not_picked(eye: OneFrame, portrait: Portrait) -> None:
    found = portrait.found
    assert found.keypoints is not None
    cut_off = found.keypoints.copy()
    cut_off[0, 0, 0] = -1  # an eye outside of the picture
    side = int((found.boxes[0, 2:] - found.boxes[0, :2]).min())
    cases: list[tuple[Pick, Detections]] = [
        (picker(eye), replace(found, tracks=np.array([-1], np.int32))),
        (picker(eye), replace(found, keypoints=cut_off)),
        (picker(eye), replace(found, keypoints=np.full((1, 5, 2), 50, np.float32))),
        (picker(eye, min_face=side + 1), found),
        (picker(eye, floor=1), found),
    ]
    for pick, one in cases:
        picked = pick(one)
        assert (len(picked.rows), picked.snapshot) == (0, b"")
        assert picked.chips.shape == (0, 150, 150, 3)
    assert len(picker(eye, min_face=side, floor=0.3)(found).rows) == 1


def test_without_anybody_the_pixels_are_not_looked_at(eye: OneFrame, portrait: Portrait) -> None:
    before = eye.views
    picker(eye)(replace(portrait.found, tracks=np.array([-1], np.int32)))
    assert eye.views == before


def test_a_track_that_was_gone_for_half_a_minute_begins_again(eye: OneFrame, portrait: Portrait) -> None:
    for seconds, again in ((29, 0), (31, 1)):
        pick = picker(eye)
        for t in range(20):
            pick(later(portrait.found, t * SECOND))
        assert len(pick(later(portrait.found, (19 + seconds) * SECOND)).rows) == 1
        assert len(pick(later(portrait.found, (19 + seconds) * SECOND + 200 * MS)).rows) == again


def test_pixels_that_are_gone_use_up_no_pick(portrait: Portrait) -> None:
    class Gone(OneFrame):
        """A fake ring that has come round once."""

        @contextmanager
        def view(self, frame: Frame) -> Iterator[Image]:
            yield portrait.pixels
            if frame.pts_ns == 0:
                raise Overwritten

    pick = picker(Gone(), most=2)
    with pytest.raises(Overwritten):
        pick(later(portrait.found, 0))
    assert len(pick(later(portrait.found, 1)).rows) == 1


def test_a_graph_or_a_detector_that_cannot_do(eye: OneFrame, portrait: Portrait) -> None:
    with pytest.raises(ValueError, match="needs Track before it"):
        picker(eye)(replace(portrait.found, tracks=None))
    with pytest.raises(Usage, match=r"set detect\.model to a detector of faces"):
        picker(eye)(replace(portrait.found, keypoints=None))


@pytest.mark.parametrize("keys", [{"align": "insight"}, {"most": 0}, {"floor": 2}, {"good": 3}])
def test_a_wrong_config_names_its_key(keys: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(keys))):
        msgspec.convert(keys, PickConfig)


def rated(portrait: Portrait, spoil: Callable[[Image], Image] = lambda chip: chip, align: Align = "dlib") -> Quality:
    """The quality of the portrait with its chip spoilt."""
    portrait.eye.pixels = portrait.pixels
    found = portrait.found
    assert found.keypoints is not None
    (chip,) = Crop(CropConfig(align=align), portrait.eye)(found).chips
    return rate(found.boxes, found.keypoints, np.asarray(spoil(chip), np.uint8)[None], TEMPLATES[align], 48)


@pytest.mark.parametrize(
    ("factor", "spoil"),
    [
        ("sharp", lambda chip: cv2.GaussianBlur(chip, (0, 0), 4)),
        ("sharp", lambda chip: cv2.blur(chip, (21, 1))),
        ("sharp", lambda chip: cv2.resize(cv2.resize(chip, (20, 20), interpolation=cv2.INTER_AREA), (150, 150))),
        ("lit", lambda chip: chip // 8),
        ("unblown", lambda chip: np.clip(chip.astype(int) * 2, 0, 255)),
    ],
)
def test_each_fault_lowers_its_own_factor(portrait: Portrait, factor: str, spoil: Callable[[Image], Image]) -> None:
    good, bad = rated(portrait), rated(portrait, spoil)
    assert good.total[0] > 0.85
    assert getattr(bad, factor)[0] < 0.6
    for other in {"sharp", "lit", "unblown"} - {factor}:
        assert getattr(bad, other)[0] >= getattr(good, other)[0] - 0.1
    assert bad.total[0] < 0.65 * good.total[0]


def test_far_away_and_turned_away(portrait: Portrait) -> None:
    good, found = rated(portrait), portrait.found
    assert found.keypoints is not None
    chips = np.full((3, 150, 150, 3), 90, np.uint8)
    sizes = rate(
        np.array([[0, 0, 47, 90], [0, 0, 56, 90], [0, 0, 112, 150]], np.float32),
        np.repeat(found.keypoints, 3, 0),
        chips,
        TEMPLATES["dlib"],
        48,
    ).size
    np.testing.assert_allclose(sizes, [0, 0.5, 1])
    turned, upside, mixed = (found.keypoints.copy() for _ in range(3))
    turned[0, 2, 0] += 0.44 * (turned[0, 1, 0] - turned[0, 0, 0])  # the nose by tan 45 of its depth
    upside[0] = 500 - upside[0]
    mixed[0, :2] = mixed[0, 1::-1]
    frontal = rate(
        np.repeat(found.boxes, 3, 0), np.concatenate([turned, upside, mixed]), chips, TEMPLATES["dlib"], 48
    ).frontal
    assert good.frontal[0] > 0.9
    assert 0.35 < frontal[0] < 0.6
    assert frontal[1] < 0.05
    assert frontal[2] == 0


def test_both_alignments_give_nearly_the_same_quality(portrait: Portrait) -> None:
    dlib, arcface = rated(portrait), rated(portrait, align="arcface")
    np.testing.assert_allclose(np.array(dlib), np.array(arcface), atol=0.1)


def test_no_faces_have_no_quality() -> None:
    nothing = rate(
        np.empty((0, 4), np.float32),
        np.empty((0, 5, 2), np.float32),
        np.empty((0, 150, 150, 3), np.uint8),
        TEMPLATES["dlib"],
        48,
    )
    assert nothing.total.shape == (0,)
