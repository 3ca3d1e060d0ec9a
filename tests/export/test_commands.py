"""Commands of `python -m export` as they are typed: they end well, name what they made, and that is what it should be.

Each works in one folder on what the command before it left there, for a few steps.
"""

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export import parity
from export.__main__ import main
from export.checkpoint import CHECKPOINT
from export.chips import chips, read_image
from export.detection import labels_xml, transfer_report
from export.detection.labels_xml import Labelled
from export.detection.yolo_weights import from_checkpoint
from export.detector import Detector
from export.embedding import embedder_tracks
from export.embedding.evaluate_embedder import embed
from export.feed import FINDER
from export.liveness.live_folders import faces, presentations
from export.liveness.passive import Passive
from export.liveness.simulate import MARK, SPECIES
from export.models.minifasnet import CONTEXTS, MiniFASNet
from export.run import LOG

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "samples" / "gate.mp4"
Image = NDArray[np.uint8]
pytestmark = pytest.mark.timeout(400)  # training and exporting take their time on a busy machine


@pytest.fixture(scope="module", autouse=True)
def folder(astronaut: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of all commands, with a photo and its labels."""
    place = tmp_path_factory.mktemp("commands")
    cv2.imwrite(str(place / "astronaut.png"), astronaut)
    boxes = np.array([[178, 66, 272, 180]], np.float32)
    points = np.array([[[207, 112], [243, 106], [230, 133], [214, 153], [248, 148]]], np.float32)
    labels_xml.write(
        place / "labels.xml", [Labelled(place / "astronaut.png", boxes, points, np.zeros(len(boxes), bool))]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


def run(*words: object) -> tuple[int, str, str]:
    """`python -m export WORDS`: its exit code, and what it says on stdout and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["export", *map(str, words)])
        code = main()
    return code, out.getvalue(), err.getvalue().strip()


def export(*words: object) -> str:
    """The last line of what `python -m export WORDS` says, which ends well."""
    code, said, wrong = run(*words)
    assert code == 0, wrong
    return said.splitlines()[-1]


def failed(*words: object) -> str:
    """What `python -m export WORDS` says on stderr where it ends with 1."""
    code, _, wrong = run(*words)
    assert code == 1
    return wrong


def made(*words: object) -> list[Path]:
    """The paths that the last line of `python -m export WORDS` names and that are there; its sha256 is the first's."""
    said = export(*words)
    first, *_ = words_said = said.split()
    there = [path for path in (Path(word.strip(",;:")) for word in words_said) if path.exists()]
    assert there, said
    assert len(first) < 64 or first == hashlib.sha256(there[0].read_bytes()).hexdigest()
    return there


def steps(log: Path) -> list[str]:
    with log.open(newline="") as stream:
        return [row["step"] for row in csv.DictReader(stream)]


def yolo(count: int) -> list[Path]:
    """What `train yolo` names after so many steps."""
    words = ("--held-out", "labels.xml", "--size", "nano", "--batch", 2, "--steps", count)
    return made("train", "yolo", "labels.xml", *words, "--out", "yolo")


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    """Of a YOLO, after two steps; a test may go on from it."""
    file, log = yolo(2)
    assert steps(log) == ["1", "2"]
    return file


def test_train_yolo_goes_on_where_it_stopped(checkpoint: Path) -> None:
    before = (checkpoint.parent / LOG).read_text()
    assert yolo(4) == [checkpoint, checkpoint.parent / LOG]
    assert steps(checkpoint.parent / LOG) == ["1", "2", "3", "4"]
    assert (checkpoint.parent / LOG).read_text().startswith(before)
    with (checkpoint.parent / LOG).open(newline="") as stream:
        figures = [row["held-out AP50"] for row in csv.DictReader(stream)]
    assert [bool(figure) for figure in figures] == [False, True, False, True]  # where a checkpoint is
    assert all(0 <= float(figure) <= 1 for figure in figures[1::2])


def test_onnx_makes_a_model_of_a_yolos_checkpoint(checkpoint: Path, astronaut: Image) -> None:
    said = ("--licence", "CC0-1.0", "--origin", "a test")
    assert made("onnx", checkpoint, "--out", "yolo.onnx", *said) == [Path("yolo.onnx")]
    small = cv2.resize(astronaut, (320, 256), interpolation=cv2.INTER_AREA)[..., ::-1]
    images = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
    boxes, scores, _, points = parity.run(Path("yolo.onnx"), images)
    with torch.inference_mode():
        wanted = from_checkpoint(checkpoint)(torch.from_numpy(images)).logits[0, :, 0].sigmoid()
    np.testing.assert_allclose(scores[0], wanted.sort(descending=True).values[: scores.shape[1]], atol=1e-4)
    assert np.isfinite(boxes).all()
    assert np.isfinite(points).all()
    detector = Detector(Path("yolo.onnx"), 256, 320)
    assert (detector.said["licence"], detector.said["origin"], detector.labels) == ("CC0-1.0", "a test", ("face",))


def test_onnx_makes_a_yolos_model_take_pictures_as_they_are(checkpoint: Path, astronaut: Image) -> None:
    made("onnx", checkpoint, "--out", "plain.onnx", "--licence", "CC0-1.0")
    files = Path("plain.onnx"), *made("onnx", "plain.onnx", "--preprocess", "--out", "pictures.onnx")
    assert Detector(files[1], 256, 320).said["licence"] == "CC0-1.0"  # as its source says
    found = []
    for detector in (Detector(file, 256, 320) for file in files):
        pixels, _ = detector.input(astronaut)
        found.append((pixels.dtype, detector.session.run(["scores"], {"images": pixels})[0]))
    assert [kind for kind, _ in found] == [np.float32, np.uint8]
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-4)


