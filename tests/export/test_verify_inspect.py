"""Two files held against each other on real photos; what is told of a file is counted right."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from export import before_after, inspect_model, parity, preprocess, verify
from export.chips import read_image
from export.detection import labels_xml
from export.detector import Detector, Faces
from export.inspect_model import inspect
from export.model_file import load
from export.models.centerface import CenterFace
from export.models.dlib_face import DlibFace
from export.packages import Failed
from export.to_onnx import save

MODELS = Path(__file__).resolve().parents[2] / "models"
CENTERFACE, DLIB = MODELS / "centerface.onnx", MODELS / "dlib_face.onnx"
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo(astronaut: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "astronaut.png"
    cv2.imwrite(str(file), astronaut)
    return file


def command(*words: str | Path) -> None:
    """`verify` or `inspect` with these words."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    verify.add(commands)
    inspect_model.add(commands)
    arguments = parser.parse_args([*map(str, words)])
    arguments.run(arguments)


def changed(file: Path, out: Path, name: str, by: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Path:
    """The model with another value for a weight."""
    model = onnx.load(file)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(by(numpy_helper.to_array(tensor)).astype(np.float32), name))
    onnx.save(model, out)
    return out


# verify


def test_a_file_agrees_with_itself(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (CENTERFACE, DLIB):
        command("verify", file, file, "--photos", photo, "--tolerance", "0")
    said = capsys.readouterr().out
    assert "differ by 0 in what they find, on 1 photos at 384x640" in said
    assert "differ by 0 in their outputs, on 1 photos at 150x150" in said


def test_pixels_inside_or_outside_is_the_same(photo: Path, tmp_path: Path) -> None:
    """Files with different inputs are fed the same photo, each as it wants it; its channels are in order."""
    for file in (CENTERFACE, DLIB):
        model = load(file)
        preprocess.add(model)
        save(model, tmp_path / file.name)
        found = verify.verify((file, tmp_path / file.name), [photo])
        assert max(d.relative for d in found.numbers.values()) < 1e-3
        assert found.difference() < 1e-3


def test_a_changed_weight_is_seen(photo: Path, tmp_path: Path) -> None:
    boxes = changed(CENTERFACE, tmp_path / "boxes.onnx", "scale.bias", lambda bias: bias + 0.1)
    with pytest.raises(Failed, match=r"differ by 0\.\d+ in what they find, on 1 photos"):
        command("verify", CENTERFACE, boxes, "--photos", photo)
    numbers = verify.verify((CENTERFACE, boxes), [photo]).numbers
    assert numbers["scale"].max_abs == pytest.approx(0.1, abs=1e-4)
    assert numbers["scale"].mean_abs == pytest.approx(0.1, abs=1e-4)
    assert numbers["offset"].max_abs == 0


def test_a_changed_embedding_is_seen(photo: Path, tmp_path: Path) -> None:
    other = changed(DLIB, tmp_path / "other.onnx", "embedding.bias", lambda bias: bias + 0.02)
    with pytest.raises(Failed, match=r"in their outputs, on 1 photos at 150x150: more than the tolerance of 0\.01"):
        command("verify", DLIB, other, "--photos", photo)
    command("verify", DLIB, other, "--photos", photo, "--tolerance", "1")


def test_detectors_of_different_forms_are_compared_by_their_faces(shared: Path, photo: Path) -> None:
    yunet = shared / "weights" / "yunet_n_320_320.onnx"
    found = verify.verify((CENTERFACE, yunet), [photo])
    assert found.size == "320x320"  # what YuNet fixes, though CenterFace comes first
    assert not found.numbers
    assert found.found is not None
    assert found.found.share == 1
    assert 0.01 < found.difference() < 0.3


def without_landmarks(file: Path, to: Path) -> Path:
    model = onnx.load(file)
    (output,) = (output for output in model.graph.output if output.name == "keypoints")
    model.graph.output.remove(output)
    onnx.save(model, to)
    return to


def test_detectors_without_landmarks_are_compared_by_their_boxes(photo: Path, tmp_path: Path) -> None:
    """Number by number they differ where two candidates have changed places."""
    float32, int8 = (
        without_landmarks(MODELS / name, tmp_path / name) for name in ("yolo_face.onnx", "yolo_face_int8.onnx")
    )
    verdict = verify.verify((float32, int8), [photo])
    assert verdict.found is not None
    assert (verdict.found.share, verdict.found.landmarks) == (1, None)
    assert verdict.difference() < 0.1 < max(one.relative for one in verdict.numbers.values())
    with pytest.raises(Failed, match="differ by 1 in what they find"):  # points that are lost are a difference
        command("verify", MODELS / "yolo_face.onnx", float32, "--photos", photo, "--tolerance", "0.5")
    xml = labels_xml.Labelled(photo, Detector(CENTERFACE, 384, 640)(read_image(photo), 0.5).boxes, *nothing_more(1))
    labels_xml.write(photo.parent / "labels.xml", [xml])
    test = before_after.Test([photo], [photo.parent / "labels.xml"], None, (384, 640), calibrated=False)
    result = before_after.measure((float32, int8), "a test", test)
    assert result.accuracy["AP50"] == (1, 1)
    assert result.losses.keys() == {"AP50", "not found by both", "score"}


def nothing_more(count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """No landmarks, and nothing ignored."""
    return np.full((count, 5, 2), np.nan, np.float32), np.zeros(count, bool)


def test_fixed_sizes_that_differ_cannot_be_compared(shared: Path, photo: Path) -> None:
    small, large = (shared / "weights" / f"yunet_n_{size}_{size}.onnx" for size in (320, 640))
    with pytest.raises(Failed, match="320x320 and 640x640"):
        verify.verify((small, large), [photo])


def test_models_without_anything_in_common(shared: Path, photo: Path) -> None:
    with pytest.raises(Failed, match="have other outputs and are not both detectors"):
        verify.verify((CENTERFACE, shared / "weights" / "osnet_x0_25_msmt17.onnx"), [photo])


def test_photos_without_faces_prove_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300, 3), 128, np.uint8))
    with pytest.raises(Failed, match="neither model finds anything"):
        verify.verify((CENTERFACE, CENTERFACE), [tmp_path / "grey.png"])
    with pytest.raises(Failed, match="there is no face of 36 px"):
        verify.verify((DLIB, DLIB), [tmp_path / "grey.png"])


