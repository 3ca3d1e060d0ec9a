"""CenterFace: the maps of the original file, the same in torch and ONNX Runtime, the same boxes with NMS inside."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import networks, parity
from export.decode import IOU, SCORE, TOP
from export.detector import Detector, greedy_nms, overlap
from export.evaluate import average_precision
from export.to_onnx import save
from pipeline.types import Candidates, Detections
from stages.detect import Detect, DetectConfig
from stages.nms import Nms, NmsConfig
from tests.fakes import MemoryFrames

MODEL = Path(__file__).resolve().parents[2] / "models" / "centerface.onnx"
Weights = Callable[[str], bytes]
Batch = NDArray[np.float32]
pytestmark = pytest.mark.timeout(400)  # exporting takes its time on a busy machine


def runnable(data: bytes) -> bytes:
    """The original with the declared shapes set free and the weights no longer inputs."""
    model = onnx.load_from_string(data)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    inputs = [value for value in graph.input if value.name not in held]
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    graph.ClearField("input")
    graph.input.extend(inputs)
    graph.ClearField("initializer")
    graph.initializer.extend(weights)
    for value in (*graph.input, *graph.output):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}.{axis}"
    return bytes(model.SerializeToString())


def test_maps_are_those_of_the_original_file(weights: Weights, batch: Batch) -> None:
    original = parity.run(runnable(weights("centerface")), batch)
    found = parity.compare(original, parity.run(MODEL, batch))
    assert found.max_abs <= 1e-4
    assert original[0].max() > 0.5  # there are faces, so the maps have something to differ in


def test_torch_and_onnx_runtime_agree(weights: Weights, batch: Batch) -> None:
    found = parity.check(networks.centerface(weights("centerface")), MODEL, batch)
    assert found.max_abs <= 1e-4
    assert found.cosine >= 0.99999


def test_parity_sees_a_wrong_weight(weights: Weights, batch: Batch) -> None:
    module = networks.centerface(weights("centerface"))
    with torch.no_grad():
        for parameter in module.heatmap.parameters():
            parameter.mul_(1.01)
    assert parity.check(module, MODEL, batch).max_abs > 1e-3


@pytest.mark.parametrize("size", [(64, 96), (192, 320), (384, 640)])
def test_any_multiple_of_32_goes_in(size: tuple[int, int]) -> None:
    maps = parity.run(MODEL, np.zeros((3, 3, *size), np.float32))
    assert [m.shape for m in maps] == [(3, channels, size[0] // 4, size[1] // 4) for channels in (1, 2, 2, 10)]


def test_finds_the_astronaut(astronaut: NDArray[np.uint8]) -> None:
    faces = Detector(MODEL, 384, 640)(astronaut, score=0.5)
    assert len(faces.scores) == 1
    assert overlap(faces.boxes[0], np.array([[171, 57, 280, 219]], np.float32))[0] > 0.5
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.keypoints[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_average_precision_on_labelled_photos(shared: Path) -> None:
    labels = [shared / "photos" / "dlib_faces" / name for name in ("testing.xml", "training.xml")]
    found = average_precision(MODEL, labels, 384, 640)
    assert (found["photos"], found["boxes"]) == (9, 43)
    assert found["AP50"] >= 0.95


@pytest.fixture(scope="module")
def candidates(weights: Weights, batch: Batch) -> list[NDArray[np.float32]]:
    model = networks.to_onnx("centerface", weights("centerface"), decoded=True)
    assert {prop.key: prop.value for prop in model.metadata_props}["framewire.layout"] == "decoded"
    return parity.run(model.SerializeToString(), batch)


def test_decoded_graph_gives_a_fixed_number_of_boxes_best_first(
    candidates: list[NDArray[np.float32]], batch: Batch
) -> None:
    boxes, scores, classes, keypoints = candidates
    count = len(batch)
    assert [a.shape for a in candidates] == [(count, TOP, 4), (count, TOP), (count, TOP), (count, TOP, 5, 2)]
    assert classes.dtype == np.int32
    assert not classes.any()
    heatmap, scale, offset, landmarks = parity.run(MODEL, batch)
    for image in range(count):
        best = np.sort(heatmap[image].ravel())[::-1][:TOP]
        np.testing.assert_allclose(scores[image], best, atol=1e-5)
        row, column = np.unravel_index(heatmap[image, 0].argmax(), heatmap.shape[2:])
        cell = (image, slice(None), row, column)
        height, width = 4 * np.exp(scale[cell])
        y, x = 4 * (np.array([row, column]) + 0.5 + offset[cell])
        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        np.testing.assert_allclose(boxes[image, 0], box, atol=1e-3)
        points = [[box[0] + width * px, box[1] + height * py] for py, px in landmarks[cell].reshape(5, 2)]
        np.testing.assert_allclose(keypoints[image, 0], points, atol=1e-3)


def test_nms_in_the_graph_gives_the_boxes_of_the_greedy_algorithm(
    weights: Weights, batch: Batch, candidates: list[NDArray[np.float32]]
) -> None:
    model = networks.to_onnx("centerface", weights("centerface"), nms=True)
    boxes, scores, _, keypoints, image = parity.run(model.SerializeToString(), batch)
    assert len(boxes) >= len(batch)
    for index in range(len(batch)):
        sure = candidates[1][index] > SCORE
        keep = greedy_nms(candidates[0][index][sure], IOU)
        here = image == index
        np.testing.assert_allclose(boxes[here], candidates[0][index][sure][keep], atol=1e-4)
        np.testing.assert_allclose(scores[here], candidates[1][index][sure][keep], atol=1e-6)
        np.testing.assert_allclose(keypoints[here], candidates[3][index][sure][keep], atol=1e-4)
        assert sure.sum() > len(keep)  # there was something to suppress


@pytest.mark.parametrize("way", [{"decoded": True}, {"nms": True}, {"half": True}, {"decoded": True, "half": True}])
def test_every_way_of_export_finds_the_same_faces_in_the_stage(
    weights: Weights, photos: list[NDArray[np.uint8]], tmp_path: Path, way: dict[str, bool]
) -> None:
    file = tmp_path / "exported.onnx"
    save(networks.to_onnx("centerface", weights("centerface"), **way), file)
    found, wanted = (faces(model, photos) for model in (file, MODEL))
    assert sum(len(one.boxes) for one in wanted) >= len(photos)
    for ours, theirs in zip(found, wanted, strict=True):
        one, other = (np.argsort(each.boxes[:, 0]) for each in (ours, theirs))  # scores that are nearly equal may swap
        np.testing.assert_allclose(ours.boxes[one], theirs.boxes[other], atol=0.2)  # pixels
        np.testing.assert_allclose(ours.keypoints[one], theirs.keypoints[other], atol=0.2)
        np.testing.assert_allclose(ours.scores[one], theirs.scores[other], atol=0.005)


def faces(model: Path, photos: list[NDArray[np.uint8]]) -> list[Detections]:
    """What Detect and NMS make of all photos at once; the threshold and IoU are those of the NMS in the graph."""
    frames = MemoryFrames()
    detect = Detect(DetectConfig(model=str(model), size=(384, 640), threshold=SCORE, provider="cpu"), frames)
    nms = Nms(NmsConfig())
    results = detect([frames.put(photo, seq=seq) for seq, photo in enumerate(photos)])
    return [nms(result) for result in results if isinstance(result, Candidates)]