def test_onnx_refuses_what_would_have_no_effect() -> None:
    assert failed("onnx", "centerface", "--licence", "MIT", "--out", "c.onnx") == (
        "centerface says where it is from by itself; leave --licence and --origin out"
    )
    embedder = ROOT / "models" / "dlib_face.onnx"
    for words in ((), ("--preprocess", "--half"), ("--preprocess", "--nms")):
        assert "--preprocess alone" in failed("onnx", embedder, *words, "--out", "e.onnx")
    assert not Path("c.onnx").exists()
    assert not Path("e.onnx").exists()


def test_onnx_puts_preprocessing_into_an_embedders_file_once() -> None:
    (file,) = made("onnx", ROOT / "models" / "dlib_face.onnx", "--preprocess", "--out", "embedder.onnx")
    assert "leave --preprocess out" in failed("onnx", file, "--preprocess", "--out", "twice.onnx")
    faces = chips(ROOT / "samples", None, FINDER).faces
    wanted, found = (embed(model, faces) for model in (ROOT / "models" / "dlib_face.onnx", file))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_train_transfer_compares_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_report, "SIDES", (64,))  # px; what is learnt is not asked here
    words = ("--size", "tiny", "--batch", 1, "--steps", transfer_report.SMOOTH, "--input", "128x160")
    (out,) = made("train", "transfer", "labels.xml", "--test", "labels.xml", *words, "--out", "transfer")
    ways = json.loads((out / "report.json").read_text())["ways"]
    assert list(ways) == list(transfer_report.WAYS)
    assert all(0 <= way["AP50"] <= 1 and np.isfinite(way["loss"]) for way in ways.values())
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    models = sorted(out.glob("*/yolo.onnx"))
    assert len(models) == len(ways)
    outputs = [parity.run(model, np.full((1, 3, 64, 64), 90, np.float32)) for model in models]
    assert {len(output) for output in outputs} == {4}
    assert len({output[1].tobytes() for output in outputs}) == len(ways)  # each way made another network


def test_train_tracks_makes_a_folder_of_each_persons_track() -> None:
    (out,) = made("train", "tracks", CLIP, "--every", 8, "--out", "people")
    people = {one["name"]: one["frames"] for one in json.loads(CLIP.with_suffix(".json").read_text())["people"]}
    detector, seen = Detector(FINDER, 384, 640), set()
    for track in sorted(out.iterdir()):
        pictures = sorted(track.iterdir())
        numbers = [int(picture.stem) for picture in pictures]
        assert len(numbers) >= embedder_tracks.SHORTEST
        assert all(number % 8 == 0 for number in numbers)
        may = [name for name, (first, last) in people.items() if first <= numbers[0] and numbers[-1] <= last]
        assert may  # or it would go on from one to the other
        seen.update(may if len(may) == 1 else [])
        assert all(len(detector(read_image(picture), 0.5).boxes) for picture in (pictures[0], pictures[-1]))
    assert seen == set(people)


@pytest.fixture(scope="module")
def attacks(portraits: Path) -> Path:
    """A live face and an attack of each species, of each photo."""
    (out,) = made("simulate", "attacks", portraits, "--count", 3, "--out", "attacks")
    return out


def test_simulate_attacks_makes_folders_that_can_be_told_from_real_ones(attacks: Path) -> None:
    found = presentations(attacks)
    assert {one.species for one in found} == set(SPECIES)
    assert {one.group for one in found} == {"Eileen Collins", "astronaut", "grace_hopper"}
    written = json.loads((attacks / MARK).read_text())["written"]
    assert written == {name: sum(one.species == name for one in found) for name in SPECIES}


def test_train_liveness_makes_a_model_of_simulated_attacks(attacks: Path, astronaut: Image) -> None:
    file, *others = made("train", "liveness", attacks, "--steps", 2, "--width", 4, "--out", "liveness")
    assert others == [file.parent / CHECKPOINT, file.parent / LOG]
    assert steps(file.parent / LOG) == ["1", "2"]
    passive = Passive(file)
    assert 0 < passive.threshold < 1
    assert 0 < passive(astronaut, faces(astronaut, Detector(FINDER, 384, 640))[0].box) < 1
    said = passive.session.get_modelmeta().custom_metadata_map
    assert said["framewire.origin"] == "trained by framewire on simulated attacks"


@pytest.mark.parametrize("kind", CONTEXTS)
def test_minifasnet_makes_a_model_of_a_state_dict(kind: str, folder: Path) -> None:
    """With weights that nobody trained, under the names that the published ones have."""
    torch.manual_seed(0)
    module = MiniFASNet(kind).eval()
    torch.save({f"module.{name}": value for name, value in module.state_dict().items()}, folder / f"{kind}.pth")
    (file,) = made("minifasnet", f"{kind}.pth", "--out", f"{kind}.onnx")
    assert Passive(file).contexts == (CONTEXTS[kind],)
    images = np.random.default_rng(0).uniform(0, 255, (3, 3, 80, 80)).astype(np.float32)
    found = parity.check(module, file, images)
    assert found.cosine >= 0.99999
    assert found.max_abs <= 1e-4


def test_import_makes_the_shipped_file_and_parity_finds_it_equal(
    package_file: Callable[[str], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.__main__.MODELS", folder / "models")  # the one that ships is left alone
    package = ("--package", package_file("centerface"))
    said = export("import", "centerface", *package).split()
    data = (ROOT / "models" / "centerface.onnx").read_bytes()
    assert said == [hashlib.sha256(data).hexdigest(), str(folder / "models" / "centerface.onnx")]
    assert Path(said[1]).read_bytes() == data
    found = json.loads(export("parity", "centerface", "astronaut.png", *package))
    assert 0 < found["max_abs"] < 1e-3
    assert 0.99999 <= found["cosine"] <= 1