def faces(*boxes: tuple[float, float, float, float, float], kind: int = 0) -> Faces:
    """Faces of x, y, width, height and score, with points at fixed places in the box."""
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
    places = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
    points = rows[:, None, :2] + places * rows[:, None, 2:4]
    return Faces(corners, rows[:, 4], points, np.full(len(rows), kind, np.int32))


def test_agreement_counts_what_both_find() -> None:
    """One face moved by a tenth of its width, one only here, one only there."""
    here = faces((0, 0, 100, 100, 0.9), (300, 0, 50, 50, 0.8))
    there = faces((10, 0, 100, 100, 0.7), (500, 0, 50, 50, 0.8))
    found = verify.agreement([here, faces()], [there, faces()])
    assert (found.boxes, found.share) == (2, 0.5)
    assert found.iou == pytest.approx(90 / 110)
    assert found.score == pytest.approx(0.2)
    assert found.landmarks == pytest.approx(10 / 40)
    assert found.difference() == 0.5


def test_a_box_is_matched_once() -> None:
    twice = faces((0, 0, 100, 100, 0.9), (4, 0, 100, 100, 0.8))
    assert verify.matched(twice, faces((2, 0, 100, 100, 0.9))) == [(0, 0)]


def test_a_face_is_no_match_for_a_person() -> None:
    box = (0, 0, 100, 100, 0.9)
    assert not verify.matched(faces(box), faces(box, kind=1))


def test_nothing_in_common_is_as_far_as_it_gets() -> None:
    found = verify.agreement([faces((0, 0, 9, 9, 0.9))], [faces((50, 0, 9, 9, 0.9))])
    assert (found.share, found.difference()) == (0, 1)


def test_difference_of_outputs() -> None:
    expected = np.array([[3, 4], [0, 2]], np.float32)
    found = parity.difference(expected, np.array([[3, 4], [2, 0]], np.float32))
    assert found == parity.Difference(2.0, 1.0, 0.0, pytest.approx(2**0.5))
    assert parity.difference(expected * 0, expected * 0).cosine == 1


def test_a_size_that_a_model_cannot_take(photo: Path) -> None:
    with pytest.raises(Failed, match=r"does not run on images \(1, 3, 50, 70\) .* choose another --size"):
        verify.verify((CENTERFACE, CENTERFACE), [photo], (50, 70))


