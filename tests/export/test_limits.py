"""A portrait that gets harder to see, on the detector that ships."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.__main__ import main
from export.detection import limits
from export.detector import Detector

MODELS = Path(__file__).resolve().parents[2] / "models"
PORTRAIT = MODELS.parent / "samples" / "enrol" / "Eileen Collins.jpg"


def test_a_face_lies_where_it_is_said_to_lie(astronaut: NDArray[np.uint8]) -> None:
    detector = Detector(MODELS / "centerface.onnx", limits.SIDE, limits.SIDE)
    tried = limits.trials(astronaut, limits.largest(astronaut, detector))
    seen = {"height, px": "160", "turned, degrees": "45", "light, share": "0.5", "blur, px of sigma": "1"}
    for what, amount in (seen | {"covered from below": "20%"}).items():
        pixels, box = tried[what][amount]
        score, points = limits.sight(detector(pixels, limits.SCORE), box)
        assert score > limits.SCORE, (what, amount)
        assert ((points > box[:2]) & (points < box[2:])).all(), (what, amount)
    gone = tried["height, px"]["8"]
    score, points = limits.sight(detector(gone.pixels, limits.SCORE), gone.box)
    assert score == 0
    assert np.isnan(points).all()


def test_the_picture_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limits.png"
    said = ["limits", str(MODELS / "centerface.onnx"), "--portrait", str(PORTRAIT), "--out", str(file)]
    monkeypatch.setattr("sys.argv", ["export", *said])
    assert main() == 0
    assert capsys.readouterr().out.strip() == str(file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_portrait_without_a_face_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 90, np.uint8))
    said = ["limits", str(MODELS / "centerface.onnx"), "--portrait", str(tmp_path / "grey.png"), "--out", "x.png"]
    monkeypatch.setattr("sys.argv", ["export", *said])
    assert main() == 1
    assert "no face is found in the portrait; give one" in capsys.readouterr().err
