"""The sheet of thumbs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.errors import Failed
from stages.highlight.sheet import ACCENT, GROUND, HEIGHT, MOST, WIDTH, sheet, write_sheet
from stages.highlight.thumbs import Thumb
from stages.highlight.timeline import Reel


def many(reel: Reel, count: int, **changed: object) -> Reel:
    """The reel with so many moments like its first."""
    return replace(reel, moments=[msgspec.structs.replace(reel.moments[0], **changed)] * count)


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_each_moment_has_its_place_on_a_tidy_grid(count: int, clips: Reel) -> None:
    thumb = np.full((HEIGHT, WIDTH, 3), (1, 2, 254), np.uint8)
    made = sheet(many(clips, count), [thumb] * count)
    found, _, boxes, _ = cv2.connectedComponentsWithStats((made == (1, 2, 254)).all(axis=2).astype(np.uint8))
    assert found - 1 == count
    assert {(int(box[2]), int(box[3])) for box in boxes[1:]} == {(WIDTH, HEIGHT)}
    assert made.shape[1] / made.shape[0] < 2
    edge = np.concatenate([made[:20].reshape(-1, 3), made[-20:].reshape(-1, 3), made[:, -20:].reshape(-1, 3)])
    assert (edge == GROUND).all()


def test_of_very_many_moments_the_best_are_shown(clips: Reel, tmp_path: Path) -> None:
    """The two that were asked for are the worst of them, and are shown all the same."""
    count = MOST + 2200
    ranks = np.random.default_rng(1).permutation(count)
    moments = [msgspec.structs.replace(clips.moments[0], score=rank / count, must=rank < 2) for rank in ranks.tolist()]
    best, other = np.full((1, 1, 3), (1, 2, 254), np.uint8), np.zeros((1, 1, 3), np.uint8)
    thumbs = [best if rank < 2 or rank >= count - MOST + 2 else other for rank in ranks]
    made = sheet(replace(clips, moments=moments), thumbs)
    assert (made == (1, 2, 254)).all(axis=2).sum() == MOST
    write_sheet(replace(clips, moments=moments), tmp_path / "sheet.jpg", thumbs)
    assert (tmp_path / "sheet.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_the_sheet_says_that_there_are_more(clips: Reel) -> None:
    """Its head has more to say in one line."""
    all_of, best_of = (
        sheet(many(clips, count, end_ns=clips.moments[0].start_ns), [np.zeros((1, 1, 3), np.uint8)] * count)
        for count in (MOST, MOST + 1)
    )
    assert all_of.shape == best_of.shape
    begins = [np.nonzero((made[:60, 1000:] != GROUND).any(axis=(0, 2)))[0].min() for made in (all_of, best_of)]
    assert begins[1] < begins[0] - 80


def test_what_cannot_be_encoded_is_not_written(
    clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.highlight.sheet.HEAD", 65_500)  # pixels, more than a JPEG can have with the rest
    with pytest.raises(Failed, match="cannot be encoded"):
        write_sheet(clips, tmp_path / "sheet.jpg", clip_thumbs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(HEIGHT, 40, 3), (30, WIDTH, 3), (1, 1, 3)])
def test_odd_shapes_are_letterboxed(shape: tuple[int, int, int], clips: Reel) -> None:
    made = sheet(many(clips, 1), [np.full(shape, (1, 2, 254), np.uint8)])
    rows, columns = np.nonzero((made == (1, 2, 254)).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == shape[:2]
    assert made.shape[1] - columns.min() - columns.max() - 1 == pytest.approx(0, abs=1)


def test_a_long_name_in_any_script_stays_in_its_column(clips: Reel) -> None:
    thumb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for name in ("Fußball «été» " * 20 + ".mp4", "日本語の動画" * 30 + ".mp4", "line\nbreak" * 30 + ".mp4"):
        timelines = [
            replace(one, video=msgspec.structs.replace(one.video, path=f"/x/{name}")) for one in clips.timelines
        ]
        made = sheet(many(replace(clips, timelines=timelines), 4), [thumb] * 4)
        middle = made.shape[1] // 2
        assert (made[:, middle - 8 : middle + 8] == GROUND).all()
        assert (made[:, -20:] == GROUND).all()


def test_the_score_is_as_long_as_its_bar(clips: Reel) -> None:
    thumb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lengths = [
        (sheet(many(clips, 1, score=score), [thumb]) == ACCENT).all(axis=2).sum(axis=1).max() for score in (0.25, 0.75)
    ]
    assert [length / WIDTH for length in lengths] == pytest.approx([0.25, 0.75], abs=0.01)


def test_it_is_written_for_whoever_may_read(clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_sheet(clips, tmp_path / "out" / "sheet.jpg", clip_thumbs)
    finally:
        os.umask(umask)
    written = tmp_path / "out" / "sheet.jpg"
    assert written.stat().st_mode & 0o777 == 0o644
    assert list(written.parent.iterdir()) == [written]
    read = cv2.imread(str(written))
    assert read is not None
    assert np.abs(read.astype(int) - sheet(clips, clip_thumbs)).mean() < 3
