"""Enrolment at a camera: a real RTSP server, real clips of real faces."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from rich.console import Console

from pipeline.errors import Failed
from stages.capture import CaptureConfig
from stages.gallery import camera
from stages.gallery.camera import Sitting
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.store import Store
from tests import rtsp
from tests.command import User

Pictures = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def enrol() -> Enrol:
    return Enrol(EnrolConfig())


@pytest.fixture(scope="module")
def she(shared: Path) -> Pictures:
    """She comes in turned to her right, looks ahead, turns to her left, and back over ahead to her right."""
    return pictures(shared / "videos" / "head-pose-face-detection-female.gif")


def pictures(clip: Path) -> Pictures:
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="bgr24").astype(np.uint8) for frame in container.decode(video=0)]


def film(path: Path, shown: Pictures) -> Path:
    """Ten pictures a second, as they are but for H.264; a key frame each second, as a camera sends them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "12", "g": "10"})
        assert isinstance(stream, VideoStream)
        stream.pix_fmt, stream.thread_count = "yuv420p", 1  # one slice a picture
        stream.height, stream.width = shown[0].shape[:2]
        for pixels in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode())
    return path


def sit(enrol: Enrol, address: str | Path) -> None:
    Sitting(enrol, Console(file=io.StringIO()))(str(address), CaptureConfig())


def test_a_head_that_turns_in_front_of_an_rtsp_camera(tmp_path: Path, she: Pictures) -> None:
    """The address, which holds a password, comes by the environment, and is not said."""
    user = User(tmp_path)
    clip = film(tmp_path / "she.ts", [*she, *she[::-1]] * 8)
    with rtsp.serving({"/test": rtsp.coded(clip)}, login="me:secret") as server:
        user.environment["FRAMEWIRE_SOURCE"] = server.address(login="me:secret")
        done = user("enroll", "Ada", "--watch")
    assert (done.code, done.err) == (0, "")
    assert "0/3  look straight into the camera" in done.out
    assert done.out.endswith("Ada is enrolled with 3 photos\n")
    assert "secret" not in done.out
    (ada,) = Store(tmp_path / "home", tmp_path / "keys").people()
    faces = np.stack([template.embedding for template in ada.templates])
    assert ada.access.watch
    assert (faces @ faces[0] >= 0.6).all()
    assert (np.triu(faces @ faces.T, 1) < 0.98).all()  # of different pose
    assert "Ada" in user("enroll", "Twin", "--camera", clip).sentence  # looks like her


def test_two_faces_are_told_so(enrol: Enrol, shared: Path) -> None:
    with pytest.raises(Failed, match=r"with 0 of 3 pictures \(last: two faces .*\), and nobody is enrolled"):
        sit(enrol, shared / "videos" / "head-pose-face-detection-female-and-male.gif")


def test_in_the_dark_light_is_asked_for(enrol: Enrol, tmp_path: Path, she: Pictures) -> None:
    for share in (8, 40):  # a face is found, and is not
        dark = film(tmp_path / f"dark-{share}.mp4", [pixels // share for pixels in she])
        with pytest.raises(Failed, match=r"0 of 3 pictures \(last: it is too dark: turn to the light\)"):
            sit(enrol, dark)


def test_somebody_else_who_steps_in_is_not_taken(enrol: Enrol, tmp_path: Path, she: Pictures, shared: Path) -> None:
    """A man looks ahead, from the right half of the other clip; the head that then turns is hers."""
    man = pictures(shared / "videos" / "head-pose-face-detection-female-and-male.gif")[30]
    man[:, :240] = 0
    with pytest.raises(Failed, match=r"1 of 3 pictures \(last: this is not the person of the first picture"):
        sit(enrol, film(tmp_path / "other.mp4", [man, *she[11:16]]))


def test_a_minute_without_anybody_ends_it(enrol: Enrol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "TIMEOUT_S", 0.5)
    with (
        rtsp.serving({"/test": rtsp.pattern()}) as server,
        pytest.raises(Failed, match=r"s are over with 0 of 3 pictures \(last: nobody is seen"),
    ):
        sit(enrol, server.address())


def test_ctrl_c_ends_it_and_nothing_is_written(tmp_path: Path) -> None:
    with rtsp.serving({"/test": rtsp.pattern()}) as server:
        process = User(tmp_path).start("enroll", "Ada", "--camera", server.address())
        assert process.stdout
        assert "0/3" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("framewire: it was stopped with 0 of 3 pictures")
    assert "enrolled" not in out
    assert list(tmp_path.iterdir()) == []
