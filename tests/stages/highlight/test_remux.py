from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import Usage
from stages.highlight.remux import copy, key_frames, snapped
from stages.highlight.timeline import SECOND, Moment
from stages.sources.recording import Recording
from tests.stages.clips import film, number
from tests.stages.highlight import flashes
from tests.stages.highlight.flashes import moment, reel, timeline
from tests.stages.highlight.test_render import FLASHES, OPEN_GOP, UNEVEN

KEYS = np.arange(10) * SECOND


def nothing(_: float) -> None:
    pass


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "webm"])
def test_key_frames_are_found_without_decoding(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path / f"clip.{kind}")
    shown = [picture for picture in Recording(path, 1, None) if picture]
    expected = [picture.pts_ns - shown[0].pts_ns for picture in shown if picture.key_seq == picture.seq]
    assert key_frames(path).tolist() == expected


def test_moments_grow_to_key_frames() -> None:
    apart = snapped([moment(0, 5, 6), moment(0, 1.2, 1.9), moment(0, 9.5, 9.8)], KEYS, 9_960_000_000)
    assert [(one.start_ns / SECOND, one.end_ns / SECOND) for one in apart] == [(1, 2), (5, 6), (9, 9.96)]


def test_moments_that_overlap_then_are_one() -> None:
    first = Moment(0, 1_200_000_000, 2_200_000_000, 0.8, {"motion": 0.8}, False)
    second = Moment(0, 2_800_000_000, 3_500_000_000, 0.4, {"people": 0.3, "motion": 0.1}, True)
    assert snapped([second, first], KEYS, 10 * SECOND) == [
        Moment(
            0,
            SECOND,
            4 * SECOND,
            pytest.approx(0.6),
            {"motion": pytest.approx(0.45), "people": pytest.approx(0.15)},
            True,
        )
    ]


@pytest.mark.parametrize(
    ("name", "times", "how"),
    [
        ("steady.mp4", flashes.STEADY, {}),
        ("uneven.mp4", UNEVEN, {}),
        ("uneven.mkv", UNEVEN, {}),
        ("late.mp4", flashes.STEADY, {"sound_from": 2.2}),
        ("cd.mp4", flashes.STEADY, {"rate": 44_100, "options": {"bf": "3"}}),
        ("open.mp4", flashes.STEADY, {"rate": 44_100, "options": {"bf": "3", "x264-params": OPEN_GOP}}),
        ("open.ts", flashes.STEADY, {"options": {"bf": "3", "x264-params": OPEN_GOP}}),
    ],
)
def test_flash_and_beep_stay_together(tmp_path: Path, name: str, times: tuple[float, ...], how: dict[str, Any]) -> None:
    own = [min(at for at in times if at >= flash) for flash in FLASHES if flash < times[-1] - 0.3]
    path = flashes.film(tmp_path / name, own, times, **how)
    source = timeline(path)
    moments = [moment(0, 8.3, 8.6), moment(0, 0.33, 0.9), moment(0, 3.2, 3.9), moment(0, 5.1, 5.7)]
    copy(reel([source], moments), tmp_path / "reel.mp4", nothing)
    seen, heard = flashes.seen_and_heard(tmp_path / "reel.mp4")
    expected, begin = [], 0.0
    for wide in snapped(moments, key_frames(path), source.video.duration_ns):
        start, end = wide.start_ns / SECOND, wide.end_ns / SECOND
        expected += [begin + flash - start for flash in own if start <= flash < end]
        begin += end - start
    assert seen == pytest.approx(expected, abs=0.002)
    assert len(heard) >= len(seen) - 1, "in one film sound begins late"
    apart = [beep - min(seen, key=lambda at: abs(at - beep)) for beep in heard]
    assert max(map(abs, apart)) < 0.014, f"beeps after flashes, s: {apart}"  # half a packet; 0.04 is the limit


@pytest.mark.parametrize("closed", [True, False])
def test_pictures_are_those_of_the_source(tmp_path: Path, closed: bool) -> None:
    path = film(tmp_path / "clip.mp4", frames=60, closed=closed)
    copy(reel([timeline(path)], [moment(0, 0.6, 0.9), moment(0, 2, 2.2)]), tmp_path / "reel.mp4", nothing)
    with av.open(str(tmp_path / "reel.mp4")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["clip.mp4 0:00", "clip.mp4 0:01"]
        shown = [(frame.time, number(frame.to_ndarray(format="bgr24"))) for frame in container.decode(video=0)]
    places = [(round(at_s * 25), picture) for at_s, picture in shown]
    whole = [(i, i + 12) for i in range(12)] + [(i, i + 36) for i in range(12, 24)]
    assert places == whole if closed else set(places) <= set(whole)
    assert len(places) > 16


def test_a_turned_video_stays_turned(tmp_path: Path) -> None:
    path = film(tmp_path / "phone.mp4", rotation=90)
    copy(reel([timeline(path)], [moment(0, 0, 1)]), tmp_path / "reel.mp4", nothing)
    with av.open(str(tmp_path / "reel.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 90


def test_times_count_from_the_first_picture_that_decodes(tmp_path: Path) -> None:
    """A key frame every 25 frames, the first group damaged."""
    times = [*np.arange(25) / 25, *1 + np.arange(25) / 20, *2.25 + np.arange(50) / 25]
    path = flashes.film(tmp_path / "film.mp4", [0.4, 1.8, 2.65, 3.45], times, codec="libvpx-vp9", sound_codec="libopus")
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        place, size = first.pos, first.size
    damaged = bytearray(path.read_bytes())
    damaged[place : place + size] = bytes([255]) * size
    path.write_bytes(damaged)
    assert key_frames(path).tolist() == [-SECOND, 0, SECOND * 5 // 4, SECOND * 9 // 4]
    copy(reel([timeline(path)], [moment(0, 0.2, 0.9), moment(0, 2.5, 3)]), tmp_path / "reel.mp4", nothing)
    seen, heard = flashes.seen_and_heard(tmp_path / "reel.mp4")
    assert seen == pytest.approx([0.8, 1.25 + 0.2], abs=0.001)
    assert heard == pytest.approx(seen, abs=0.014)


def test_pixels_keep_their_shape(tmp_path: Path) -> None:
    """The container says another one than the codec: it is right."""
    with av.open(str(film(tmp_path / "clip.mp4"))) as source, av.open(str(tmp_path / "dv.mp4"), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    copy(reel([timeline(tmp_path / "dv.mp4")], [moment(0, 0, 1)]), tmp_path / "reel.mp4", nothing)
    with av.open(str(tmp_path / "reel.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("film.webm", {"codec": "libvpx", "sound_from": None}, "is coded in vp8"),
        ("film.mkv", {"sound_codec": "flac"}, "comes in pieces too long"),
    ],
)
def test_what_an_mp4_cannot_hold_is_said(tmp_path: Path, name: str, how: dict[str, Any], says: str) -> None:
    source = timeline(flashes.film(tmp_path / name, [0.6], flashes.STEADY[:50], **how))
    with pytest.raises(Usage, match=says):
        copy(reel([source], [moment(0, 0, 1)]), tmp_path / "reel.mp4", nothing)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_videos_cannot_be_copied_into_one(tmp_path: Path) -> None:
    source = timeline(film(tmp_path / "film.mp4"))
    with pytest.raises(Usage, match="out of one video"):
        copy(reel([source, source], [moment(0, 0, 1), moment(1, 0, 1)]), tmp_path / "reel.mp4", nothing)


def test_a_file_without_times_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="does not say when"):
        key_frames(film(tmp_path / "clip.h264"))
