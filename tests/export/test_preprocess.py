"""Pixels into the graph: the same boxes and embeddings as outside, whatever a network's first layer and feed are."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import chips, networks, parity, preprocess
from export.packages import Failed
from export.to_onnx import Metadata, save, weights_sha256
from pipeline.types import Candidates
from stages.detect import Detect, DetectConfig
from stages.embed import Embedder, EmbedderConfig
from tests.fakes import MemoryFrames

pytestmark = pytest.mark.timeout(400)  # exporting takes its time on a busy machine
Images = list[NDArray[np.uint8]]
Export = Callable[..., onnx.ModelProto]
FEED = Metadata(layout="decoded", size="12x20", mean=(120, 60.5, 7), scale=(1, 0.5, 1 / 255), licence="", origin="")


def props(model: onnx.ModelProto) -> dict[str, str]:
    return {prop.key: prop.value for prop in model.metadata_props}


def with_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of it, with pre-processing."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    preprocess.add(copy)
    return copy


@pytest.fixture(scope="module")
def exported(weights: Callable[[str], bytes]) -> Export:
    return functools.cache(lambda name, **way: networks.to_onnx(name, weights(name), **way))


def saved(model: onnx.ModelProto, folder: Path) -> tuple[Path, Path]:
    """Its file, and that of it with pre-processing."""
    files = folder / "outside.onnx", folder / "inside.onnx"
    for each, file in zip((model, with_pixels(model)), files, strict=True):
        save(each, file)
    return files


# Networks that ship


@pytest.mark.parametrize("way", [{}, {"decoded": True}, {"nms": True}, {"half": True}], ids=str)
def test_the_stage_finds_the_same_boxes(exported: Export, photos: Images, tmp_path: Path, way: dict[str, bool]) -> None:
    """A batch of photos of different sizes, some wide and some high, and each of them alone."""
    outside, inside = (detected(file, photos) for file in saved(exported("centerface", **way), tmp_path))
    assert sum(len(one.boxes) for one in outside) >= 2 * len(photos)
    for found, wanted in zip(inside, outside, strict=True):
        assert found.labels == wanted.labels == ("face",)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)  # pixels
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
        assert found.keypoints is not None
        assert wanted.keypoints is not None
        np.testing.assert_allclose(found.keypoints, wanted.keypoints, atol=1e-3)


def detected(model: Path, photos: Images) -> list[Candidates]:
    frames = MemoryFrames()
    detect = Detect(DetectConfig(model=str(model), size=(192, 320), provider="cpu"), frames)
    tickets = [frames.put(photo, seq=seq) for seq, photo in enumerate(photos)]
    results = detect(tickets) + [detect([ticket])[0] for ticket in tickets]
    return [result for result in results if isinstance(result, Candidates)]


@pytest.mark.parametrize("half", [False, True])
def test_an_embedder_gives_the_same_embeddings(exported: Export, photos: Images, tmp_path: Path, half: bool) -> None:
    pictures = np.stack([chips.squeezed(photo, 150, 150) for photo in photos])
    files = saved(exported("dlib_face", half=half), tmp_path)
    outside, inside = (Embedder(EmbedderConfig(model=str(file), provider="cpu")) for file in files)
    wanted = outside(pictures)
    np.testing.assert_allclose(inside(pictures), wanted, atol=1e-5)
    assert (wanted @ wanted.T).min() < 0.9  # the pictures have something to differ in


def test_the_file_takes_pixels_and_says_so(exported: Export) -> None:
    model = exported("centerface", decoded=True)
    pixels = with_pixels(model)
    value = pixels.graph.input[0].type.tensor_type
    assert value.elem_type == TensorProto.UINT8
    assert [dim.dim_param or dim.dim_value for dim in value.shape.dim] == ["batch", "height", "width", 3]
    new = {
        "framewire.input": "uint8 NHWC",
        "framewire.order": "BGR",  # as cameras' frames are
        "framewire.weights_sha256": weights_sha256(pixels),
    }
    assert props(pixels) == props(model) | new
    assert props(with_pixels(exported("dlib_face", half=False)))["framewire.order"] == "RGB"  # as chips are


def test_it_comes_out_the_same_bit_for_bit(exported: Export) -> None:
    once, twice = (with_pixels(exported("centerface")).SerializeToString(deterministic=True) for _ in range(2))
    assert once == twice


# First layers and feeds of all kinds


def one_layer(kind: str = "Conv", halved: bool = False, feed: Metadata = FEED, **attributes: Any) -> onnx.ModelProto:
    """A network of one convolution, 3 x 5 unless told, and an output that tells its input's height and width."""
    rows, columns = attributes.get("kernel_shape", (3, 5))
    weight = np.random.default_rng(3).normal(0, 1, (4, 3, rows, columns)).astype(np.float32)
    nodes = [helper.make_node(kind, ["images", "weight"][: 2 if kind == "Conv" else 1], ["y"], **attributes)]
    tensors = [numpy_helper.from_array(weight.astype(np.float16) if halved else weight, "held" if halved else "weight")]
    if halved:
        nodes.insert(0, helper.make_node("Cast", ["held"], ["weight"], to=TensorProto.FLOAT))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "rows", "columns"])]
    for start, name in ((2, "height"), (3, "width")):
        nodes.append(helper.make_node("Shape", ["images"], [name], start=start, end=start + 1))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "h", "w"])
    graph = helper.make_graph(nodes, "one", [images], outputs, tensors if kind == "Conv" else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, feed.props())
    return model


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 5], "pads": [1, 2, 1, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "pads": [1, 0, 0, 2], "strides": [1, 2]},
        {"kernel_shape": [6, 6], "pads": [2, 2, 2, 2], "strides": [2, 2], "dilations": [1, 1], "group": 1},
        {"kernel_shape": [1, 1]},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("halved", [False, True])
def test_a_first_layer_sees_what_it_saw(order: str, halved: bool, attributes: dict[str, Any]) -> None:
    feed = Metadata(**{**vars(FEED), "order": order})
    model = one_layer(halved=halved, feed=feed, **attributes)
    pictures = np.random.default_rng(4).integers(0, 256, (2, 12, 20, 3), np.uint8)  # BGR
    planes = pictures[..., ::-1] if order == "RGB" else pictures
    mean, scale = np.array(feed.mean, np.float32), np.array(feed.scale, np.float32)
    planes = ((planes - mean) * scale).transpose(0, 3, 1, 2)
    wanted = parity.run(model.SerializeToString(), np.ascontiguousarray(planes, np.float32))
    found = parity.run(with_pixels(model).SerializeToString(), pictures)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-3)  # of up to 2000
    assert [int(size[0]) for size in found[1:]] == [12, 20]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (one_layer("Relu"), "images go into Relu, not into a convolution"),
        (with_pixels(one_layer()), "pictures of uint8 go into this file already"),
        (one_layer(dilations=[2, 2]), "first convolution is dilated"),
        (one_layer(auto_pad="SAME_UPPER"), "pads by itself"),
    ],
    ids=["no convolution", "twice", "dilated", "auto_pad"],
)
def test_what_cannot_take_pixels_is_refused(model: onnx.ModelProto, sentence: str) -> None:
    with pytest.raises(Failed, match=sentence):
        with_pixels(model)
