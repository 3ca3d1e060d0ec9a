"""`evaluate`: what counts as found, AP, rates over people, reports that hold what was measured, and bad input."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import chips, evaluate, latency
from export.detection import matching
from export.detection.matching import Boxes
from export.embedding import verification
from export.liveness.evaluate_liveness import curves
from export.networks import to_onnx
from export.packages import Failed
from export.to_onnx import save
from stages.embed import Embedder, EmbedderConfig

ROOT = Path(__file__).resolve().parents[2]
CENTERFACE, DLIB_FACE = (ROOT / "models" / f"{name}.onnx" for name in ("centerface", "dlib_face"))
FACE = (171, 57, 109, 162)  # the astronaut's: left, top, width, height
Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`python -m export evaluate ...`: what it prints."""

    def command(*words: object) -> str:
        parser = argparse.ArgumentParser()
        evaluate.add(parser.add_subparsers(required=True))
        said = ["evaluate", *map(str, words)]
        monkeypatch.setattr("sys.argv", ["export", *said])
        arguments = parser.parse_args(said)
        arguments.run(arguments)
        return capsys.readouterr().out

    return command


@pytest.fixture
def portrait(astronaut: NDArray[np.uint8], tmp_path: Path) -> Path:
    """An XML file with the astronaut and her face."""
    cv2.imwrite(str(tmp_path / "astronaut.png"), astronaut)
    return xml(tmp_path / "labels.xml", "astronaut.png", "".join(box(*FACE)))


@pytest.fixture
def yolo(astronaut: NDArray[np.uint8], tmp_path: Path) -> Path:
    """The same as a folder in YOLO's format, the face being of class 1."""
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "yolo" / "images" / "astronaut.png"), astronaut)
    (tmp_path / "yolo" / "classes.txt").write_text("person\nface\n")
    left, top, width, height = (value / 512 for value in FACE)
    line(tmp_path / "yolo", f"1 {left + width / 2} {top + height / 2} {width} {height}")
    return tmp_path / "yolo"


def line(folder: Path, text: str) -> None:
    (folder / "labels" / "astronaut.txt").write_text(text)


def box(left: float, top: float, width: float, height: float, more: str = "") -> str:
    return f"<box left='{left}' top='{top}' width='{width}' height='{height}' {more}/>"


def xml(file: Path, photo: str, boxes: str) -> Path:
    file.write_text(f"<dataset><images><image file='{photo}'>{boxes}</image></images></dataset>")
    return file