# inspect


@pytest.mark.parametrize(("size", "area"), [(None, 384 * 640), ((96, 160), 96 * 160)])
def test_operations_are_those_that_torch_counts(size: tuple[int, int] | None, area: int) -> None:
    found = inspect(CENTERFACE, size)
    module = CenterFace().eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, 96, 160))
    assert found.flops == counter.get_total_flops() * area // (96 * 160)
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert found.weights == {"float32": found.parameters}


def test_operations_of_an_embedder_with_weights_behind_casts() -> None:
    found, module = inspect(DLIB), DlibFace().eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, 150, 150))
    assert found.flops == counter.get_total_flops()
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert set(found.weights) == {"float16", "float32"}


def test_operations_of_products() -> None:
    """Gemm with a transposed input, and MatMul over a batch."""
    float32 = TensorProto.FLOAT
    held = {"w": np.zeros((5, 7), np.float32), "v": np.zeros((2, 7, 11), np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
            helper.make_node("MatMul", ["y", "v"], ["z"]),
        ],
        "products",
        [helper.make_tensor_value_info("x", float32, [5, 3])],
        [helper.make_tensor_value_info("z", float32, [2, 3, 11])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert inspect_model.flops(model, {"x": [5, 3]}) == 2 * (3 * 7 * 5 + 2 * 3 * 11 * 7)


def test_what_a_file_says(capsys: pytest.CaptureFixture[str]) -> None:
    command("inspect", CENTERFACE, "--json", "--size", "96x160")
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == {"images": "float32 (batch, 3, height, width)"}
    assert list(found["outputs"]) == ["heatmap", "scale", "offset", "landmarks"]
    assert found["ops"] == {"Conv": 60, "Relu": 42, "Add": 13, "ConvTranspose": 3, "Sigmoid": 1}
    assert (found["opset"], found["bytes"]) == ({"ai.onnx": 18}, 7301305)
    assert found["sha256"] == "94df56cdb7a78e2f1a1de96227bb386fa872574ff0a14bc14b004853bc64512e"
    assert found["metadata"]["framewire.layout"] == "centerface"
    assert found["at"] == {"images": [1, 3, 96, 160]}


def test_the_table_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    command("inspect", DLIB)
    said = capsys.readouterr().out
    for word in ("11,238,682 bytes", "images: float32 (batch, 3, 150, 150)", "29 Conv", "framewire.threshold", "opset"):
        assert word in said


def test_all_kinds_of_files_are_understood(shared: Path) -> None:
    files = sorted((shared / "weights").rglob("*.onnx"))
    assert len(files) >= 9
    for file in files:
        fixed = all(isinstance(side, int) for side in inspect_model.sizes(inspect_model.inputs(load(file))[0])[1:])
        found = inspect(file, None if fixed else (64, 96))
        assert found.flops > 1e6
        assert found.parameters > 1e4


def test_pixels_inside_are_bound_at_their_own_axes(tmp_path: Path) -> None:
    model = load(CENTERFACE)
    preprocess.add(model)
    save(model, tmp_path / "pixels.onnx")
    found = inspect(tmp_path / "pixels.onnx", (96, 160))
    assert found.at == {"images": [1, 96, 160, 3]}
    assert found.flops == inspect(CENTERFACE, (96, 160)).flops


def test_bad_input_is_one_sentence(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "words.onnx").write_text("not a model")
    cases: list[tuple[Path, tuple[int, int] | None, str]] = [
        (tmp_path / "none.onnx", None, "is not there"),
        (tmp_path / "empty.onnx", None, "is not an ONNX file"),
        (tmp_path / "words.onnx", None, "is not an ONNX file"),
        (shared / "weights" / "2.7_80x80_MiniFASNetV2.pth", None, "is not an ONNX file"),
        (shared / "weights" / "yunet_n_dynamic.onnx", None, "takes any size; say with --size"),
        (DLIB, (64, 64), "no other size; leave --size out"),
        (CENTERFACE, (50, 70), "does not run on images .* choose another --size"),
    ]
    for file, size, words in cases:
        with pytest.raises(Failed, match=words) as caught:
            inspect(file, size)
        assert "\n" not in str(caught.value)
