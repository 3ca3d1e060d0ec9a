from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from stages.highlight.render import render
from stages.highlight.timeline import SECOND, Timeline, Video
from stages.highlight.vertical import FASTEST, crop_path
from tests.stages.highlight.flashes import moment, reel, timeline

HALF = 9 / 16 * 360 / 640 / 2  # of the cut-out, of the picture's width


def known(centre: list[float], cuts_s: tuple[float, ...] = (), width: int = 640) -> Timeline:
    nothing = np.zeros(0, np.int64)
    return Timeline(
        Video("film.mp4", "0" * 64, width, 360, 0, len(centre) * SECOND, 25 * len(centre), False),
        {},
        np.array([cut * SECOND for cut in cuts_s], np.int64),
        nothing.reshape(0, 2),
        np.array(centre, np.float32),
        np.zeros((len(centre), 1), np.float32),
        {},
    )


def walked(line: Timeline, start_s: float, end_s: float) -> np.ndarray:
    """The path, 100 times a second."""
    path = crop_path(line, moment(0, start_s, end_s))
    return np.array([path(int(at * SECOND)) for at in np.arange(start_s, end_s, 0.01)])


def test_it_stands_where_the_action_stays() -> None:
    path = walked(known([0.5, 0.55, 0.45, np.nan, 0.52, 0.6]), 0, 6)
    assert np.ptp(path) == 0
    assert path[0] == pytest.approx(0.525)


def test_it_follows_what_crosses_the_picture_without_a_jump() -> None:
    path = walked(known(np.linspace(0.1, 0.9, 10).tolist()), 0, 10)
    assert np.abs(np.diff(path)).max() <= FASTEST * 0.01 + 1e-9
    assert path.min() >= HALF
    assert path.max() <= 1 - HALF
    action = np.interp(np.arange(0, 10, 0.01), np.arange(10) + 0.5, np.linspace(0.1, 0.9, 10))
    assert np.abs(path - action).max() <= HALF


def test_a_leap_of_the_action_is_a_slow_pan() -> None:
    path = walked(known([0.1] * 10 + [0.9] * 10), 0, 20)
    assert np.abs(np.diff(path)).max() <= FASTEST * 0.01 + 1e-9
    assert path[[0, -1]] == pytest.approx([HALF, 1 - HALF], abs=0.02)


def test_it_jumps_only_at_a_cut() -> None:
    path = walked(known([0.2] * 4 + [0.8] * 4, cuts_s=(4.2,)), 1, 7)
    assert np.flatnonzero(np.diff(path)).tolist() == [319]
    assert path[[0, -1]] == pytest.approx([0.2, 0.8], abs=1e-6)


@pytest.mark.parametrize("centre", [[np.nan] * 3, [0.5] * 3])
def test_where_nothing_is_known_it_is_in_the_middle(centre: list[float]) -> None:
    assert set(walked(known(centre, cuts_s=(1.1, 1.3)), 0.2, 2.9)) == {0.5}


def test_what_is_narrower_stays_whole() -> None:
    assert set(walked(known([0.1, 0.9, 0.1], width=180), 0, 3)) == {0.5}


def test_a_blob_stays_in_the_picture(tmp_path: Path) -> None:
    path, frames = tmp_path / "blob.mp4", 250
    places = 0.5 + 0.4 * np.sin(np.arange(frames) / 25 * 2 * np.pi / 12)  # to the right and back to the left
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for place in places:
            picture = np.full((180, 320, 3), 30, np.uint8)
            picture[80:100, round(place * 320) - 10 : round(place * 320) + 10] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    line = timeline(path, centre=places.reshape(10, 25).mean(axis=1).astype(np.float32))
    out = tmp_path / "reel.mp4"
    render(reel([line], [moment(0, 1, 9)]), out, vertical=True, progress=lambda _: None)
    with av.open(str(out)) as container:
        shown = [np.asarray(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    assert len(shown) == 200
    assert abs(Fraction(*shown[0].shape[::-1]) - Fraction(9, 16)) < 0.01
    assert min((picture[85:95] > 128).sum() for picture in shown) > 150, "of 200 pixels"
