"""evaluate-pad: real photos and a real clip, through the stages of the gate, with a network whose score is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipeline.errors import Failed, Usage
from pipeline.registry import SHIPPED
from stages.gallery.people import Access
from stages.gate import clock
from stages.gate.pad import _answer, bounds, evaluate, evaluate_pad
from stages.gate.settings import GateSettings
from tests.pipeline.tiny_onnx import FLOAT, tiny
from tests.stages.gate.door import SECOND, Door, reader
from tests.stages.seeing import SAMPLES

PHOTO = SAMPLES / "enrol" / "Eileen Collins.jpg"
app = typer.Typer()
app.command()(evaluate_pad)


@pytest.fixture
def brightness(tmp_path: Path) -> Path:
    """A network whose live score is the mean brightness of a face, 0..1; 0.4 is taken for live."""
    said = {"layout": "liveness", "align": "x1.0", "order": "BGR", "mean": "0,0,0", "threshold": "0.4"}
    said["scale"] = ",".join(["0.00392157"] * 3)
    image, live = ("images", FLOAT, ("n", 3, 80, 80)), ("live", FLOAT, ("n", 1, 1, 1))
    props = {f"framewire.{key}": value for key, value in said.items()}
    file = tmp_path / "brightness.onnx"
    file.write_bytes(tiny("ReduceMean", [image], [live], props, (1, 2, 3)))
    return file


def settings(*models: Path) -> GateSettings:
    detect = {"model": str(SHIPPED / "centerface_int8.onnx"), "provider": "cpu"}
    liveness = {"models": [str(model) for model in models], "provider": "cpu"}
    return msgspec.convert({"detect": detect, "liveness": liveness}, GateSettings)


def photo(
    path: Path, change: Callable[[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]], object] = lambda p: p
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = cv2.imread(str(PHOTO))
    assert pixels is not None
    assert cv2.imwrite(str(path), np.asarray(change(pixels.astype(np.uint8)), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One bright live face and a dark one; a dark print, a bright one, one without a face; a dark replay."""
    root = tmp_path / "presentations"
    photo(root / "live" / "bright.png")
    photo(root / "live" / "dark.png", lambda pixels: pixels // 2)
    photo(root / "print" / "dark.png", lambda pixels: pixels // 2)
    photo(root / "print" / "deeper" / "bright.jpg")
    photo(root / "print" / "wall.png", lambda pixels: np.full_like(pixels, 90))
    photo(root / "replay" / "dark.png", lambda pixels: pixels // 2)
    (root / "replay" / "notes.txt").write_text("filmed on Monday")
    return root


def test_the_rates_of_each_species(folder: Path, brightness: Path) -> None:
    report = evaluate(folder, settings(brightness))
    assert report.threshold == pytest.approx(0.4)
    assert {name: rate[:2] for name, rate in report.apcer.items()} == {"print": (1, 2), "replay": (0, 1)}
    assert report.bpcer[:2] == (1, 2)
    assert report.worst == "print"
    assert [report.unanswered(name) for name in ("live", "print", "replay")] == [(0, 2), (1, 3), (0, 1)]
    assert not report.simulated
    scores = {str(one.file): one.score for one in report.presentations}
    assert scores["print/wall.png"] is None
    bright, dark = scores["live/bright.png"], scores["live/dark.png"]
    assert dark is not None
    assert bright == pytest.approx(2 * dark, rel=0.05)


def test_each_track_of_a_video_is_one_presentation(folder: Path, brightness: Path, shared: Path) -> None:
    """Three people walk up to the camera, near enough to be told."""
    shutil.copy(shared / "videos" / "face-demographics-walking-and-pause.gif", folder / "live" / "three.gif")
    report = evaluate(folder, settings(brightness))
    scores = [one.score for one in report.presentations if one.file.name == "three.gif"]
    assert len(scores) == 3
    assert all(score is not None and 0 < score < 1 for score in scores)
    assert report.bpcer.of == 5


def test_the_command_prints_a_table(folder: Path, brightness: Path, tmp_path: Path) -> None:
    (folder / "simulated.json").write_text("{}")
    config = tmp_path / "gate.toml"
    config.write_text(f'[detect]\nprovider = "cpu"\n[liveness]\nmodels = ["{brightness}"]\nprovider = "cpu"\n')
    done = CliRunner().invoke(
        app, [str(folder), "--config", str(config)], env={"COLUMNS": "120"}, catch_exceptions=False
    )
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "APCER print (worst) 0.500 0.013 - 0.987 1 of 2 1 of 3" in lines
    assert "APCER replay 0.000 0.000 - 0.975 0 of 1 0 of 1" in lines
    assert "BPCER 0.500 0.013 - 0.987 1 of 2 0 of 2" in lines
    assert "threshold 0.4000, 6 simulated presentations, bounds of 95%" in lines


def test_a_species_without_an_answer_has_no_rate(folder: Path, brightness: Path) -> None:
    (folder / "replay" / "dark.png").unlink()
    photo(folder / "replay" / "wall.png", lambda pixels: np.full_like(pixels, 90))
    replay = evaluate(folder, settings(brightness)).apcer["replay"]
    assert np.isnan(replay.value)
    assert replay[1:] == (0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("wrong", "count", "low", "high"),
    [
        (0, 3, 0.0, 0.7076),
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (2, 100, 0.0024, 0.0704),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_bounds_are_those_of_the_tables(wrong: int, count: int, low: float, high: float) -> None:
    assert bounds(wrong, count) == pytest.approx((low, high), abs=5e-5)


def test_what_is_missing_is_named(folder: Path, brightness: Path, tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"set liveness\.models"):
        evaluate(folder, settings())
    with pytest.raises(Failed, match="there is no folder"):
        evaluate(tmp_path / "nowhere", settings(brightness))
    (folder / "mask").mkdir()
    with pytest.raises(Failed, match="mask has no photo and no video"):
        evaluate(folder, settings(brightness))
    for name in ("mask", "print", "replay"):
        shutil.rmtree(folder / name)
    with pytest.raises(Failed, match="only live/"):
        evaluate(folder, settings(brightness))
    shutil.rmtree(folder / "live")
    with pytest.raises(Failed, match="no folder live/"):
        evaluate(folder, settings(brightness))


@pytest.mark.parametrize(
    ("name", "content"), [("cut.jpg", b"\xff\xd8\xff\xe0"), ("empty.png", b""), ("text.mp4", b"words")]
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, brightness: Path, name: str, content: bytes) -> None:
    (folder / "print" / name).write_bytes(content)
    with pytest.raises(Failed, match=name):
        evaluate(folder, settings(brightness))


@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.25, 0.5])
@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ([0.9, 0.9, 0.1, 0.1, 0.1, 0.1], 0.9),  # a door would have opened at the second face
        ([0.1, 0.1, 0.9, 0.9, 0.9, 0.1], 0.9),
        ([0.9, 0.1, 0.1, 0.1], 0.1),
        ([0.1, 0.3, 0.2], 0.2),
        ([0.9], None),
    ],
)
def test_a_presentation_is_judged_as_the_gate_does_after_each_face(
    places: Path, scores: list[float], answer: float | None, threshold: float
) -> None:
    assert _answer(scores, 8, "1:N") == (answer if answer is None else pytest.approx(answer))
    door = Door(liveness="passive")
    door.camera.live_threshold = threshold
    for score in scores:
        door.gate(door.camera(door.seen("Ada", 0.8, live=score)))
    assert (door.ordered() > 0) == (answer is not None and answer >= threshold)
    door.gate.close()


def test_at_a_door_with_badges_any_faces_in_a_row_may_count(places: Path) -> None:
    """The badge is shown when the attack has become better."""
    scores = [0.1] * 8 + [0.9] * 8
    assert (_answer(scores, 8, "1:N"), _answer(scores, 8, "1:1")) == (0.1, 0.9)
    assert (
        _answer([0.1] * 6 + [0.9] * 2 + [0.1] * 5 + [0.9], 8, "1:1") == 0.9
    )  # shown before the two, it opens in the end
    assert _answer([0.9] * 2 + [0.1] * 5, 8, "1:1") == 0.9
    assert _answer([0.1, 0.9, 0.1], 8, "1:1") == 0.5
    door = Door(mode="1:1", liveness="passive")
    badge = door.store.badge("a")
    door.store.set_access("Ada", Access(badges=(badge,)))
    door.camera.live_threshold = 0.5
    for score in scores:
        door.gate(door.camera(door.seen("Ada", live=score)))
    reader().claim("door", badge, clock.boot_ns() + 15 * SECOND)
    for _ in range(2):
        door.gate(door.camera(door.seen("Ada", live=0.9)))
    assert door.told() == [("opened", "")]
    door.gate.close()
