"""How gpu-check compares rows of faces: files with the decoding or NMS in the graph, played by CenterFace's maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bench import gpu_check
from bench.agreement import RELATIVE, compare, difference, pictures
from pipeline.model import Model
from pipeline.session import Tensor
from stages.layouts import Found, best
from stages.layouts.faces import centerface
from stages.nms import suppress

MODELS = Path(__file__).resolve().parents[2] / "models"
SIZE = (192, 320)
TOP = 256
Rows = list[NDArray[Any]]
Spoil = Callable[[Rows], Rows]


class Rower(Model):
    """Rows instead of maps: of layout "decoded" the TOP best of each image, of "nms" as many as are found."""

    def __init__(self, layout: str, noise: float = 0) -> None:
        super().__init__(MODELS / "centerface.onnx", provider="cpu", threads=1, size=SIZE, batch=8)
        shape = (1, TOP, 4) if layout == "decoded" else (-1, 4)
        self.info = msgspec.structs.replace(
            self.info, layout=layout, outputs=(Tensor("boxes", "float32", shape), *self.info.outputs[1:])
        )
        self.noise = np.float32(noise)

    def __call__(self, batch: NDArray[np.float32]) -> Rows:
        random = np.random.default_rng(0).uniform(-1, 1, batch.shape).astype(np.float32)
        maps = super().__call__(batch + self.noise * random)
        images = [[each[image] for each in maps] for image in range(len(batch))]
        if self.info.layout == "decoded":
            columns = zip(*(best(centerface(image, SIZE, 0), TOP) for image in images), strict=True)
            return [np.stack(column) for column in columns]
        faces = [suppressed(centerface(image, SIZE, 0.5)) for image in images]
        owners = np.repeat(np.arange(len(faces)), [len(found.scores) for found in faces])
        return [*(np.concatenate(column) for column in zip(*faces, strict=True)), owners]


def suppressed(found: Found) -> Found:
    kept = suppress(found.boxes, found.scores, found.classes, iou=0.3, top=TOP)
    assert found.keypoints is not None
    return Found(found.boxes[kept], found.scores[kept], found.classes[kept], found.keypoints[kept])


def eight_pixels_off(rows: Rows) -> Rows:
    return [rows[0] + 8, *rows[1:]]


def eyes_swapped(rows: Rows) -> Rows:
    return [*rows[:3], rows[3][..., [1, 0, 2, 3, 4], :], *rows[4:]]


def less_sure(rows: Rows) -> Rows:
    return [rows[0], rows[1] - 0.1, *rows[2:]]


def another_class(rows: Rows) -> Rows:
    return [*rows[:2], rows[2] + 1, *rows[3:]]


def none_found(rows: Rows) -> Rows:
    return [rows[0], rows[1] * 0, *rows[2:]]


@pytest.mark.parametrize("layout", ["decoded", "nms"])
def test_rounding_is_no_fault(layout: str) -> None:
    reference, rounded = Rower(layout), Rower(layout, noise=255e-6)
    parity = gpu_check.parity(rounded, reference)
    assert len(parity) == {"decoded": 6, "nms": 5}[layout], "what varies in size takes no batch of 11"
    assert all(parity.values())
    assert list(gpu_check.replay(rounded, reference).values()) == [True] * 4


def test_rounding_changes_the_order_of_rows() -> None:
    """Why they are not compared one by one."""
    reference = Rower("decoded")
    images = pictures(reference.info, 8, seed=8)
    assert difference(Rower("decoded", noise=255e-6)(images), reference(images))[2] > RELATIVE


@pytest.mark.parametrize("layout", ["decoded", "nms"])
@pytest.mark.parametrize(
    "spoil", [eight_pixels_off, eyes_swapped, less_sure, another_class, none_found], ids=lambda spoil: spoil.__name__
)
def test_wrong_faces_are_a_fault(layout: str, spoil: Spoil) -> None:
    model = Rower(layout)
    rows = model(pictures(model.info, 2, seed=0))
    assert compare(model.info, 2, rows, rows).good
    assert not compare(model.info, 2, spoil(rows), rows).good


@pytest.mark.parametrize("layout", ["decoded", "nms"])
def test_faces_on_neither_side_prove_nothing(layout: str) -> None:
    model = Rower(layout)
    rows = none_found(model(pictures(model.info, 2, seed=0)))
    assert not compare(model.info, 2, rows, rows).good


def test_a_face_in_the_wrong_image_is_a_fault() -> None:
    reference = Rower("nms")
    *rows, owners = reference(pictures(reference.info, 2, seed=0))
    assert compare(reference.info, 2, [*rows, owners], [*rows, owners]).good
    assert not compare(reference.info, 2, [*rows, owners * 0], [*rows, owners]).good
    assert not compare(reference.info, 2, [*rows, 1 - owners], [*rows, owners]).good


def test_outputs_that_vary_in_size_have_no_graph_and_that_is_no_fault() -> None:
    (_, cpu), graph = gpu_check.used(Rower("nms"), "cuda").items()
    assert not cpu
    assert graph == ("no graph to replay: the outputs vary in size", True)


def test_pictures_are_made_as_the_model_wants_them() -> None:
    info = Model(MODELS / "dlib_face.onnx", provider="cpu", threads=1).info
    images = pictures(info, 2, seed=1)
    assert (images.shape, images.dtype) == ((2, 3, 150, 150), np.float32)
    pixels = images / np.reshape(info.scale, (3, 1, 1)) + np.reshape(info.mean, (3, 1, 1))
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
    turned = pictures(msgspec.structs.replace(info, order="BGR", mean=None, scale=None), 2, seed=1)
    np.testing.assert_allclose(turned[:, ::-1], pixels, atol=1e-3)
    assert not np.array_equal(pictures(info, 2, seed=2), images)
