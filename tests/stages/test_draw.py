from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.frames import Overwritten
from pipeline.types import Detections, Frame, Matches
from stages.draw import KNOWN, PLAIN, UNKNOWN, Draw, DrawConfig, drawable
from tests.fakes import MemoryFrames

FRAMES = MemoryFrames()
DRAW = Draw(DrawConfig(), FRAMES)


def grey(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def matches(frame: Frame, boxes: list[list[float]], names: list[str], similarity: list[float]) -> Matches:
    n = len(boxes)
    corners = np.array(boxes, np.float32).reshape(n, 4)
    points = np.repeat(((corners[:, :2] + corners[:, 2:]) / 2)[:, None], 5, axis=1)
    found = Detections(frame, corners, np.full(n, 0.9, np.float32), np.zeros(n, np.int32), points, ("face",))
    return Matches(found, tuple(names), np.array(similarity, np.float32))


def draw(image: NDArray[np.uint8], boxes: list[list[float]], names: list[str], similarity: list[float]) -> NDArray:
    return DRAW(matches(FRAMES.put(image), boxes, names, similarity)).picture


def count(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((picture == np.array(color, np.uint8)).all(axis=2).sum())


def extent(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((picture == np.array(color, np.uint8)).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    ("name", "similarity", "color"),
    [("José", 0.8, KNOWN), ("", 0.2, UNKNOWN), ("", np.nan, PLAIN), ("王", np.nan, KNOWN)],
)
def test_the_color_tells_known_unknown_and_not_compared(
    name: str, similarity: float, color: tuple[int, int, int]
) -> None:
    picture = draw(grey(640, 360), [[200, 100, 300, 240]], [name], [similarity])
    assert count(picture, color) > 1000
    assert not any(count(picture, other) for other in {KNOWN, UNKNOWN, PLAIN} - {color})


def test_the_box_is_where_the_face_is() -> None:
    picture = draw(grey(1280, 720), [[400, 200, 600, 500]], [""], [np.nan])
    rows = (picture[:, 500] == PLAIN).all(axis=1).nonzero()[0]
    columns = (picture[350] == PLAIN).all(axis=1).nonzero()[0]
    assert {200, 499} <= set(rows.tolist())
    assert {400, 599} <= set(columns.tolist())
    assert (picture[300, 450] == 128).all()


def test_the_frame_in_the_ring_stays_as_it_is() -> None:
    image = grey(320, 180)
    drawn = DRAW(matches(FRAMES.put(image), [[50, 50, 90, 90]], ["José"], [0.9]))
    assert (image == 128).all()
    assert drawn.picture.shape == image.shape
    assert drawn.picture.flags.writeable


def test_pixels_that_are_gone_are_said_to_be_gone() -> None:
    class Torn:
        @contextmanager
        def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
            yield grey(frame.width, frame.height)
            raise Overwritten

    frame = FRAMES.put(grey(64, 64))
    with pytest.raises(Overwritten):
        Draw(DrawConfig(), Torn())(matches(frame, [], [], []))


def test_every_script_leaves_other_pixels_than_a_question_mark() -> None:
    def label(name: str) -> bytes:
        return draw(grey(640, 360), [[200, 100, 400, 300]], [name], [0.8]).tobytes()

    names = ["José", "Jose", "王", "김", "Łukasz", "Ελένη", "Дмитрий", "שלום", "محمد", "Nguyễn"]
    assert len({label(name) for name in [*names, "?", "??????"]}) == len(names) + 2


def test_text_is_made_safe_for_the_renderer() -> None:
    assert drawable("a\ud800b\n\x00\t") == "a?b???"
    assert drawable("Jose\u0301") == "José"
    assert drawable("שלום") == "םולש"
    assert drawable("ab שלום רב 3") == "ab בר םולש 3"


def test_two_labels_do_not_cover_each_other() -> None:
    boxes = [[100, 100, 180, 200], [190, 105, 270, 205]]
    both = draw(grey(640, 360), boxes, ["Somebody Longname", ""], [0.8, 0.2])
    alone = [count(draw(grey(640, 360), [boxes[0]], ["Somebody Longname"], [0.8]), KNOWN)]
    alone.append(count(draw(grey(640, 360), [boxes[1]], [""], [0.2]), UNKNOWN))
    assert [count(both, KNOWN), count(both, UNKNOWN)] == alone


def test_in_a_row_of_people_no_label_covers_a_face() -> None:
    row = [[113, 157, 148, 202], [495, 178, 528, 218], [266, 204, 294, 243]]
    row += [[430, 190, 459, 229], [345, 197, 372, 232], [198, 194, 226, 228]]  # as found in a photo, the surest first
    picture = draw(grey(640, 426), row, ["", "", "Anna", "Maria Gonzalez", "", ""], [0.2, 0.2, 0.9, 0.9, 0.4, 0.4])
    for left, top, right, bottom in row:
        inner = picture[top + 10 : bottom - 10, left + 7 : right - 7]
        assert not count(inner, KNOWN)
        assert not count(inner, UNKNOWN)


@pytest.mark.parametrize(
    ("name", "color", "labels", "written"),
    [("Jo", KNOWN, ("face",), True), ("", UNKNOWN, ("face",), False), ("", UNKNOWN, ("face", "cat"), True)],
)
def test_in_a_crowd_figures_are_left_out_and_a_stranger_has_no_label(
    name: str, color: tuple[int, int, int], labels: tuple[str, ...], written: bool
) -> None:
    boxes = [[x, y, x + 80, y + 40] for x in range(0, 640, 80) for y in range(0, 360, 40) if (x, y) != (320, 160)]
    boxes.insert(0, [320, 160, 400, 200])
    similarity = [0.8] + [np.nan] * (len(boxes) - 1)
    seen = matches(FRAMES.put(grey(640, 360)), boxes, [name] + [""] * (len(boxes) - 1), similarity)
    found = Detections(seen.frame, seen.found.boxes, seen.found.scores, seen.found.classes, None, labels)
    short = DRAW(Matches(found, seen.names, seen.similarity)).picture
    full = draw(grey(640, 360), boxes[:1], [name], [0.8])
    assert count(short, color) < count(full, color) * 0.5
    assert (count(short, color) > 0) == written  # its box is under the edges of the boxes around it


@pytest.mark.parametrize("box", [[0, 0, 90, 90], [1200, 0, 1280, 90], [0, 640, 80, 720], [1190, 630, 1280, 720]])
def test_a_label_stays_whole_inside_the_frame(box: list[float]) -> None:
    middle = draw(grey(1280, 720), [[600, 300, 690, 390]], ["José Ángel"], [0.8])
    corner = draw(grey(1280, 720), [box], ["José Ángel"], [0.8])
    left, _, right, _ = extent(middle, KNOWN)
    new_left, _, new_right, _ = extent(corner, KNOWN)
    assert new_right - new_left >= right - left - 8  # the box's own edge may lie outside; the label is wider


def test_a_name_wider_than_the_frame_is_cut() -> None:
    short = draw(grey(320, 240), [[50, 80, 250, 200]], ["W" * 40], [0.8])
    assert extent(short, KNOWN)[2] <= 320
    assert (short == draw(grey(320, 240), [[50, 80, 250, 200]], ["W" * 400], [0.8])).mean() > 0.99


def test_sizes_follow_the_frame() -> None:
    heights = []
    for scale in (1, 2, 6):
        picture = draw(grey(640 * scale, 360 * scale), [[v * scale for v in (200, 100, 400, 300)]], ["José"], [0.8])
        heights.append(100 * scale - extent(picture, KNOWN)[1])
    assert heights[0] < heights[1] < heights[2]
    assert heights[2] == pytest.approx(heights[1] * 3, rel=0.15)


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 300)),
    boxes=st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=4, max_size=4), max_size=4),
    name=st.text(max_size=40),
)
def test_nothing_that_a_message_can_hold_stops_it(size: tuple[int, int], boxes: list[list[float]], name: str) -> None:
    picture = draw(grey(*size), boxes, [name] * len(boxes), [float("nan")] * len(boxes))
    assert picture.shape == (size[1], size[0], 3)


def test_a_class_without_a_label_has_a_number() -> None:
    found = matches(FRAMES.put(grey(320, 240)), [[50, 80, 250, 200]], [""], [float("nan")]).found
    two = Detections(found.frame, found.boxes, found.scores, found.classes + 7, None, found.labels)
    nothing = np.array([np.nan], np.float32)
    numbered = DRAW(Matches(two, ("",), nothing)).picture
    labelled = DRAW(Matches(found, ("",), nothing)).picture
    assert extent(numbered, PLAIN)[0] <= 50
    assert (numbered != labelled).any()


def test_a_real_photo_differs_only_where_something_was_drawn(shared: Path) -> None:
    image = np.asarray(cv2.imread(str(shared / "photos/facenet_pytorch/multiface.jpg")), np.uint8)
    picture = draw(image, [[300, 200, 380, 300]], ["José"], [0.8])
    changed = (picture != image).any(axis=2)
    assert changed[170:310, 280:520].sum() > 1000
    changed[150:310, 280:560] = False
    changed[-40:, :260] = False  # the stamp
    assert not changed.any()
