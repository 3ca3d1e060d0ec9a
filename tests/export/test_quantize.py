"""Quantized files: smaller, near to what they were made from on real photos, and reports that say how near."""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import before_after, equalize, feed, preprocess, quantize
from export.chips import read_image
from export.decode import SCORE
from export.detector import Detector
from export.graph import behind, folded, front
from export.half import to_float16
from export.model_file import load, properties, session, sizes
from export.packages import Failed
from export.to_onnx import save, weights_sha256
from export.verify import Agreement, agreement

MODELS = Path(__file__).resolve().parents[2] / "models"
Run = Callable[..., Path]
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def folder(astronaut: Image, tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder of real photos: the astronaut and two groups."""
    place = tmp_path_factory.mktemp("photos")
    cv2.imwrite(str(place / "astronaut.png"), astronaut)
    for name in ("2007_007763.jpg", "2008_001322.jpg"):
        shutil.copy(shared / "photos" / "dlib_faces" / name, place / name)
    return place


def command(*words: str | Path) -> None:
    """`quantize` with these words."""
    parser = argparse.ArgumentParser()
    quantize.add(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["quantize", *map(str, words)])
    arguments.run(arguments)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The file of a model in models/ quantized at a size, once for all tests."""
    there: dict[str, Path] = {}

    def make(name: str, to: str, *more: str) -> Path:
        if name + to not in there:
            there[name + to] = out = tmp_path_factory.mktemp(name) / f"{name}.onnx"
            command(MODELS / f"{name}.onnx", "--to", to, "--calibration", folder, "--out", out, *more)
        return there[name + to]

    return make


def agree(file: Path, folder: Path, size: tuple[int, int] = (192, 320)) -> Agreement:
    """How a file finds the faces of the folder beside CenterFace."""
    images = [read_image(photo) for photo in feed.files_in(load(file), [folder])]
    pair = (Detector(each, *size) for each in (MODELS / "centerface.onnx", file))
    return agreement(*([detect(image, SCORE) for image in images] for detect in pair))


@pytest.mark.parametrize(("to", "share"), [("int8", 0.32), ("fp16", 0.52)])
def test_a_quantized_file_is_small_and_says_what_it_is(made: Run, to: str, share: float) -> None:
    file, source = made("centerface", to, "--size", "192x320"), MODELS / "centerface.onnx"
    assert file.stat().st_size < share * source.stat().st_size
    model, original = load(file), load(source)
    said, before = properties(model), properties(original)
    assert said.pop("quantized").startswith("int8" if to == "int8" else "float16")
    assert said.pop("weights_sha256") == weights_sha256(model) != before.pop("weights_sha256")
    assert said == before
    assert list(model.graph.input) == list(original.graph.input)
    assert list(model.graph.output) == list(original.graph.output)


def test_int8_finds_the_same_faces(made: Run, folder: Path) -> None:
    found = agree(made("centerface", "int8", "--size", "192x320"), folder)
    assert found.boxes >= 9
    assert found.share == 1
    assert found.iou > 0.95
    assert max(found.score, found.landmarks) < 0.04


def test_float16_finds_the_same_faces(made: Run, folder: Path) -> None:
    assert agree(made("centerface", "fp16", "--size", "192x320"), folder).difference() < 0.005


def test_int8_leaves_heads_and_front_in_float(made: Run) -> None:
    graph = load(made("centerface", "int8", "--size", "192x320")).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = [tensors.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    plain = [index for index, weight in enumerate(weights) if weight and weight.data_type == TensorProto.FLOAT]
    assert len(weights) == 60
    assert plain == [0, 1, 56, 57, 58, 59]
    for name, tensor in tensors.items():
        if tensor.data_type == TensorProto.INT8 and name.endswith(".weight_quantized"):  # a scale for each channel
            channels = max(tensor.dims[0], 1)
            assert list(tensors[name.replace("_quantized", "_scale")].dims) == [channels]


def test_embedders_are_calibrated_and_compared_on_faces(made: Run, folder: Path, shared: Path) -> None:
    file = made("dlib_face", "int8", "--faces", str(folder / "list.tsv"), str(shared / "photos"))
    report = json.loads((file.with_suffix(".report") / "report.json").read_text())
    assert report["apart"]["faces"] > 3  # there are 3 photos
    assert report["apart"]["mean cosine"] > 0.99
    assert report["accuracy"]["TAR@FAR=0.01"] == [1.0, 1.0]
    assert report["bytes"][1] < 0.55 * report["bytes"][0]


def test_networks_of_shots_are_compared_on_transitions(shared: Path) -> None:
    files = MODELS / "transnetv2.onnx", MODELS / "transnetv2_int8.onnx"
    clips = [shared / "videos" / name for name in ("bottle-detection.mp4", "people-detection.gif")]
    test = before_after.Test(clips, [], None, (27, 48), calibrated=False)
    found = before_after.figures(files, [load(file) for file in files], [], test)
    assert found.accuracy == {"F1": (1.0, 1.0)}
    assert found.apart["transitions"] == 3
    assert 0 < found.losses["probability"] < before_after.LIMITS["probability"]
    assert found.apart["largest difference"] < 0.1


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of int8 do not overflow on a processor without VNNI either: what is tested are files."""
    options = onnxruntime.SessionOptions

    def exact_options() -> onnxruntime.SessionOptions:
        made = options()
        made.add_session_config_entry("session.x64quantprecision", "1")
        return made

    monkeypatch.setattr(onnxruntime, "SessionOptions", exact_options)


@pytest.fixture(autouse=True, scope="module")
def listing(folder: Path) -> None:
    """A list of named faces beside the photos; its ending keeps it out of them."""
    names = {"obama": ("obama.jpg", "train/obama/obama2.jpg"), "biden": ("biden.jpg", "train/biden/biden2.jpg")}
    lines = [f"{name}\tface_recognition_examples/{photo}" for name, photos in names.items() for photo in photos]
    (folder / "list.tsv").write_text("\n".join(lines))


def test_pixels_inside_survive_int8(folder: Path, tmp_path: Path) -> None:
    """A model that takes uint8 NHWC is calibrated with uint8 NHWC."""
    model = load(MODELS / "centerface.onnx")
    preprocess.add(model)
    save(model, tmp_path / "pixels.onnx")
    command(tmp_path / "pixels.onnx", "--to", "int8", "--calibration", folder, "--size", "192x320")
    small = tmp_path / "pixels.int8.onnx"
    assert load(small).graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert agree(small, folder).difference() < 0.06


# A network small enough to look into: 3 -> 8, depthwise, 8 -> 8, 8 -> 2, and a tail that makes large numbers


def network() -> onnx.ModelProto:
    """The first layer's channels differ a hundredfold in range; the second makes them alike again."""
    random = np.random.default_rng(0)
    shapes = {"a": (8, 3, 3, 3), "b": (8, 1, 3, 3), "c": (8, 8, 1, 1), "d": (2, 8, 1, 1)}
    held = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    loud = np.logspace(-2, 0, 8, dtype=np.float32)[:, None, None, None]
    held["a"], held["b"] = held["a"] * loud, held["b"] / loud
    held["factor"] = np.array([1000.3], np.float32)
    nodes, value = [], "images"
    for name, groups in (("a", 1), ("b", 8), ("c", 1)):
        pad = shapes[name][2] // 2
        made = [f"{name}.sum", f"{name}.relu"]
        nodes.append(helper.make_node("Conv", [value, name], made[:1], f"{name}.conv", pads=[pad] * 4, group=groups))
        nodes.append(helper.make_node("Relu", made[:1], made[1:], made[1]))
        value = made[1]
    nodes.append(helper.make_node("Conv", [value, "d"], ["head"], "d.conv"))
    nodes.append(helper.make_node("Mul", ["head", "factor"], ["scaled"], "tail"))
    free = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", 2, "height", "width"])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"framewire.size": "64x96"})
    return model


@pytest.fixture(scope="module")
def batches(astronaut: Image) -> list[dict[str, NDArray[Any]]]:
    image = cv2.resize(astronaut, (96, 64)).astype(np.float32) / 255
    return [{"images": np.ascontiguousarray(image[None].transpose(0, 3, 1, 2))}]


def run(model: onnx.ModelProto, batch: dict[str, NDArray[Any]], *names: str) -> NDArray[np.float32]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return np.asarray(session(probe.SerializeToString()).run(list(names) or None, batch)[0])


def test_equalizing_changes_ranges_and_not_results(batches: list[dict[str, NDArray[Any]]]) -> None:
    model, (batch,) = network(), batches
    expected, before = run(model, batch), np.abs(run(model, batch, "a.relu")).max((0, 2, 3))
    assert equalize.equalize(model, batches) == 3
    after = np.abs(run(model, batch, "a.relu")).max((0, 2, 3))
    np.testing.assert_allclose(run(model, batch), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    used = before > 0
    assert before[used].max() / before[used].min() > 20
    assert after[used].max() / after[used].min() < 1.01


def test_int8_of_a_network_with_uneven_channels_needs_equalizing(
    batches: list[dict[str, NDArray[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (batch,) = network(), batches
    expected = run(model, batch)

    def wrong() -> float:
        return float(np.abs(run(quantize.to_int8(model, batches), batch) - expected).mean() / np.abs(expected).mean())

    monkeypatch.setattr(quantize, "front", lambda graph: [])
    with_it = wrong()
    monkeypatch.setattr(quantize, "equalize", lambda model, batches: 0)
    without = wrong()
    assert with_it < 0.03
    assert with_it < without / 2


def test_the_parts_of_a_network() -> None:
    graph = network().graph
    assert behind(graph) == (["d.conv"], ["tail"])
    assert front(graph) == ["a.conv", "a.relu", "b.conv", "b.relu"]
    assert front(load(MODELS / "dlib_face.onnx").graph) == []


def test_the_tail_stays_in_float32(batches: list[dict[str, NDArray[Any]]]) -> None:
    """Pixels beyond 2048 have no fractions in float16."""
    made = to_float16(network())
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds["factor"] == TensorProto.FLOAT
    assert {kinds[f"{name}.half"] for name in "abcd"} == {TensorProto.FLOAT16}
    head = run(made, batches[0], "head").astype(np.float64)
    np.testing.assert_allclose(run(made, batches[0]), head * np.float32(1000.3), rtol=1e-6)


def test_weights_stored_in_float16_are_quantized_too() -> None:
    assert "Cast" not in {node.op_type for node in folded(load(MODELS / "dlib_face.onnx")).graph.node}


# Verdicts


@pytest.mark.parametrize(
    ("smaller", "slower", "accurate", "losses", "default", "words"),
    [
        (True, False, True, {"AP50": 0.004}, True, "ships as default: it is smaller, not measurably worse"),
        (True, False, True, {"AP50": 0.006}, False, "measurably worse (AP50 0.006 over 0.005)"),
        (True, False, True, {"landmarks": float("nan")}, False, "measurably worse"),
        (True, True, True, {"AP50": -0.1}, False, "slower here"),
        (False, False, True, {}, False, "not smaller"),
        (True, False, False, {"score": 0.0}, False, "of unknown accuracy"),
    ],
)
def test_verdict(
    smaller: bool, slower: bool, accurate: bool, losses: dict[str, float], default: bool, words: str
) -> None:
    found, said = before_after.verdict(smaller, slower, losses, accurate)
    assert found is default
    assert words in said


def test_the_report_has_both_sides(made: Run, folder: Path) -> None:
    file = made("centerface", "int8", "--size", "192x320")
    report = json.loads((file.with_suffix(".report") / "report.json").read_text())
    assert report["bytes"] == [(MODELS / "centerface.onnx").stat().st_size, file.stat().st_size]
    assert all(value > 0 for times in report["milliseconds"].values() for value in times)
    assert "the calibration's own" in report["photos"]
    text = (file.with_suffix(".report") / "report.md").read_text()
    assert report["verdict"] in text
    assert "| bytes | 7301305 |" in text


def test_labels_give_average_precision(folder: Path, shared: Path, tmp_path: Path) -> None:
    labels = shared / "photos" / "dlib_faces" / "training.xml"
    out, report = tmp_path / "new" / "half.onnx", tmp_path / "report"
    words = ("--photos", folder, "--size", "192x320", "--labels", labels, "--out", out, "-o", report)
    command(MODELS / "centerface.onnx", "--to", "fp16", *words)
    before, after = json.loads((report / "report.json").read_text())["accuracy"]["AP50"]
    assert before == pytest.approx(after, abs=0.005)
    assert before > 0.9


# Bad input


def broken(kind: str, folder: Path, tmp_path: Path) -> Sequence[str | Path]:
    """The words of a command that cannot work."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "words.onnx").write_text("this is no ONNX file")
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "two.onnx")
    onnx.save(network(), tmp_path / "outside.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    face, embedder = MODELS / "centerface.onnx", MODELS / "dlib_face.onnx"
    photos = ("--calibration", folder)
    return {
        "empty": (face, "--to", "int8", "--calibration", tmp_path / "empty"),
        "unreadable": (face, "--to", "int8", "--calibration", tmp_path / "bad.jpg"),
        "none": (face, "--to", "int8"),
        "nowhere": (face, "--to", "fp16"),
        "words": (tmp_path / "words.onnx", "--to", "int8", *photos),
        "missing": (tmp_path / "missing.onnx", "--to", "int8", *photos),
        "two": (tmp_path / "two.onnx", "--to", "int8", *photos),
        "outside": (tmp_path / "outside.onnx", "--to", "int8", *photos),
        "labels": (embedder, "--to", "fp16", *photos, "--labels", tmp_path / "x.xml", "--out", tmp_path / "x.onnx"),
        "odd": (face, "--to", "int8", *photos, "--size", "50x70"),
        "size": (embedder, "--to", "fp16", *photos, "--size", "64x64"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "has no photos"),
        ("unreadable", "not an image that OpenCV can read"),
        ("none", "give a folder of some with --calibration"),
        ("nowhere", "give photos with --photos"),
        ("words", "not an ONNX file"),
        ("missing", "is not there"),
        ("two", r"has 2 inputs \(images, more\)"),
        ("outside", "keeps its weights in another file"),
        ("labels", "is no detector; leave --labels out"),
        ("odd", "does not run on images .* choose another --size"),
        ("size", "takes 150x150 and no other size"),
    ],
)
def test_bad_input_is_one_sentence(kind: str, words: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=words) as caught:
        command(*broken(kind, folder, tmp_path))
    assert "\n" not in str(caught.value)


def test_sizes_of_a_value_are_numbers_or_names() -> None:
    assert sizes(network().graph.input[0]) == ["batch", 3, "height", "width"]
