"""The exactness of NMS against a plain reference, and the stage around it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.types import Candidates, Frame
from stages.nms import Nms, NmsConfig, _compile, suppress

FRAME = Frame("cam", 0, 1, 0, 1, 0, 2, 640, 360)
ALL = 1 << 40


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """IoU of two boxes, each step a float32 of its own."""
    zero = np.float32(0)
    with np.errstate(all="ignore"):
        area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
        width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), zero)
        inter = width * np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), zero)
        return np.float32(inter / (area_a + area_b - inter))


def textbook(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int32] | None,
    images: NDArray[np.int32] | None,
    iou: float,
    top: int,
) -> list[int]:
    """Greedy NMS as a textbook writes it down."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda row: (np.isnan(scores[row]), -scores[row], row)):
        rivals = [k for k in kept if images is None or images[k] == images[row]]
        same = [k for k in rivals if classes is None or classes[k] == classes[row]]
        if len(rivals) < top and not any(overlap(boxes[row], boxes[k]) > np.float32(iou) for k in same):
            kept.append(row)
    return kept


# Few values, so that ties, duplicates, touching, empty and inverted boxes are common; and all that float32 can hold.
COARSE = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.5, 7.0])
FINE = st.floats(0, 8, width=32)
WILD = st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-20, 2e-20, 1e-45])
SCORES = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0]) | st.floats(width=32)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    n = draw(st.integers(0, 30))
    numbers = draw(st.sampled_from([COARSE, FINE, COARSE | FINE | WILD]))
    boxes = np.array(draw(st.lists(numbers, min_size=4 * n, max_size=4 * n)), np.float32).reshape(n, 4)
    if draw(st.booleans()):
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    scores = np.array(draw(st.lists(SCORES, min_size=n, max_size=n)), np.float32)
    ids = st.sampled_from([0, 1, 2, 64, -1, -(2**31), 2**31 - 1])
    classes, images = (np.array(draw(st.lists(ids, min_size=n, max_size=n)), np.int32) for _ in range(2))
    return boxes, scores, classes, images


@given(scenes(), st.data())
@settings(max_examples=150)
def test_keeps_what_the_textbook_keeps(
    scene: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]], data: st.DataObject
) -> None:
    boxes, scores, classes, images = scene
    by_class, by_image = (data.draw(st.booleans()) for _ in range(2))
    top = data.draw(st.sampled_from([ALL, 1, 3]))
    iou = data.draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 1.0]))
    if len(boxes) > 1 and data.draw(st.booleans()):  # exactly at the IoU of two of them, or just below
        a, b = (data.draw(st.integers(0, len(boxes) - 1)) for _ in range(2))
        edge = overlap(boxes[a], boxes[b])
        if 0 < edge <= 1:
            iou = float(data.draw(st.sampled_from([edge, np.nextafter(edge, np.float32(0))])))
    of_class, of_image = classes if by_class else None, images if by_image else None

    kept = suppress(boxes, scores, of_class, of_image, iou=iou, top=top)

    assert kept.tolist() == textbook(boxes, scores, of_class, of_image, iou, top)


def test_the_threshold_is_sharp_to_the_last_bit() -> None:
    """A pair at exactly the threshold stays; one float below it the worse box goes."""
    rng = np.random.default_rng(3)
    scores = np.array([0.9, 0.8], np.float32)
    for _ in range(1000):
        corner, size = rng.uniform(0, 9, (2, 2)), rng.uniform(9, 30, (2, 2))
        pair = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        edge = overlap(pair[0], pair[1])
        assert suppress(pair, scores, iou=float(edge), top=9).tolist() == [0, 1]
        assert suppress(pair, scores, iou=float(np.nextafter(edge, np.float32(0))), top=9).tolist() == [0]


def test_any_float_is_sorted_stably() -> None:
    """Boxes without area are all kept, so what comes back is the order alone."""
    scores = np.random.default_rng(4).integers(0, 2**32, 3000, np.uint32).view(np.float32)
    scores[1::3] = scores[::3]  # ties
    scores[::500] = np.nan
    kept = suppress(np.zeros((3000, 4), np.float32), scores, iou=0.5, top=ALL)
    assert kept.tolist() == np.argsort(-scores, kind="stable").tolist()
    close = np.full(300, 0.5, np.float32).view(np.uint32) + np.arange(300, dtype=np.uint32)  # differ in the last bits
    kept = suppress(np.zeros((300, 4), np.float32), close.view(np.float32), iou=0.5, top=ALL)
    assert kept.tolist() == list(range(300))[::-1]


