"""Detect with real weights on real photos, and what it says of files that it cannot run."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import cuda
from pipeline.errors import Failed, Usage
from pipeline.frames import Overwritten
from pipeline.model import Model
from pipeline.registry import DETECTORS, SHIPPED
from pipeline.types import Candidates, Detections, Frame
from stages.detect import Detect, DetectConfig, Letterbox
from stages.layouts import COCO, LAYOUTS, Found
from stages.network import Pixels, feeder
from stages.nms import Nms, NmsConfig
from tests.fakes import MemoryFrames
from tests.pipeline.tiny_onnx import FLOAT, UINT8, tiny

CENTERFACE = str(SHIPPED / "centerface.onnx")
TAKES_PIXELS = {"framewire.input": "uint8 NHWC"}
PHOTO = "photos/dlib_faces/2008_002506.jpg"  # three people


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


class Eye:
    """Detect and Nms on single photos."""

    def __init__(self, model: Path | str, size: tuple[int, int] | None = None, threshold: float = 0.5) -> None:
        self.frames = MemoryFrames()
        config = DetectConfig(model=str(model), size=size, threshold=threshold, provider="cpu")
        self.detect = Detect(config, self.frames)
        self.nms = Nms(NmsConfig())

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        (candidates,) = self.detect([self.frames.put(image)])
        assert isinstance(candidates, Candidates)
        return self.nms(candidates)


def test_where_no_detector_is_named_a_cpu_gets_the_one_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DetectConfig(provider="cpu").load().info.name == "centerface_int8"
    monkeypatch.setattr(cuda, "missing", lambda: "this machine has no NVIDIA driver")
    assert DetectConfig(provider="auto").load().info.name == "centerface_int8"
    assert DetectConfig(model="centerface", provider="cpu").load().info.name == "centerface"
    assert {DETECTORS[provider] for provider in ("cuda", "tensorrt")} == {"centerface"}


def test_a_detectors_identity_is_its_file_and_the_size_of_its_input() -> None:
    shipped = DetectConfig(provider="cpu")
    assert shipped.identity == DetectConfig(model=DETECTORS["cpu"], threshold=0.6).identity
    others = (DetectConfig(model="centerface"), DetectConfig(provider="cpu", size=(192, 320)))
    assert len({config.identity for config in (shipped, *others)}) == 3


def labelled_faces(shared: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Each group photo with the boxes (N, 4) xyxy of its 43 labelled faces in all."""
    folder = shared / "photos/dlib_faces"
    for name in ("training.xml", "testing.xml"):
        for photo in ET.parse(folder / name).iter("image"):
            corners = [
                [float(box.attrib[key]) for key in ("left", "top", "width", "height")] for box in photo.iter("box")
            ]
            boxes = np.array(corners)
            boxes[:, 2:] += boxes[:, :2]
            yield read(folder / photo.attrib["file"]), boxes


