"""Crop: where eyes, nose and mouth end up in a chip, and which faces get one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.types import Detections, Frame
from stages.crop import TEMPLATES, Align, Crop, CropConfig, similarity
from tests.fakes import MemoryFrames

ALIGNS = get_args(Align)
# BGR of the dots painted on left eye, right eye, nose and the corners of the mouth.
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def moved(points: NDArray[np.float32], scale: float, degrees: float, x: float, y: float) -> NDArray[np.float32]:
    """`points` (K, 2) turned about the origin, scaled, then shifted."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(scale * points @ turn.T + [x, y], np.float32)


def found(
    frames: MemoryFrames, image: NDArray[np.uint8], keypoints: NDArray[np.float32] | None, boxes: NDArray[np.float32]
) -> Detections:
    n = len(boxes)
    scores, classes = np.linspace(0.9, 0.5, n, dtype=np.float32), np.zeros(n, np.int32)
    return Detections(frames.put(image), boxes, scores, classes, keypoints, ("face",))


def around(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([keypoints.min(axis=1) - 20, keypoints.max(axis=1) + 20], axis=1)


@given(scale=st.floats(0.05, 20), degrees=st.floats(-180, 180), x=st.floats(-4000, 4000), y=st.floats(-4000, 4000))
@pytest.mark.parametrize("align", ALIGNS)
def test_the_matrix_undoes_any_turn_scale_and_shift(
    align: Align, scale: float, degrees: float, x: float, y: float
) -> None:
    template = TEMPLATES[align].points
    points = moved(template, scale, degrees, x, y).astype(np.float64)
    (matrix,) = similarity(points[None].astype(np.float32), template)
    back = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, template, atol=0.02)
    assert np.linalg.det(matrix[:, :2]) > 0  # turned, never mirrored


def test_the_matrix_is_the_least_squares_one() -> None:
    """Against NumPy's solver, on points that no similarity maps exactly."""
    rng = np.random.default_rng(5)
    template = TEMPLATES["arcface"].points
    points = (moved(template, 2.5, 20, 300, 200) + rng.normal(0, 8, (5, 2))).astype(np.float32)
    ones, zeros = np.ones(5), np.zeros(5)
    rows_x = np.stack([points[:, 0], -points[:, 1], ones, zeros], axis=1)
    rows_y = np.stack([points[:, 1], points[:, 0], zeros, ones], axis=1)
    (a, b, tx, ty), *_ = np.linalg.lstsq(np.concatenate([rows_x, rows_y]), template.T.ravel(), rcond=None)
    np.testing.assert_allclose(similarity(points[None], template)[0], [[a, -b, tx], [b, a, ty]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("align", ALIGNS)
def test_the_five_points_lie_where_the_template_has_them_in_rgb(align: Align) -> None:
    template = TEMPLATES[align]
    image = np.zeros((720, 1280, 3), np.uint8)
    keypoints = np.stack([moved(template.points, 2, 0, 100, 100), moved(template.points, 1.5, 35, 800, 150)])
    for face in keypoints:
        for (x, y), colour in zip(face, COLOURS, strict=True):
            cv2.circle(image, (round(float(x)), round(float(y))), 9, colour.tolist(), -1)
    frames = MemoryFrames()
    crops = Crop(CropConfig(align=align), frames)(found(frames, image, keypoints, around(keypoints)))
    assert crops.chips.shape == (2, template.side, template.side, 3)
    assert crops.rows.tolist() == [0, 1]
    for chip in crops.chips:
        columns, rows = template.points.round().astype(int).T
        np.testing.assert_allclose(chip[rows, columns, ::-1].astype(int), COLOURS, atol=40)


def test_only_faces_that_are_large_enough_get_a_chip() -> None:
    frames = MemoryFrames()
    template = TEMPLATES["dlib"].points
    boxes = np.array([[0, 0, 200, 200], [0, 0, 39, 300], [0, 0, 40, 40], [0, 0, 10, 10]], np.float32)
    keypoints = np.repeat(template[None], 4, axis=0)
    detections = found(frames, np.full((400, 400, 3), 90, np.uint8), keypoints, boxes)
    crops = Crop(CropConfig(min_face=40), frames)(detections)
    assert crops.rows.tolist() == [0, 2]
    assert crops.found is detections
    assert (crops.chips == 90).all()


def test_a_detector_without_points_gives_no_chips() -> None:
    frames = MemoryFrames()
    boxes = np.array([[0, 0, 200, 200]], np.float32)
    crops = Crop(CropConfig(), frames)(found(frames, np.zeros((300, 300, 3), np.uint8), None, boxes))
    assert crops.rows.shape == (0,)
    assert crops.chips.shape == (0, 150, 150, 3)


def test_a_frame_without_faces_is_not_even_looked_at() -> None:
    class Closed(MemoryFrames):
        """A fake ring that must not be read."""

        @contextmanager
        def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
            raise AssertionError(frame)
            yield

    frames = Closed()
    nothing = found(
        frames, np.zeros((9, 9, 3), np.uint8), np.empty((0, 5, 2), np.float32), np.empty((0, 4), np.float32)
    )
    assert len(Crop(CropConfig(), frames)(nothing).chips) == 0


def test_points_that_all_coincide_are_no_face() -> None:
    frames = MemoryFrames()
    keypoints = np.full((1, 5, 2), 50, np.float32)
    boxes = np.array([[0, 0, 200, 200]], np.float32)
    crops = Crop(CropConfig(), frames)(found(frames, np.zeros((300, 300, 3), np.uint8), keypoints, boxes))
    assert crops.rows.shape == (0,)


def test_a_face_cut_by_the_edge_of_the_frame_is_black_beyond_it() -> None:
    frames = MemoryFrames()
    template = TEMPLATES["arcface"].points
    keypoints = moved(template, 1, 0, -56, 0)[None]  # its left half is outside
    crops = Crop(CropConfig(align="arcface"), frames)(
        found(frames, np.full((112, 200, 3), 77, np.uint8), keypoints, np.array([[0, 0, 56, 112]], np.float32))
    )
    assert (crops.chips[0, :, :55] == 0).all()
    assert (crops.chips[0, :-1, 57:] == 77).all()


@pytest.mark.parametrize("keys", [{"align": "insight"}, {"min_face": 0}, {"min_faces": 3}])
def test_a_wrong_config_names_its_key(keys: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(keys))):
        msgspec.convert(keys, CropConfig)
