"""The bundled clip is what it says it is, and the script that made it makes the same pixels again."""

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CLIP = SAMPLES / "gate.mp4"
BT709 = 1  # ITU-T H.273


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return json.loads((SAMPLES / "gate.json").read_text())


@pytest.fixture(scope="module")
def render() -> Any:
    """The module that renders the clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SAMPLES)
        import gate_render

        yield gate_render


@pytest.fixture(scope="module")
def clip(render: Any) -> Any:
    return render.Clip()


def decoded(numbers: list[int]) -> dict[int, np.ndarray]:
    with av.open(str(CLIP)) as container:
        frames = enumerate(container.decode(video=0))
        return {i: frame.to_ndarray(format="bgr24") for i, frame in frames if i in numbers}


def test_the_clip_is_720p_h264_of_10_to_20_seconds_under_3_mb_without_sound(truth: dict[str, Any]) -> None:
    assert CLIP.stat().st_size < 3_000_000
    with av.open(str(CLIP)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert [context.width, context.height] == truth["size"] == [1280, 720]
        assert (context.color_primaries, context.color_trc, context.colorspace) == (BT709, BT709, BT709)
        assert stream.average_rate == stream.base_rate == truth["fps"] == 25
        assert 10 <= stream.duration * stream.time_base <= 20


def test_every_frame_is_there_and_lasts_as_long_as_the_others(truth: dict[str, Any]) -> None:
    with av.open(str(CLIP)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(i, truth["fps"]) for i in range(truth["count"])]


def test_the_clip_can_be_played_while_it_arrives() -> None:
    content, at, boxes = CLIP.read_bytes(), 0, []
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        boxes.append(kind)
        at += size
    assert boxes.index(b"moov") < boxes.index(b"mdat")


def test_the_story_has_one_enrolled_person_one_unknown_both_at_once_and_nobody(truth: dict[str, Any]) -> None:
    seen = {p["name"]: {row[0] for row in p["faces"] if row[5] > 0.9} for p in truth["people"]}
    enrolled = {p["name"] for p in truth["people"] if p["enrolled"]}
    assert enrolled == {path.stem for path in (SAMPLES / "enrol").glob("*.jpg")}
    known, unknown = set[int](), set[int]()
    for name, frames in seen.items():
        known, unknown = (known | frames, unknown) if name in enrolled else (known, unknown | frames)
    present = {row[0] for person in truth["people"] for row in person["faces"]}
    second = truth["fps"]
    assert len(known) > 4 * second
    assert len(unknown) > 3 * second
    assert len(known & unknown) > second / 2
    assert truth["count"] - len(present) > 2 * second


def test_faces_grow_from_40_to_250_pixels(truth: dict[str, Any]) -> None:
    heights = [row[4] - row[2] for person in truth["people"] for row in person["faces"] if row[5] > 0.9]
    assert 35 <= min(heights) <= 50
    assert 230 <= max(heights) <= 300


def test_the_enrolment_photo_is_a_small_portrait() -> None:
    for path in (SAMPLES / "enrol").glob("*.jpg"):
        assert path.stat().st_size < 100_000
        assert cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR).shape == (600, 480, 3)


def test_the_script_renders_the_committed_clip(clip: Any) -> None:
    for number, committed in decoded([20, 130, 265]).items():
        assert cv2.PSNR(clip.frame(number)[0], committed) > 32


def test_the_same_frame_is_always_the_same_pixels(clip: Any, render: Any) -> None:
    frames = {number: clip.frame(number) for number in (45, 130)}
    clip.people = [render.hopper(), render.collins()]  # GrabCut starts from random clusters, if nobody sets its seed
    for number, (image, faces) in frames.items():
        repeated, faces_repeated = clip.frame(number)
        np.testing.assert_array_equal(image, repeated)
        assert faces == faces_repeated


def test_the_ground_truth_is_the_scripts(clip: Any, truth: dict[str, Any]) -> None:
    number = 140
    told = {p["name"]: row for p in truth["people"] for row in p["faces"] if row[0] == number}
    faces = clip.frame(number)[1]
    assert told.keys() == faces.keys()
    for name, (box, visible) in faces.items():
        np.testing.assert_allclose(told[name][1:5], box, atol=0.5)
        assert told[name][5] == pytest.approx(visible, abs=0.005)