@pytest.mark.parametrize("number_of_classes", [1, 3, 200])
def test_many_boxes_around_a_few_objects(number_of_classes: int) -> None:
    """Enough kept boxes for several blocks a class, and more classes than chains."""
    rng = np.random.default_rng(number_of_classes)
    centre, size = rng.uniform(0, 640, (300, 2)), rng.uniform(10, 60, (300, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    scores = (rng.integers(0, 50, 300) / 50).astype(np.float32)
    classes = rng.integers(0, number_of_classes, 300).astype(np.int32)

    kept = suppress(boxes, scores, classes, iou=0.3, top=ALL)

    assert 80 < len(kept) < 300
    assert kept.tolist() == textbook(boxes, scores, classes, None, 0.3, ALL)


def test_many_images_at_once_give_what_each_gives_alone() -> None:
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 50, (900, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1).astype(np.float32)
    scores, classes = rng.random(900).astype(np.float32), rng.integers(0, 2, 900).astype(np.int32)
    images = rng.permutation(np.repeat(np.arange(90, dtype=np.int32) * 1000, 10))

    kept = suppress(boxes, scores, classes, images, iou=0.4, top=5)

    assert (np.diff(scores[kept]) <= 0).all()
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        alone = rows[suppress(boxes[rows], scores[rows], classes[rows], iou=0.4, top=5)]
        assert kept[images[kept] == image].tolist() == alone.tolist()


def test_reads_arrays_as_they_come_off_the_wire() -> None:
    """Read-only, and starting at an odd byte."""
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]], np.float32)
    off = np.frombuffer(b"x" + boxes.tobytes(), np.float32, 12, offset=1).reshape(3, 4)
    scores = np.frombuffer(b"x" + np.array([0.9, 0.8, 0.7], np.float32).tobytes(), np.float32, 3, offset=1)
    classes = np.frombuffer(b"x" + np.zeros(3, np.int32).tobytes(), np.int32, 3, offset=1)
    assert not off.flags.writeable
    assert not off.flags.aligned
    assert suppress(off, scores, classes, iou=0.5, top=9).tolist() == [0, 2]
    assert suppress(np.asfortranarray(boxes), scores, iou=0.5, top=9).tolist() == [0, 2]


def test_refuses_arguments_that_do_not_fit() -> None:
    boxes, scores, short = np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="do not fit"):
        suppress(boxes, scores[:2], iou=0.5, top=9)
    with pytest.raises(ValueError, match="do not fit"):
        suppress(boxes[:, :3], scores, iou=0.5, top=9)
    with pytest.raises(ValueError, match="do not fit"):
        suppress(boxes, scores, short, iou=0.5, top=9)
    with pytest.raises(ValueError, match="do not fit"):
        suppress(boxes, scores, None, short, iou=0.5, top=9)
    with pytest.raises(ValueError, match="do not fit"):
        suppress(boxes, scores, iou=-0.1, top=9)


def faces(keypoints: NDArray[np.float32] | None) -> Candidates:
    """Two boxes on one thing, of different classes, and a third one elsewhere."""
    boxes = np.array([[10, 10, 50, 50], [12, 10, 52, 50], [100, 10, 140, 50]], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 1], np.int32)
    return Candidates(FRAME, boxes, scores, classes, keypoints, ("face", "mask"))


def test_the_stage_keeps_rows_together() -> None:
    keypoints = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    candidates = faces(keypoints)

    found = Nms(NmsConfig(class_agnostic=True))(candidates)

    assert found.frame == FRAME
    assert found.labels == candidates.labels
    assert found.keypoints is not None
    for have, gave in [
        (found.boxes, candidates.boxes),
        (found.scores, candidates.scores),
        (found.classes, candidates.classes),
        (found.keypoints, keypoints),
    ]:
        assert have.tolist() == gave[[0, 2]].tolist()


def test_the_stage_obeys_its_config() -> None:
    candidates = faces(None)
    assert Nms(NmsConfig())(candidates).scores.tolist() == candidates.scores.tolist()
    assert Nms(NmsConfig())(candidates).keypoints is None
    assert len(Nms(NmsConfig(top=1))(candidates).boxes) == 1
    assert len(Nms(NmsConfig(class_agnostic=True, iou=0.95))(candidates).boxes) == 3


def test_the_stage_takes_a_frame_with_nothing_in_it() -> None:
    nothing = np.zeros(0, np.float32)
    keypoints = np.zeros((0, 5, 2), np.float32)
    empty = Candidates(FRAME, nothing.reshape(0, 4), nothing, np.zeros(0, np.int32), keypoints, ("face",))
    found = Nms(NmsConfig())(empty)
    assert found.boxes.shape == (0, 4)
    assert found.keypoints is not None
    assert found.keypoints.shape == (0, 5, 2)


@pytest.mark.parametrize("wrong", [{"iou": 1.5}, {"iou": -0.1}, {"iou": float("nan")}, {"top": 0}, {"threshold": 0.5}])
def test_a_wrong_config_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, NmsConfig)


def test_importing_the_stage_does_not_import_numba() -> None:
    code = "import sys, stages.nms; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_compiles_where_no_cache_can_be_kept() -> None:
    space: dict[str, object] = {}
    exec("def double(n):\n    return 2 * n\n", space)  # no file: numba has no place for its cache
    double = _compile(space["double"], "int64(int64)")  # type: ignore[arg-type]
    assert double(21) == 42


def test_compiles_again_when_the_cache_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    path = tmp_path / "tripling.py"
    path.write_text("def triple(n):\n    return 3 * n\n")
    spec = importlib.util.spec_from_file_location("tripling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _compile(module.triple, "int64(int64)")
    cached = [*tmp_path.rglob("*.nbi"), *tmp_path.rglob("*.nbc")]
    assert len(cached) == 2
    for file in cached:
        whole = file.read_bytes()
        file.write_bytes(b"")
        assert _compile(module.triple, "int64(int64)")(14) == 42
        file.write_bytes(whole)