@pytest.mark.parametrize("kind", ["detector", "embedder", "liveness"])
def test_help_is_there(run: Run, kind: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(kind, "--help")


def boxes(*rows: tuple[float, ...], classes: tuple[int, ...] | None = None) -> Boxes:
    """Boxes of x, y, side and score."""
    x, y, side, score = np.array(rows, np.float32).reshape(-1, 4).T
    corners = np.stack([x, y, x + side, y + side], 1)
    return Boxes(corners, np.array(classes or [0] * len(rows), np.int64), score)


def photo(found: Boxes, truth: Boxes, *ignored: int, smallest: float = 16) -> matching.Photo:
    return matching.match(found, truth, np.isin(np.arange(len(truth.scores)), ignored), 1.0, smallest)


def test_each_box_is_found_once_and_by_its_own_class() -> None:
    truth = boxes((0, 0, 40, 1), (100, 0, 40, 1))
    found = boxes((2, 0, 40, 0.9), (0, 0, 40, 0.8), (100, 0, 40, 0.7), (102, 0, 40, 0.6), classes=(0, 0, 1, 0))
    one = photo(found, truth)
    assert one.hit.tolist() == [0, 3]
    assert one.right.tolist() == [True, False, False, True]
    assert one.counts.all()


def test_what_is_ignored_or_small_is_neither_right_nor_wrong() -> None:
    truth = boxes((0, 0, 40, 1), (100, 0, 40, 1), (200, 0, 10, 1))
    found = boxes((100, 0, 40, 0.9), (104, 4, 20, 0.8), (200, 0, 18, 0.7), (198, 0, 12, 0.6), (300, 0, 15, 0.5))
    one = photo(found, truth, 1)
    assert one.asked.tolist() == [True, False, False]
    assert one.hit.tolist() == [-1, -1, 3]  # the small one is known to be found
    assert one.right.tolist() == [False] * 5
    assert one.counts.tolist() == [False, False, True, False, False]  # 18 px that are mostly beside the small face


def test_average_precision_is_that_of_the_paper() -> None:
    truth, other = boxes((0, 0, 100, 1)), boxes((0, 0, 100, 1))
    photos = [photo(boxes((0, 0, 100, 0.9), (300, 0, 50, 0.8)), truth), photo(boxes((0, 0, 85, 0.7)), other)]
    ap50, mean = matching.average_precisions(photos, ["face"])["face"]
    assert ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    # 85 x 85 of 100 x 100 overlaps by 0.7225: right at 0.5 to 0.7, and then recall ends at a half
    assert mean == pytest.approx((5 * ap50 + 5 * 51 / 101) / 10)


def test_average_precision_of_nothing_found_is_none() -> None:
    assert matching.average_precisions([photo(boxes(), boxes((0, 0, 40, 1)))], ["face"]) == {"face": (0.0, 0.0)}


def test_classes_that_nobody_asks_for_have_no_average_precision() -> None:
    photos = [photo(boxes((0, 0, 40, 0.9)), boxes((0, 0, 40, 1)))]
    assert list(matching.average_precisions(photos, ["face", "person"])) == ["face"]


def test_recall_is_by_the_height_in_the_input() -> None:
    truth = boxes((0, 0, 10, 1), (100, 0, 20, 1), (200, 0, 40, 1), (300, 0, 80, 1), (400, 0, 80, 1))
    found = boxes((0, 0, 10, 0.9), (200, 0, 40, 0.8), (300, 0, 80, 0.7), (400, 0, 80, 0.3))
    assert list(matching.recalls([photo(found, truth)], 0.5).values()) == [(1, 1), (0, 1), (1, 1), (1, 2)]
    half = matching.match(found, truth, np.zeros(5, bool), 0.5, 16)
    assert list(matching.recalls([half], 0.5).values()) == [(1, 2), (1, 1), (1, 2), (0, 0)]


def test_landmarks_are_apart_in_eye_distances() -> None:
    truth = boxes((0, 0, 100, 1), (200, 0, 100, 1))
    both, one = boxes((0, 0, 100, 0.9), (200, 0, 100, 0.8)), boxes((200, 0, 100, 0.9))
    points = np.array([[[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]], np.float32)
    theirs = np.concatenate([points, points + np.array([200, 0])]).astype(np.float32)
    ours = (theirs[1:] + np.array([0, 4])).astype(np.float32)
    apart = matching.landmarks_apart(photo(one, truth), photo(both, truth), ours, theirs, 0.5)
    assert apart == pytest.approx([0.1])


def test_models_take_turns() -> None:
    order: list[str] = []
    took = latency.in_turns([lambda: order.append("a"), lambda: order.append("b")], rounds=3)
    assert took.shape == (3, 2, 2)
    assert "".join(order) == "abba" * latency.WARM_UP


def people(count: int, photos: int, seed: int = 0) -> tuple[list[str], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), photos)
    faces = random.normal(size=(count, 16))[who] + random.normal(size=(len(who), 16)) * 0.8
    return [f"person {index}" for index in who], faces.astype(np.float32)


def test_rates_are_those_counted_by_hand() -> None:
    names, faces = people(20, 3)
    found = verification.pairs(names, faces)
    assert (len(found.genuine), len(found.impostor)) == (60, 1710)
    hundredth, thousandth, ten_thousandth = verification.rates(found)
    for rate, allowed in ((hundredth, 17), (thousandth, 1)):
        assert rate.accepted == allowed
        assert rate.threshold is not None
        limit = found.impostor[allowed]
        assert rate.threshold == pytest.approx(limit, abs=1e-4)
        assert rate.tar == pytest.approx((found.genuine > limit).mean(), abs=1e-4)
        assert rate.low is not None
        assert rate.high is not None
        assert rate.low < rate.tar < rate.high
    assert (ten_thousandth.tar, ten_thousandth.threshold, ten_thousandth.accepted) == (None, None, 0)


def test_a_person_who_is_not_drawn_is_not_there() -> None:
    names, faces = people(8, 3)
    found = verification.pairs(names, faces)
    fars, times = np.array([0.01, 0.1, 0.3]), np.ones(8, np.int64)
    assert verification.accepted(found, fars, 2 * times) == pytest.approx(verification.accepted(found, fars))
    times[5] = 0
    others = [index for index, name in enumerate(names) if name != "person 5"]
    without = verification.pairs([names[index] for index in others], faces[others])
    assert verification.accepted(found, fars, times) == pytest.approx(verification.accepted(without, fars))


def test_intervals_are_wider_for_fewer_people() -> None:
    fars, widths = np.array([0.05]), []
    for count in (10, 60):
        low, high = verification.bounds(verification.pairs(*people(count, 3)), fars)
        widths.append(float(high[0] - low[0]))
    assert widths[0] > 1.5 * widths[1] > 0


def test_report_of_detectors_side_by_side(run: Run, shared: Path, tmp_path: Path) -> None:
    yunet, folder = shared / "weights" / "yunet_n_dynamic.onnx", shared / "photos" / "dlib_faces"
    options = ("--size", "192x320", "--landmarks", CENTERFACE, "-o", tmp_path / "report")
    said = run("detector", CENTERFACE, yunet, folder / "testing.xml", folder / "training.xml", *options)
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["data"] == {"from": ["testing.xml", "training.xml"], "photos": 9, "asked": 43, "not": 0}
    assert facts["command"][3:5] == ["evaluate", "detector"]
    assert facts["machine"]["threads"] == 1
    ours, theirs = facts["results"]
    assert (ours["model"], theirs["model"]) == ("centerface.onnx", "yunet_n_dynamic.onnx")
    for one in (ours, theirs):
        assert one["AP50"] > 0.9 > 0.6 > one["AP50_95"] > 0.3
        assert sum(there for _, there in one["sizes"].values()) == 43
        assert one["milliseconds"]["p50"] <= one["milliseconds"]["p95"]
    assert ours["landmarks"] == 0
    assert 0.01 < facts["landmarks_of_a_moved_photo"] < theirs["landmarks"] < 0.3
    text = (tmp_path / "report" / "report.md").read_text()
    assert str(shared) not in text
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    assert "centerface.onnx" in said
    for name in ("precision_recall.png", "failures_centerface.png", "failures_yunet_n_dynamic.png"):
        picture = cv2.imread(str(tmp_path / "report" / name))
        assert picture is not None
        assert len(np.unique(picture)) > 50
        assert name in text
        assert name in said


def test_photos_may_lie_elsewhere(run: Run, portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = portrait.rename(tmp_path / "elsewhere" / "labels.xml")
    beside = xml(tmp_path / "elsewhere" / "more.xml", "beside.png", box(*FACE))
    (tmp_path / "elsewhere" / "beside.png").write_bytes((tmp_path / "astronaut.png").read_bytes())
    run("detector", CENTERFACE, moved, beside, "--photos", tmp_path, "--size", "192x320", "-o", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    (only,) = facts["results"]
    assert (only["AP50"], only["recall"], only["false"]) == (pytest.approx(1), 1, 0)
    assert facts["data"]["photos"] == 2


def test_yolo_folder_with_names(run: Run, yolo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = "out/evaluate/detector-centerface-192x320"
    assert folder in run("detector", CENTERFACE, yolo, "--size", "192x320")
    facts = json.loads((tmp_path / folder / "report.json").read_text())
    assert facts["classes"] == ["face"]
    assert facts["results"][0]["AP50"] == pytest.approx(1)


def two_classes(file: Path) -> Path:
    """A detector of 64x64 that finds the same person and face in every picture, one box over the other."""
    values = {
        "boxes": np.array([[[8, 8, 56, 56], [8, 8, 56, 50]]], np.float32),
        "scores": np.array([[0.9, 0.8]], np.float32),
        "classes": np.array([[0, 1]], np.int32),
        "keypoints": np.zeros((1, 2, 5, 2), np.float32),
    }
    nodes = [helper.make_node("Constant", [], [key], value=numpy_helper.from_array(v)) for key, v in values.items()]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    kinds = {key: helper.np_dtype_to_tensor_dtype(value.dtype) for key, value in values.items()}
    outputs = [helper.make_tensor_value_info(key, kinds[key], value.shape) for key, value in values.items()]
    model = helper.make_model(helper.make_graph(nodes, "constant", [given], outputs), ir_version=10)
    model.opset_import[0].version = 18
    labels = {"framewire.layout": "decoded", "framewire.labels": '["person", "face"]'}
    helper.set_model_props(model, labels)
    onnx.save(model, file)
    return file


def nameless(file: Path) -> Path:
    """The same without landmarks and names of classes."""
    model = onnx.load(file)
    helper.set_model_props(model, {"framewire.layout": "decoded"})
    model.graph.output.remove(next(output for output in model.graph.output if output.name == "keypoints"))
    onnx.save(model, file)
    return file


def test_each_class_has_its_average_precision(run: Run, yolo: Path, tmp_path: Path) -> None:
    (yolo / "classes.txt").unlink()  # so they are the model's own
    line(yolo, "0 0.5 0.5 0.75 0.75\n1 0.5 0.45 0.75 0.65\n1 0.9 0.9 0.2 0.2")
    run("detector", two_classes(tmp_path / "two.onnx"), yolo, "--size", "64x64", "--smallest", "8", "-o", tmp_path)
    (only,) = json.loads((tmp_path / "report.json").read_text())["results"]
    face = pytest.approx(51 / 101, abs=1e-4)
    assert {name: ap50 for name, (ap50, _) in only["classes"].items()} == {"person": 1.0, "face": face}
    assert only["AP50"] == pytest.approx((1 + 51 / 101) / 2, abs=1e-4)
    assert "| face | 0.505 |" in (tmp_path / "report.md").read_text()


def test_other_peoples_yolo_on_coco(run: Run, shared: Path, tmp_path: Path) -> None:
    """YOLOX-nano on photos of COCO: 0.50 is what others measure on these 128."""
    yolox, coco = shared / "weights" / "yolox_nano.onnx", shared / "photos" / "coco"
    (tmp_path / "names").write_text("\n".join(f"class {index}" for index in range(80)))
    options = ("--size", "416x416", "--smallest", "0", "-o", tmp_path)
    with pytest.raises(Failed, match=r"yolox_nano\.onnx does not name its classes; name them in classes\.txt or with"):
        run("detector", yolox, coco, *options)
    with pytest.raises(Failed, match=r"yolox_nano\.onnx finds no landmarks; give a face detector for --landmarks"):
        run("detector", yolox, coco, "--names", tmp_path / "names", "--landmarks", yolox, *options)
    run("detector", yolox, coco, "--names", tmp_path / "names", *options)
    (only,) = json.loads((tmp_path / "report.json").read_text())["results"]
    assert only["AP50"] == pytest.approx(0.5, abs=0.02)
    assert only["AP50_95"] == pytest.approx(0.33, abs=0.02)
    assert only["landmarks"] is None


def test_more_classes_than_names(run: Run, yolo: Path, shared: Path) -> None:
    with pytest.raises(Failed, match=r"yolox_nano\.onnx finds the class \d+, and 2 have names; name them all"):
        run("detector", shared / "weights" / "yolox_nano.onnx", yolo, "--size", "416x416")


def test_a_missed_and_a_false_face_are_pictured(run: Run, portrait: Path, tmp_path: Path) -> None:
    xml(portrait, "astronaut.png", box(400, 400, 60, 60))
    run("detector", CENTERFACE, portrait, "--size", "192x320", "-o", tmp_path / "out")
    (only,) = json.loads((tmp_path / "out" / "report.json").read_text())["results"]
    assert (only["AP50"], only["recall"], only["precision"], only["false"]) == (0, 0, 0, 1)
    sheet = cv2.imread(str(tmp_path / "out" / "failures_centerface.png"))
    assert sheet is not None
    assert len(np.unique(sheet)) > 200  # real pixels of the photo


def test_average_precision_leaves_ignored_faces_out(portrait: Path) -> None:
    xml(portrait, "astronaut.png", box(*FACE, "ignore='1'") + box(400, 400, 60, 60))
    assert evaluate.average_precision(CENTERFACE, [portrait], 384, 640) == {"AP50": 0.0, "photos": 1, "boxes": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 0.5 0.5 1.2 0.3", "line 1: .* within 0..1"),
        ("7 0.5 0.5 0.2 0.3", "has the class 7, and there are 2"),
        ("0 0.5 0.5 0.2 0.3", "no photo has a labelled face of 16 px or more"),
        ("", "no photo has a labelled face"),
    ],
)
def test_yolo_labels_that_do_not_fit(run: Run, yolo: Path, text: str, said: str) -> None:
    line(yolo, text)
    with pytest.raises(Failed, match=said):
        run("detector", CENTERFACE, yolo)


def test_labels_of_other_things_only(run: Run, yolo: Path) -> None:
    (yolo / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(Failed, match=r"no class in common \(labels: cat, dog; centerface.onnx finds face\)"):
        run("detector", CENTERFACE, yolo)


def test_data_that_cannot_be_used(run: Run, portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failed, match="has no images/ with pictures"):
        run("detector", CENTERFACE, tmp_path / "empty")
    with pytest.raises(Failed, match="give at least one model"):
        run("detector", CENTERFACE)
    with pytest.raises(Failed, match="not both and not two"):
        run("detector", CENTERFACE, portrait, tmp_path / "empty")
    (tmp_path / "astronaut.png").write_text("no picture")
    with pytest.raises(Failed, match=r"astronaut\.png is not an image that OpenCV can read"):
        run("detector", CENTERFACE, portrait)
    portrait.write_text("<dataset>")
    with pytest.raises(Failed, match="is not an XML file of dlib's image metadata"):
        run("detector", CENTERFACE, portrait)


def test_models_of_another_kind(run: Run, portrait: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"dlib_face\.onnx takes 150x150 and no other size"):
        run("detector", DLIB_FACE, portrait, "--size", "384x640")
    with pytest.raises(Failed, match="has the layout 'embedder'"):
        run("detector", DLIB_FACE, portrait)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(Failed, match=r"text\.onnx is not an ONNX file"):
        run("detector", tmp_path / "text.onnx", portrait)
    (tmp_path / "people.tsv").write_text("eileen\tastronaut.png\n")
    with pytest.raises(Failed, match="has the layout 'centerface' and the alignment ''; an embedder"):
        run("embedder", CENTERFACE, tmp_path / "people.tsv")
    (tmp_path / "live").mkdir()
    with pytest.raises(Failed, match="it tells nothing of life"):
        run("liveness", CENTERFACE, tmp_path)


def test_report_of_an_embedder(run: Run, shared: Path, tmp_path: Path) -> None:
    said = run("embedder", DLIB_FACE, ROOT / "export" / "faces.tsv", shared / "photos", "-o", tmp_path / "report")
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    counts = {"faces": 59, "photos_without_a_face": 0, "people": 43, "genuine_pairs": 29, "impostor_pairs": 1682}
    assert facts["data"] == {"from": "faces.tsv", **counts}
    assert facts["verification"]["TAR@FAR=0.001"] >= 0.95
    assert [rate["accepted"] for rate in facts["rates"]] == [16, 1, 0]
    assert facts["rates"][1]["threshold"] == facts["verification"]["threshold@FAR=0.001"]
    assert facts["rates"][2]["tar"] is None
    assert "not supported: needs 10,000 impostor pairs or more, there are 1,682" in said
    text = (tmp_path / "report" / "report.md").read_text()
    for name in ("roc.png", "det.png"):
        assert (tmp_path / "report" / name).stat().st_size > 10_000
        assert name in text


def test_a_box_outside_its_photo_is_not_measured_on(run: Run, portrait: Path) -> None:
    file = xml(portrait.parent / "far.xml", "astronaut.png", box(900, 10, 40, 50))
    with pytest.raises(Failed, match=r"far\.xml has a box outside astronaut\.png, which is 512x512"):
        run("detector", CENTERFACE, file)


def test_boxes_of_an_xml_file_have_their_own_classes(run: Run, tmp_path: Path) -> None:
    """A person, and a face without a name."""
    cv2.imwrite(str(tmp_path / "64.png"), np.zeros((64, 64, 3), np.uint8))
    body = box(8, 8, 48, 48).replace("/>", "><label>person</label></box>")
    file = xml(tmp_path / "both.xml", "64.png", body + box(8, 8, 48, 42))
    run("detector", two_classes(tmp_path / "two.onnx"), file, "--smallest", "8", "-o", tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["size"] == [64, 64]  # the only one that the file takes
    assert {name: ap50 for name, (ap50, _) in facts["results"][0]["classes"].items()} == {"person": 1, "face": 1}
    cat = xml(tmp_path / "cat.xml", "64.png", body.replace("person", "cat"))
    with pytest.raises(Failed, match=r"no class in common \(labels: cat; two\.onnx finds person, face\)"):
        run("detector", tmp_path / "two.onnx", cat, "--smallest", "8")
    with pytest.raises(Failed, match=r"two\.onnx does not name its classes"):  # they are not in the order of the XML
        run("detector", nameless(tmp_path / "two.onnx"), file, "--smallest", "8")


def test_a_file_with_nms_inside_says_what_its_ap_is_of(run: Run, portrait: Path, tmp_path: Path) -> None:
    file = tmp_path / "nms.onnx"
    save(to_onnx("centerface", CENTERFACE.read_bytes(), nms=True), file)
    run("detector", file, CENTERFACE, portrait, "--size", "192x320", "-o", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "nothing kept that scores less than the file says: nms.onnx. AP is of what is left" in text


def test_lists_that_are_no_text_are_named(run: Run, yolo: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00\x81")
    for words in (
        ("embedder", DLIB_FACE, tmp_path / "list"),
        ("detector", CENTERFACE, yolo, "--names", tmp_path / "list"),
    ):
        with pytest.raises(Failed, match=r"list cannot be read as text \(UnicodeDecodeError\)"):
            run(*words)
    with pytest.raises(Failed, match=r"nowhere cannot be read as text \(FileNotFoundError\)"):
        run("detector", CENTERFACE, yolo, "--names", tmp_path / "nowhere")


def test_what_is_gained_is_measured_on_the_same_people() -> None:
    """A better embedding of the same faces: the difference is surer than either rate."""
    names, faces = people(30, 3)
    truth = np.random.default_rng(0).normal(size=(30, 16))[np.repeat(np.arange(30), 3)]
    fars = np.array([0.01])
    before, after = (verification.pairs(names, one) for one in (faces, (faces + 0.15 * truth).astype(np.float32)))
    gain = verification.accepted(after, fars)[0] - verification.accepted(before, fars)[0]
    low, high = verification.gain_bounds(before, after, fars)
    assert 0 < low[0] <= gain <= high[0]
    alone = verification.bounds(before, fars)
    assert high[0] - low[0] < 0.8 * (alone[1][0] - alone[0][0])
    assert verification.gain_bounds(before, before, fars) == (0, 0)


def test_an_embedder_is_rated_as_the_runtime_compares(shared: Path) -> None:
    """With the mirror image, and whichever detector aligns."""
    faces = chips.chips(shared / "photos" / "face_recognition_examples" / "train", None, CENTERFACE).faces[:3]
    stage = Embedder(EmbedderConfig(model=str(DLIB_FACE), provider="cpu"))
    wanted = stage(faces.astype(np.uint8))
    found = evaluate.embed(DLIB_FACE, faces)
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), wanted, atol=1e-3)


def test_another_detector_may_align(run: Run, shared: Path, tmp_path: Path) -> None:
    folder = shared / "photos" / "face_recognition_examples" / "train"
    words = ("embedder", DLIB_FACE, folder, "--detector", CENTERFACE.with_name("yolo_face_int8.onnx"))
    run(*words, "-o", tmp_path)
    assert "aligned by the five points of yolo_face_int8.onnx" in (tmp_path / "report.md").read_text()
    figures = json.loads((tmp_path / "report.json").read_text())["verification"]
    run(*words[:3], "-o", tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["verification"] != figures


def test_a_detector_without_landmarks_cannot_align(run: Run, shared: Path, tmp_path: Path) -> None:
    folder = shared / "photos" / "face_recognition_examples" / "train"
    with pytest.raises(Failed, match=r"two\.onnx finds no landmarks to align faces by"):
        run("embedder", DLIB_FACE, folder, "--detector", nameless(two_classes(tmp_path / "two.onnx")))


def test_a_size_that_a_detector_cannot_take_is_said(run: Run, portrait: Path) -> None:
    with pytest.raises(Failed, match=r"the model does not run on images \(1, 3, 50, 70\) .*choose another --size"):
        run("detector", CENTERFACE, portrait, "--size", "50x70")


def test_a_folder_of_people(run: Run, shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    shutil.copytree(shared / "photos" / "face_recognition_examples" / "train", folder)
    cv2.imwrite(str(folder / "obama" / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    run("embedder", DLIB_FACE, folder, "-o", tmp_path / "report")
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["data"]["people"] == 5
    assert facts["data"]["photos_without_a_face"] == 1  # they are not among the pairs, and that is said
    assert facts["data"]["genuine_pairs"] >= 3


def test_people_that_cannot_be_rated(run: Run, astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    for name in ("eileen/one.png", "eileen/two.png", "other/one.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), astronaut)
    listing = tmp_path / "people.tsv"
    for text, said in (
        ("eileen\teileen/one.png\nother\tother/one.png\n", "there is one photo of each person"),
        ("eileen\teileen/one.png\neileen\teileen/two.png\n", "all photos are of one person"),
        ("eileen eileen/one.png\n", r"people\.tsv, line 1, is not NAME<TAB>PHOTO"),
        ("", r"people\.tsv, line 1, is not NAME<TAB>PHOTO"),
    ):
        listing.write_text(text)
        with pytest.raises(Failed, match=said):
            run("embedder", DLIB_FACE, listing)
    cv2.imwrite(str(tmp_path / "eileen" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    listing.write_text("eileen\teileen/one.png\n")
    with pytest.raises(Failed, match="finds no face in any photo"):
        run("embedder", DLIB_FACE, listing)
    with pytest.raises(Failed, match=r"missing\.tsv is not there"):
        run("embedder", DLIB_FACE, tmp_path / "missing.tsv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failed, match="has no photos in it"):
        run("embedder", DLIB_FACE, tmp_path / "empty")


def test_liveness_curves_go_from_all_pass_to_none() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.7, 0.1, 0.6, np.nan])
    species = ["live", "live", "live", "print", "print", "replay", "replay"]
    found = curves(scores, species)
    assert list(found) == ["print", "replay"]
    apcer, bpcer = found["print"]
    assert apcer.tolist() == [1, 0.5, 0.5, 0.5, 0, 0, 0]  # at 0.1, 0.3, 0.6, 0.7, 0.8, 0.9 and above all
    assert bpcer == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 1])


def brightness(file: Path) -> Path:
    """A "liveness" model that takes bright pictures for live ones."""
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 80, 80])
    live = helper.make_tensor_value_info("live", TensorProto.FLOAT, ["batch"])
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
    node = helper.make_node("ReduceMean", ["images", "axes"], ["live"], keepdims=0)
    model = helper.make_model(helper.make_graph([node], "brightness", [given], [live], [axes]), ir_version=10)
    model.opset_import[0].version = 18
    said = {"layout": "liveness", "align": "x2.7", "order": "RGB", "threshold": "0.5", "size": "80x80"}
    said |= {"mean": "0,0,0", "scale": ",".join(3 * ["0.0039"])}
    helper.set_model_props(model, {f"framewire.{key}": value for key, value in said.items()})
    onnx.save(model, file)
    return file


def test_report_of_liveness_models(run: Run, astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    data = {
        "live/a.png": astronaut,
        "live/b.png": astronaut // 2,
        "print/a.png": astronaut // 2,
        "replay/a.png": astronaut,
    }
    for name, picture in data.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "data" / name), picture)
    cv2.imwrite(str(tmp_path / "data" / "replay" / "b.png"), np.zeros((64, 64, 3), np.uint8))  # no face
    models = [brightness(tmp_path / f"{name}.onnx") for name in "ab"]
    options = ("--also", models[1], "--threshold", "0.3", "-o", tmp_path / "report")
    assert "APCER replay (worst)" in run("liveness", models[0], tmp_path / "data", *options)
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["data"]["presentations"] == {"live": 2, "print": 1, "replay": 2}
    assert {name: rate["value"] for name, rate in facts["apcer"].items()} == {"print": 0, "replay": 1}
    assert facts["bpcer"]["value"] == 0.5
    assert facts["unanswered"]["replay"] == 1
    assert facts["scores"][-1] == ["replay/b.png", None]
    assert list(facts["milliseconds"]) == ["a.onnx", "b.onnx"]
    assert (tmp_path / "report" / "det.png").stat().st_size > 10_000
