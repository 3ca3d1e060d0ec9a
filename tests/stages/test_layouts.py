"""Each decoder against an encoder written here: known objects go into raw outputs, the same objects come out.

Real weights are in test_detect.py and, for decoding and NMS in the graph, in tests/export. For YOLOv5, v8, v10 and
SCRFD no real file is at hand: these encoders, written from the formats' definitions, are all the evidence there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.layouts import COCO, LAYOUTS, Found, best, recognize

Array = NDArray[np.float32]
SIZE = (128, 192)
STRIDES = (8, 16, 32)
CELLS = sum((SIZE[0] // s) * (SIZE[1] // s) for s in STRIDES)
CLASSES = 80


class Scene:
    """A few objects with room between them; each lies in a cell of its own at every stride."""

    def __init__(self, classes: int = CLASSES) -> None:
        rng = np.random.default_rng(3)
        grid = np.array([(x, y) for y in (20, 60, 100) for x in (20, 60, 100, 140)], np.float32)
        centres = grid + rng.uniform(0, 3, grid.shape).astype(np.float32)
        sides = rng.uniform(8, 30, centres.shape).astype(np.float32)
        self.boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        self.scores = np.linspace(0.9, 0.6, len(centres)).astype(np.float32)
        self.classes = rng.integers(0, classes, len(centres)).astype(np.int32)
        self.points = (centres[:, None] + rng.uniform(-5, 5, (len(centres), 5, 2))).astype(np.float32)
        self.centres, self.sides = centres, sides


def noise(*shape: int) -> Array:
    """Scores that never reach the threshold."""
    return np.random.default_rng(1).uniform(0, 0.3, shape).astype(np.float32)


def levels(count: int) -> list[int]:
    """The stride that each object is put on."""
    return [STRIDES[index % 3] for index in range(count)]


def offset(stride: int) -> int:
    """How many cells come before those of `stride`."""
    return sum((SIZE[0] // s) * (SIZE[1] // s) for s in STRIDES if s < stride)


def yolov5(scene: Scene) -> list[Array]:
    raw = noise(3 * CELLS, 5 + CLASSES)
    for index, row in enumerate(range(5, 5 + 11 * len(scene.boxes), 11)):
        raw[row, :4] = *scene.centres[index], *scene.sides[index]
        raw[row, 4], raw[row, 5 + scene.classes[index]] = 0.95, scene.scores[index] / 0.95
    return [raw]


def yolov8(scene: Scene) -> list[Array]:
    raw = noise(4 + CLASSES, CELLS)
    for index, column in enumerate(range(5, 5 + 11 * len(scene.boxes), 11)):
        raw[:4, column] = *scene.centres[index], *scene.sides[index]
        raw[4 + scene.classes[index], column] = scene.scores[index]
    return [raw]


def yolov10(scene: Scene) -> list[Array]:
    raw = noise(300, 6)
    for index in range(len(scene.boxes)):
        raw[index] = *scene.boxes[index], scene.scores[index], scene.classes[index]
    return [raw]


def yolox(scene: Scene) -> list[Array]:
    raw = noise(CELLS, 5 + CLASSES)
    for index, stride in enumerate(levels(len(scene.boxes))):
        column, row = (scene.centres[index] // stride).astype(int)
        line = offset(stride) + row * (SIZE[1] // stride) + column
        raw[line, :2] = scene.centres[index] / stride - (column, row)
        raw[line, 2:4] = np.log(scene.sides[index] / stride)
        raw[line, 4], raw[line, 5 + scene.classes[index]] = 0.95, scene.scores[index] / 0.95
    return [raw]


def fastestdet(scene: Scene) -> list[Array]:
    raw = noise(5 + CLASSES, SIZE[0] // 16, SIZE[1] // 16)
    for index in range(len(scene.boxes)):
        column, row = (scene.centres[index] // 16).astype(int)
        share = scene.sides[index] / (SIZE[1], SIZE[0])
        raw[0, row, column] = 0.95
        raw[1:3, row, column] = np.arctanh(scene.centres[index] / 16 - (column, row))
        raw[3:5, row, column] = np.log(share / (1 - share))
        raw[5 + scene.classes[index], row, column] = (scene.scores[index] / 0.95**0.6) ** 2.5
    return [raw]


def yunet(scene: Scene) -> list[Array]:
    counts = [(SIZE[0] // s) * (SIZE[1] // s) for s in STRIDES]
    cls, obj = [noise(n, 1) for n in counts], [noise(n, 1) for n in counts]
    boxes, points = [noise(n, 4) for n in counts], [noise(n, 10) for n in counts]
    for index, stride in enumerate(levels(len(scene.boxes))):
        cell = (scene.centres[index] // stride).astype(int)
        level, row = STRIDES.index(stride), cell[1] * (SIZE[1] // stride) + cell[0]
        cls[level][row], obj[level][row] = scene.scores[index] ** 2 / 0.9, 0.9
        boxes[level][row] = *(scene.centres[index] / stride - cell), *np.log(scene.sides[index] / stride)
        points[level][row] = (scene.points[index] / stride - cell).ravel()
    return [*cls, *obj, *boxes, *points]


def scrfd(scene: Scene) -> list[Array]:
    counts = [2 * (SIZE[0] // s) * (SIZE[1] // s) for s in STRIDES]
    scores = [noise(n, 1) for n in counts]
    boxes, points = [noise(n, 4) for n in counts], [noise(n, 10) for n in counts]
    for index, stride in enumerate(levels(len(scene.boxes))):
        cell = (scene.centres[index] // stride).astype(int)
        level, row = STRIDES.index(stride), 2 * (cell[1] * (SIZE[1] // stride) + cell[0]) + index % 2
        anchor = cell * stride
        scores[level][row] = scene.scores[index]
        boxes[level][row] = np.concatenate([anchor - scene.boxes[index, :2], scene.boxes[index, 2:] - anchor]) / stride
        points[level][row] = ((scene.points[index] - anchor) / stride).ravel()
    return [*scores, *boxes, *points]


def ultraface(scene: Scene) -> list[Array]:
    scores, boxes = noise(4420, 2), noise(4420, 4)
    rows = range(7, 7 + 13 * len(scene.boxes), 13)
    scores[list(rows), 1] = scene.scores
    boxes[list(rows)] = scene.boxes / (SIZE[1], SIZE[0], SIZE[1], SIZE[0])
    return [scores, boxes]


def centerface(scene: Scene) -> list[Array]:
    height, width = SIZE[0] // 4, SIZE[1] // 4
    heat, sizes, offsets, points = (noise(channels, height, width) for channels in (1, 2, 2, 10))
    for index in range(len(scene.boxes)):
        column, row = (scene.centres[index] // 4).astype(int)
        heat[0, row, column] = scene.scores[index]
        sizes[:, row, column] = np.log(scene.sides[index] / 4)[::-1]
        offsets[:, row, column] = (scene.centres[index] / 4 - 0.5 - (column, row))[::-1]
        relative = (scene.points[index] - scene.boxes[index, :2]) / scene.sides[index]
        points[:, row, column] = relative[:, ::-1].ravel()
    return [heat, sizes, offsets, points]


def decoded(scene: Scene) -> list[Array]:
    count, k = len(scene.boxes), 100
    outputs = [np.zeros((k, 4), np.float32), noise(k), np.zeros(k, np.float32), np.zeros((k, 5, 2), np.float32)]
    for output, value in zip(outputs, (scene.boxes, scene.scores, scene.classes, scene.points), strict=True):
        output[:count] = value
    return outputs


ENCODERS: dict[str, Callable[[Scene], list[Array]]] = {
    name: globals()[name] for name, layout in LAYOUTS.items() if not layout.listed
}  # a layout without an encoder here is an error
FACES = ("yunet", "scrfd", "centerface", "decoded")


def found(name: str, scene: Scene, threshold: float = 0.5) -> Found:
    return best(LAYOUTS[name].decode(ENCODERS[name](scene), SIZE, threshold), 1000)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_was_put_in_comes_out(name: str) -> None:
    one_class = LAYOUTS[name].labels == ("face",)
    scene = Scene(classes=1 if one_class else CLASSES)
    result = found(name, scene)
    np.testing.assert_allclose(result.boxes, scene.boxes, atol=2e-3)
    np.testing.assert_allclose(result.scores, scene.scores, atol=1e-5)
    assert result.classes.tolist() == scene.classes.tolist()
    if name in FACES:
        assert result.keypoints is not None
        np.testing.assert_allclose(result.keypoints, scene.points, atol=2e-3)
    else:
        assert result.keypoints is None


@pytest.mark.parametrize("name", ENCODERS)
def test_the_dtypes_are_those_of_the_messages(name: str) -> None:
    result = found(name, Scene(classes=1))
    assert [array.dtype.name for array in result[:3]] == ["float32", "float32", "int32"]
    assert result.keypoints is None or result.keypoints.dtype == np.float32


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_above_the_threshold_gives_nothing(name: str) -> None:
    result = found(name, Scene(classes=1), threshold=0.97)
    assert result.boxes.shape == (0, 4)
    assert result.scores.shape == result.classes.shape == (0,)
    assert result.keypoints is None or result.keypoints.shape == (0, 5, 2)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_layout_is_recognized_from_its_outputs_alone(name: str) -> None:
    shapes = [output.shape for output in ENCODERS[name](Scene(classes=1))]
    assert recognize(shapes, "f" * len(shapes), SIZE) == [name]
    assert LAYOUTS[name].names(shapes, SIZE) == (COCO if LAYOUTS[name].labels == COCO else ("face",))


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None)])
def test_stride_outputs_are_told_apart_whatever_their_order(order: slice) -> None:
    scene = Scene(classes=1)
    for name in ("yunet", "scrfd"):
        result = best(LAYOUTS[name].decode(ENCODERS[name](scene)[order], SIZE, 0.5), 1000)
        np.testing.assert_allclose(result.boxes, scene.boxes, atol=2e-3)


def test_scrfd_without_points_has_none() -> None:
    scene = Scene(classes=1)
    outputs = scrfd(scene)[:6]
    assert recognize([output.shape for output in outputs], "f" * 6, SIZE) == ["scrfd"]
    result = best(LAYOUTS["scrfd"].decode(outputs, SIZE, 0.5), 1000)
    np.testing.assert_allclose(result.boxes, scene.boxes, atol=2e-3)
    assert result.keypoints is None


def test_classes_without_names_are_numbered() -> None:
    assert LAYOUTS["yolov8"].names([(7, CELLS)], SIZE) == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    "shapes", [[], [(128,)], [(85, 22, 22)], [(CELLS + 1, 85)], [(3, *SIZE)], [(4420, 2), (4419, 4)], [(1, 8, 8)] * 4]
)
def test_other_shapes_are_no_layout(shapes: Sequence[tuple[int, ...]]) -> None:
    assert recognize(shapes, "f" * len(shapes), SIZE) == []


def test_scrfd_at_a_size_that_its_coarsest_stride_does_not_divide() -> None:
    """192 is one and a half cells of 128: padded convolutions have two rows of them."""
    size, strides = (192, 320), (8, 16, 32, 64, 128)
    rows = [-(-size[0] // stride) * -(-size[1] // stride) for stride in strides]
    scores, boxes, points = ([np.zeros((count, width), np.float32) for count in rows] for width in (1, 4, 10))
    scores[4][1 * 3 + 2], boxes[4][1 * 3 + 2] = 0.9, 0.25  # column 2, row 1: at (256, 128), 32 px to each side
    outputs = [*scores, *boxes, *points]
    assert recognize([output.shape for output in outputs], "f" * 15, size) == ["scrfd"]
    assert LAYOUTS["scrfd"].decode(outputs, size, 0.5).boxes.tolist() == [[224, 96, 288, 160]]


@pytest.mark.parametrize("widths", [(1, 4), (1, 1, 4, 10)])
def test_stride_outputs_of_another_input_size_are_no_layout(widths: Sequence[int]) -> None:
    shapes = [(count, width) for count in (100, 50, 25) for width in widths]
    assert recognize(shapes, "f" * len(shapes), SIZE) == []


@pytest.mark.parametrize(("kinds", "names"), [("ffi", ["decoded"]), ("fff", ["decoded"]), ("fif", []), ("iff", [])])
def test_labels_before_scores_are_not_read_as_scores(kinds: str, names: list[str]) -> None:
    assert recognize([(10, 4), (10,), (10,)], kinds, SIZE) == names


def test_the_best_come_first_and_ties_keep_their_order() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.7, 0.5], np.float32)
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    result = best(Found(boxes, scores, np.arange(5, dtype=np.int32), None), 4)
    assert result.classes.tolist() == [1, 3, 0, 2]
    np.testing.assert_array_equal(result.boxes, boxes[[1, 3, 0, 2]])
