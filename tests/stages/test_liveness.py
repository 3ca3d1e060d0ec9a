"""Which part of the picture a network gets, how its output becomes a score, and which faces get none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.types import Detections, Frame, Picked
from stages.liveness import Liveness, LivenessConfig, Passive, PassiveConfig, context
from tests.fakes import MemoryFrames
from tests.pipeline.tiny_onnx import FLOAT, tiny

GREY = np.full((400, 400, 3), 51, np.uint8)  # a fifth of white


def network(tmp_path: Path, align: str, name: str = "tiny", **said: str) -> str:
    """A file whose live score is the mean brightness, 0..1, of all crops that it gets."""
    crops = max(1, len(align.split()))
    metadata = {
        "layout": "liveness",
        "align": align,
        "order": "BGR",
        "mean": "0,0,0",
        "scale": ",".join(["0.00392157"] * 3),
    }
    image, live = ("images", FLOAT, ("n", 3, 80 * crops, 80)), ("live", FLOAT, ("n", 1, 1, 1))
    return write(tmp_path / f"{name}.onnx", tiny("ReduceMean", [image], [live], props(metadata | said), (1, 2, 3)))


def minifasnet(tmp_path: Path, align: str = "x2.7") -> str:
    """A file whose three logits are the means of the three channels as they are fed."""
    metadata = {"layout": "minifasnet", "align": align, "order": "BGR", "mean": "0,0,0", "scale": "1,1,1"}
    image, logits = ("images", FLOAT, ("n", 3, 80, 80)), ("logits", FLOAT, ("n", 3, 1, 1))
    return write(tmp_path / "fas.onnx", tiny("ReduceMean", [image], [logits], props(metadata), (2, 3)))


def props(metadata: dict[str, str]) -> dict[str, str]:
    return {f"framewire.{key}": value for key, value in metadata.items()}


def write(file: Path, model: bytes) -> str:
    file.write_bytes(model)
    return str(file)


def passive(*models: str, **keys: object) -> Passive:
    return Passive(msgspec.convert({"models": models, "provider": "cpu"} | keys, PassiveConfig))


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def square(side: int) -> NDArray[np.uint8]:
    """White of this side in the middle of black."""
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[200 - side // 2 : 200 + side // 2, 200 - side // 2 : 200 + side // 2] = 255
    return pixels


@pytest.mark.parametrize(("align", "share"), [("x1.0", 1.0), ("x2.0", 0.25), ("x4.0", 1 / 16), ("x1.0 x2.0", 0.625)])
def test_each_network_gets_the_crops_that_its_file_names(tmp_path: Path, align: str, share: float) -> None:
    scores = passive(network(tmp_path, align))(square(80), boxes((160, 160, 240, 240)))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [share], atol=0.02)


def test_the_scores_of_several_networks_are_averaged(tmp_path: Path) -> None:
    files = network(tmp_path, "x1.0", "near"), network(tmp_path, "x2.0", "far")
    np.testing.assert_allclose(passive(*files)(square(80), boxes((160, 160, 240, 240))), [0.625], atol=0.02)


def test_the_middle_one_of_minifasnets_classes_is_live(tmp_path: Path) -> None:
    tell = passive(minifasnet(tmp_path))
    face = boxes((160, 160, 240, 240))
    for channel, share in ((0, 0.0), (1, 1.0), (2, 0.0)):
        pixels = np.zeros((400, 400, 3), np.uint8)
        pixels[..., channel] = 255
        np.testing.assert_allclose(tell(pixels, face), [share], atol=1e-6)
    np.testing.assert_allclose(tell(GREY, face), [1 / 3], atol=1e-6)


def test_more_faces_than_a_batch_each_get_their_own_score(tmp_path: Path) -> None:
    pixels = np.repeat(np.arange(20, dtype=np.uint8)[:, None] * 10, 50, 0)[..., None] * np.ones((1, 60, 3), np.uint8)
    faces = boxes(*((0, 50 * row, 50, 50 * row + 50) for row in range(20)))
    scores = passive(network(tmp_path, "x1.0"))(pixels, faces)
    np.testing.assert_allclose(scores, np.arange(20) * 10 / 255, atol=0.004)


def test_a_face_too_small_or_outside_gets_no_score_and_passes_no_threshold(tmp_path: Path) -> None:
    tell = passive(network(tmp_path, "x2.7", threshold="0.1"), min_face=48)
    faces = boxes((0, 0, 47, 90), (-60, 100, 20, 180), (500, 500, 600, 600), (100, 100, 148, 148))
    scores = tell(GREY, faces)
    assert np.isnan(scores).tolist() == [True, True, True, False]
    assert (scores >= tell.threshold).tolist() == [False, False, False, True]


def test_no_face_no_score(tmp_path: Path) -> None:
    assert passive(network(tmp_path, "x2.7"))(GREY, boxes()).shape == (0,)


def test_the_pixels_of_a_frame_do(tmp_path: Path) -> None:
    frames = MemoryFrames()
    with frames.view(frames.put(GREY)) as pixels:
        scores = passive(network(tmp_path, "x4.0"))(pixels, boxes((160, 160, 240, 240)))
    np.testing.assert_allclose(scores, [0.2], atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 60, 80), (340, 320, 400, 400), (0, 0, 400, 400), (-30, -20, 90, 100)])
def test_a_crop_stays_in_the_picture(box: tuple[float, float, float, float]) -> None:
    pixels = np.full((400, 400, 3), 200, np.uint8)
    crop = context(pixels, np.array(box, np.float32), 4.0)
    assert crop.shape == (80, 80, 3)
    assert (crop == 200).all()


def test_a_crop_at_the_border_is_moved_not_squeezed() -> None:
    columns = np.repeat(np.arange(400)[None] * 255 // 399, 400, 0)[..., None].astype(np.uint8) * np.ones(3, np.uint8)
    crop = context(columns, np.array([0, 150, 100, 250], np.float32), 2.0)
    assert crop[40, :, 0].min() <= 2
    assert abs(int(crop[40, :, 0].max()) - 127) <= 2  # columns 0 to 200


def test_the_threshold_is_the_mean_of_the_files_or_the_config(tmp_path: Path) -> None:
    files = network(tmp_path, "x1.0", "a", threshold="0.2"), network(tmp_path, "x1.0", "b", threshold="0.6")
    assert passive(*files).threshold == pytest.approx(0.4)
    assert passive(*files, threshold=0.9).threshold == pytest.approx(0.9)
    assert passive(network(tmp_path, "x1.0", "c")).threshold == pytest.approx(0.5)


def test_a_detector_tells_nothing_of_life(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="layout 'centerface': liveness takes liveness or minifasnet"):
        passive(network(tmp_path, "x1.0", layout="centerface"))


@pytest.mark.parametrize("align", ["", "dlib", "x-1.0"])
def test_a_file_that_names_no_crops(tmp_path: Path, align: str) -> None:
    with pytest.raises(Usage, match="does not say which crops"):
        passive(network(tmp_path, align))


def test_a_file_that_names_other_crops_than_it_takes(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="takes 80x80"):
        passive(minifasnet(tmp_path, "x2.7 x4.0"))


def test_no_models_is_a_config_error() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.models"):
        passive()


def picked(frame: Frame, rows: list[int], *faces: tuple[float, float, float, float]) -> Picked:
    """Some `rows` of `faces` are picked."""
    n = len(faces)
    found = Detections(frame, boxes(*faces), np.ones(n, np.float32), np.zeros(n, np.int32), None, ("face",))
    return Picked(
        found=found,
        rows=np.array(rows, np.int32),
        chips=np.zeros((len(rows), 150, 150, 3), np.uint8),
        quality=np.full(len(rows), 0.5, np.float32),
        live=np.full(len(rows), np.nan, np.float32),
        live_threshold=float("nan"),
        snapshot=b"jpeg" if rows else b"",
    )


def stage(frames: MemoryFrames, *models: str) -> Liveness:
    return Liveness(msgspec.convert({"models": models, "provider": "cpu"}, LivenessConfig), frames)


def test_the_stage_scores_the_faces_that_were_picked(tmp_path: Path) -> None:
    frames = MemoryFrames()
    pixels = GREY.copy()
    pixels[:, 200:] = 204  # four fifths of white
    ahead = picked(
        frames.put(pixels), [0, 2, 3], (10, 10, 90, 90), (110, 10, 190, 90), (310, 10, 390, 90), (0, 0, 9, 9)
    )
    told = stage(frames, network(tmp_path, "x1.0", threshold="0.7"))(ahead)
    np.testing.assert_allclose(told.live, [0.2, 0.8, np.nan], atol=1e-3)
    assert told.live_threshold == pytest.approx(0.7)
    assert (told.live >= told.live_threshold).tolist() == [False, True, False]
    assert told.found is ahead.found
    assert told.snapshot == b"jpeg"


def test_without_a_network_or_a_face_the_pixels_are_not_looked_at(tmp_path: Path) -> None:
    class Closed(MemoryFrames):
        """A fake ring that must not be read."""

        @contextmanager
        def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
            raise AssertionError(frame)
            yield

    frames = Closed()
    frame = frames.put(GREY)
    one = picked(frame, [0], (10, 10, 90, 90))
    assert stage(frames)(one) is one
    nobody = stage(frames, network(tmp_path, "x1.0"))(picked(frame, [], (10, 10, 90, 90)))
    assert nobody.live.shape == (0,)
    assert nobody.live_threshold == pytest.approx(0.5)