def labelled_people(shared: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Each COCO photo with the boxes (N, 4) xyxy of its people."""
    for path in sorted((shared / "photos/coco/images").glob("*.jpg")):
        image = read(path)
        labels = shared / "photos/coco/labels" / f"{path.stem}.txt"
        lines = labels.read_text().splitlines() if labels.exists() else []  # two photos show no object of any class
        rows = np.array([line.split() for line in lines], float).reshape(-1, 5)
        people = rows[rows[:, 0] == 0, 1:]
        centre, side = people[:, :2], people[:, 2:]
        size = image.shape[1::-1]
        yield image, np.concatenate([(centre - side / 2) * size, (centre + side / 2) * size], axis=1)


def overlaps(found: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (N, M)."""
    corner = np.maximum(found[:, None, :2], boxes[None, :, :2])
    common = np.maximum(np.minimum(found[:, None, 2:], boxes[None, :, 2:]) - corner, 0).prod(axis=2)
    areas = [np.prod(every[:, 2:] - every[:, :2], axis=1) for every in (found, boxes)]
    return np.asarray(common / (areas[0][:, None] + areas[1] - common))


@pytest.mark.parametrize(
    ("model", "size", "missed", "extra"),
    [
        # Each finds all 43 at threshold 0.5, with 3, 9, 4, 0 and 1 boxes elsewhere (most on faces without a label).
        ("yunet_n_320_320.onnx", None, 1, 6),
        ("yunet_n_640_640.onnx", None, 1, 12),
        ("yunet_n_dynamic.onnx", (384, 640), 1, 7),
        ("version-RFB-320.onnx", None, 1, 3),
        ("centerface.onnx", None, 1, 4),
    ],
)
def test_the_faces_of_group_photos(
    shared: Path, model: str, size: tuple[int, int] | None, missed: int, extra: int
) -> None:
    folder = SHIPPED if model == "centerface.onnx" else shared / "weights"
    eye = Eye(folder / model, size)
    total = hit = false = 0
    for image, boxes in labelled_faces(shared):
        found = eye(image)
        assert found.labels == ("face",)
        # The labels frame a face more tightly than any of the networks: compare centres.
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        inside = np.all((centres[:, None] > boxes[:, :2]) & (centres[:, None] < boxes[:, 2:]), axis=2)
        total, hit, false = total + len(boxes), hit + inside.any(axis=0).sum(), false + (~inside.any(axis=1)).sum()
    assert total == 43
    assert hit >= total - missed
    assert false <= extra


@pytest.mark.parametrize(
    ("model", "threshold", "recall", "precision"),
    # Measured: recall of large people 0.91 and 0.86, precision of all boxes 0.76 and 0.57.
    [("yolox_nano.onnx", 0.3, 0.87, 0.72), ("FastestDet.onnx", 0.5, 0.82, 0.52)],
)
def test_the_people_of_coco_photos(shared: Path, model: str, threshold: float, recall: float, precision: float) -> None:
    eye = Eye(shared / "weights" / model, threshold=threshold)
    large = found_large = boxes_found = right = 0
    for image, people in labelled_people(shared):
        found = eye(image)
        assert found.labels == COCO
        iou: NDArray[np.bool_] = overlaps(found.boxes[found.classes == 0], people) > 0.5
        is_large: NDArray[np.bool_] = np.prod(people[:, 2:] - people[:, :2], axis=1) > 96**2  # COCO's "large"
        large, found_large = large + is_large.sum(), found_large + (iou.any(axis=0) & is_large).sum()
        boxes_found, right = boxes_found + len(iou), right + iou.any(axis=1).sum()
    assert large == 85
    assert found_large / large >= recall
    assert right / boxes_found >= precision


def test_yunet_agrees_with_opencvs_own_decoding(shared: Path) -> None:
    """cv2.FaceDetectorYN is somebody else's preprocessing, decoding and suppression of the same file."""
    model = shared / "weights/yunet_n_640_640.onnx"
    image = cv2.copyMakeBorder(read(shared / PHOTO), 0, 265, 0, 140, cv2.BORDER_CONSTANT)
    assert image.shape == (640, 640, 3)
    ours = Eye(model, threshold=0.6)(np.asarray(image, np.uint8))
    _, rows = cv2.FaceDetectorYN.create(str(model), "", (640, 640), 0.6, 0.45).detect(image)
    theirs = np.array(sorted(rows, key=lambda row: -row[14]))
    assert len(ours.boxes) == len(theirs) == 3
    assert ours.keypoints is not None
    np.testing.assert_allclose(ours.boxes[:, :2], theirs[:, :2], atol=0.1)
    np.testing.assert_allclose(ours.boxes[:, 2:] - ours.boxes[:, :2], theirs[:, 2:4], atol=0.1)
    np.testing.assert_allclose(ours.keypoints.reshape(-1, 10), theirs[:, 4:14], atol=0.1)
    np.testing.assert_allclose(ours.scores, theirs[:, 14], atol=1e-3)


def test_the_points_are_eyes_nose_and_mouth_of_their_face(shared: Path) -> None:
    for model in (SHIPPED / "centerface.onnx", shared / "weights/yunet_n_320_320.onnx"):
        found = Eye(model)(read(shared / PHOTO))
        assert found.keypoints is not None
        left_eye, right_eye, nose, left_mouth, right_mouth = np.moveaxis(found.keypoints, 1, 0)
        assert (left_eye[:, 0] < right_eye[:, 0]).all()
        assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
        assert (left_eye[:, 1] < nose[:, 1]).all()
        assert (nose[:, 1] < left_mouth[:, 1]).all()
        assert ((nose > found.boxes[:, :2]) & (nose < found.boxes[:, 2:])).all()


@pytest.mark.parametrize("model", ["yolox_nano.onnx", "centerface.onnx"])
def test_a_batch_of_many_cameras_gives_what_single_frames_give(shared: Path, model: str) -> None:
    """Also with a file whose batch is fixed to one, and with frames of different sizes in a batch."""
    eye = Eye((SHIPPED if model == "centerface.onnx" else shared / "weights") / model)
    photo = read(shared / PHOTO)
    images = [photo, photo[:, 100:], np.ascontiguousarray(photo[:, ::-1]), cv2.resize(photo, (1280, 960)), photo]
    frames = [eye.frames.put(np.asarray(image, np.uint8), f"cam{at}", at) for at, image in enumerate(images)]
    together = eye.detect(frames)
    assert [candidates.frame for candidates in together if isinstance(candidates, Candidates)] == frames
    for frame, batched in zip(frames, together, strict=True):
        (single,) = eye.detect([frame])
        assert isinstance(batched, Candidates)
        assert isinstance(single, Candidates)
        assert len(batched.boxes) == len(single.boxes) > 0
        np.testing.assert_allclose(batched.boxes, single.boxes, atol=0.05)
        np.testing.assert_allclose(batched.scores, single.scores, atol=1e-3)


class Torn(MemoryFrames):
    """A fake ring that has come round to the frames of one camera."""

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        with super().view(frame) as pixels:
            yield pixels
        if frame.source == "slow":
            raise Overwritten("slow")


@pytest.mark.parametrize("gone", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_a_frame_that_is_gone_is_a_drop_and_the_others_are_not(gone: tuple[int, ...]) -> None:
    frames = Torn()
    detect = Detect(DetectConfig(model=CENTERFACE, size=(64, 96), provider="cpu"), frames)
    image = np.zeros((60, 90, 3), np.uint8)
    tickets = [frames.put(image, "slow" if at in gone else "quick", at) for at in range(3)]
    results = detect(tickets)
    assert [isinstance(result, Overwritten) for result in results] == [at in gone for at in range(3)]
    assert [result.frame.seq for result in results if isinstance(result, Candidates)] == [
        at for at in range(3) if at not in gone
    ]


def test_candidates_are_sorted_cut_and_inside_of_the_frame(shared: Path) -> None:
    frames = MemoryFrames()
    photo = read(shared / PHOTO)[100:, 150:]  # cuts through a face
    frame = frames.put(photo)
    config = DetectConfig(model=CENTERFACE, threshold=0.2, provider="cpu")
    (every,) = Detect(config, frames)([frame])
    (top,) = Detect(msgspec.structs.replace(config, top_k=3), frames)([frame])
    assert isinstance(every, Candidates)
    assert isinstance(top, Candidates)
    assert len(every.boxes) > 3
    assert (np.diff(every.scores) <= 0).all()
    assert (every.boxes >= 0).all()
    assert (every.boxes <= [frame.width, frame.height] * 2).all()
    np.testing.assert_array_equal(top.boxes, every.boxes[:3])


@pytest.mark.parametrize("layout", ["yolov8", "yolox"])  # centred; in the corner
@pytest.mark.parametrize("shape", [(720, 1280), (480, 360), (33, 47), (1, 1000), (2160, 3840)])
def test_the_letterbox_brings_boxes_back(layout: str, shape: tuple[int, int]) -> None:
    """A white rectangle is where its box says, before and after."""
    size = (384, 640)
    letterbox = Letterbox(size, LAYOUTS[layout])
    image = np.zeros((*shape, 3), np.uint8)
    top, left, bottom, right = (round(share * shape[at % 2]) for at, share in enumerate((0.25, 0.5, 0.75, 1.0)))
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    image[top:bottom, left:right] = 255
    frame = MemoryFrames().put(image)
    canvas = np.empty((*size, 3), np.uint8)
    letterbox(np.full((50, 50, 3), 255, np.uint8), canvas)
    letterbox(image, canvas)  # what the picture before has left must not show
    rows, columns = np.nonzero(canvas[..., 0] > 128)
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    found = Found(seen, np.ones(1, np.float32), np.zeros(1, np.int32), np.repeat(seen[:, None, :2], 5, axis=1))
    back = letterbox.undo(found, frame)
    slack = 1.01 * max(shape[0] / size[0], shape[1] / size[1], 1.0)  # a pixel of either picture
    np.testing.assert_allclose(back.boxes, [[left, top, right, bottom]], atol=slack)
    assert back.keypoints is not None
    np.testing.assert_allclose(back.keypoints[0, 0], [left, top], atol=slack)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_a_network_of_pixels_is_fed_them_in_its_order(tmp_path: Path, order: str) -> None:
    """Drawn right into the batch, and from elsewhere; networks of planes get the same channels."""
    said = {"framewire.order": order}
    file = tmp_path / "m.onnx"
    file.write_bytes(tiny("Sign", [("x", UINT8, (2, 4, 6, 3))], [("y", UINT8, (2, 4, 6, 3))], said | TAKES_PIXELS))
    info = Model(file, provider="cpu").info
    feed = feeder(info, "BGR", order="RGB", mean=(9, 9, 9), scale=(9, 9, 9))
    assert isinstance(feed, Pixels)
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    wanted = picture if order == "BGR" else picture[..., ::-1]
    drawn, given = info.blank(2)
    canvas = feed.canvas(drawn)
    canvas[:] = picture
    feed(canvas, drawn)
    feed(picture, given)
    np.testing.assert_array_equal(drawn, wanted)
    np.testing.assert_array_equal(given, wanted)

    file.write_bytes(tiny("Relu", [("x", FLOAT, (1, 3, 4, 6))], [("y", FLOAT, (1, 3, 4, 6))], said))
    info = Model(file, provider="cpu").info
    (planes,) = info.blank(1)
    feeder(info, "BGR", order="RGB", mean=(0, 0, 0), scale=(1, 1, 1))(picture, planes)
    np.testing.assert_array_equal(planes, wanted.transpose(2, 0, 1))


def test_boxes_beside_the_picture_are_left_out() -> None:
    letterbox = Letterbox((64, 64), LAYOUTS["yolov8"])
    frame = MemoryFrames().put(np.zeros((32, 64, 3), np.uint8))  # 16 rows of padding above and below
    boxes = np.array([[0, 0, 20, 10], [0, 0, 20, 30], [math.nan] * 4], np.float32)
    found = Found(boxes, np.ones(3, np.float32), np.arange(3, dtype=np.int32), None)
    kept = letterbox.undo(found, frame)
    assert kept.classes.tolist() == [1]
    np.testing.assert_allclose(kept.boxes, [[0, 0, 20, 14]])


def detect_error(kind: type[Failed], model: Path | str, **keys: object) -> str:
    with pytest.raises(kind) as caught:
        Detect(msgspec.convert({"model": str(model), "provider": "cpu"} | keys, DetectConfig), MemoryFrames())
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_wrong_layout_is_told_what_the_file_looks_like(shared: Path) -> None:
    said = detect_error(Failed, shared / "weights/yolox_nano.onnx", layout="yolov8")
    assert "cannot have the layout yolov8" in said
    assert "output float32[3549, 85]" in said
    assert "detect.layout to yolox" in said


def with_metadata(model: Path, to: Path, **metadata: str) -> Path:
    """A copy with more metadata_props: protobuf messages, as the ONNX file is one, are merged by concatenation."""
    blob = model.read_bytes()
    for pair in metadata.items():
        entry = b"".join(_field(number, text.encode()) for number, text in enumerate(pair, 1))
        blob += _field(14, entry)  # ModelProto.metadata_props of StringStringEntryProto
    to.write_bytes(blob)
    return to


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    size = bytes([length & 127 | 128, length >> 7]) if length > 127 else bytes([length])  # up to 16 KiB
    return bytes([number << 3 | 2]) + size + content


def test_the_names_that_ultralytics_writes_are_the_labels(shared: Path, tmp_path: Path) -> None:
    names = {index: f"thing {index}" for index in range(80)}
    model = with_metadata(shared / "weights/yolox_nano.onnx", tmp_path / "m.onnx", task="detect", names=str(names))
    found = Eye(model)(read(shared / PHOTO))
    assert found.labels == tuple(names.values())
    assert 0 in found.classes


def test_a_model_of_ultralytics_for_another_task_is_refused(tmp_path: Path) -> None:
    model = with_metadata(Path(CENTERFACE), tmp_path / "m.onnx", task="segment")
    assert "the task 'segment'" in detect_error(Failed, model)


def test_names_that_are_no_dictionary_are_refused(shared: Path, tmp_path: Path) -> None:
    model = with_metadata(shared / "weights/yolox_nano.onnx", tmp_path / "m.onnx", names="__import__('os')")
    assert "names of classes that cannot be read" in detect_error(Failed, model)


def test_a_class_that_has_no_name_stops_with_what_to_do(shared: Path, tmp_path: Path) -> None:
    model = with_metadata(shared / "weights/yolox_nano.onnx", tmp_path / "m.onnx", names="{0: 'person', 1: 'bicycle'}")
    eye = Eye(model, threshold=0.25)
    food = read(shared / "photos/coco/images/000000000009.jpg")
    with pytest.raises(Failed, match=r"found class \d+ but names 2 classes"):
        eye(food)


def test_a_layout_nobody_knows_is_a_usage_error(shared: Path) -> None:
    assert "no layout 'yolo99'" in detect_error(Usage, shared / "weights/yolox_nano.onnx", layout="yolo99")


def test_a_file_of_no_known_layout_is_told_what_is_known(shared: Path) -> None:
    said = detect_error(Failed, shared / "weights/style/wave.onnx", size=(64, 64))
    assert "does not say its layout" in said
    assert "float32[3, 64, 64]" in said
    assert "centerface" in said


@pytest.mark.parametrize("model", ["mobilefacenet_foamliu.onnx", "osnet_x0_25_msmt17.onnx"])
def test_an_embedder_is_no_detector(shared: Path, model: str) -> None:
    said = detect_error(Failed, shared / "weights" / model)
    assert "is an embedder" in said
    assert "match.model" in said


def test_the_shipped_embedder_is_no_detector() -> None:
    assert "is an embedder (embedding float32[128])" in detect_error(Failed, SHIPPED / "dlib_face.onnx")


@pytest.mark.parametrize("size", [[100, 100], [0, 32], [64]])
def test_sizes_that_no_network_takes_are_refused_with_their_key(size: list[int]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.size"):
        msgspec.convert({"size": size}, DetectConfig)


def test_a_file_of_fixed_size_takes_no_other(shared: Path) -> None:
    assert "416x416" in detect_error(Usage, shared / "weights/yolox_nano.onnx", size=[320, 320])


def test_a_threshold_that_nms_in_the_graph_cannot_know_is_refused(tmp_path: Path) -> None:
    model = with_metadata(Path(CENTERFACE), tmp_path / "m.onnx", **{"framewire.score": "0.5"})
    with pytest.raises(Usage, match=r"drops scores below 0\.5 itself: set detect\.threshold to 0\.5 or more"):
        Eye(model, threshold=0.4)
    Eye(model, threshold=0.5)
    model = with_metadata(Path(CENTERFACE), tmp_path / "m.onnx", **{"framewire.score": "high"})
    with pytest.raises(Failed, match=r"framewire\.score that is no number"):
        Eye(model)
