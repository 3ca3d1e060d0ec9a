import os
import resource
import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from pipeline.errors import Failed, Usage
from stages.highlight.render import render
from stages.highlight.timeline import Reel
from tests.stages.clips import film
from tests.stages.highlight import flashes
from tests.stages.highlight.flashes import moment, reel, timeline

FLASHES = (0.6, 1.6, 2.6, 3.6, 4.6, 5.6, 6.6, 7.6, 8.6)
UNEVEN = (0.0, *np.cumsum(np.random.default_rng(1).uniform(0.02, 0.09, 180)).round(3).tolist())
OPEN_GOP = "open-gop=1:keyint=25:min-keyint=25:scenecut=0"
MOMENTS = ((0.33, 1.9), (3.2, 4.81), (5.0, 6.777), (2.3, 3.1))  # s; the last goes back


def rendered(made: Reel, out: Path, vertical: bool = False) -> Path:
    done: list[float] = []
    render(made, out, vertical=vertical, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert [path.name for path in out.parent.iterdir() if path.suffix == ".part"] == []
    return out


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(f"file:{path}") as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "times", "how"),
    [
        ("steady.mp4", flashes.STEADY, {}),
        ("uneven.mp4", UNEVEN, {}),
        ("uneven.mkv", UNEVEN, {}),
        ("late.mp4", flashes.STEADY, {"sound_from": 2.2}),
        ("gap.mkv", flashes.STEADY, {"sound_gap": (3.0, 3.5)}),
        ("cd.mp4", flashes.STEADY, {"rate": 44_100, "options": {"bf": "3"}}),
        ("open.ts", flashes.STEADY, {"rate": 44_100, "options": {"bf": "3", "x264-params": OPEN_GOP}}),
        ("opus.mkv", flashes.STEADY, {"sound_codec": "libopus"}),
    ],
)
def test_flash_and_beep_stay_together(tmp_path: Path, name: str, times: tuple[float, ...], how: dict[str, Any]) -> None:
    own = [min(at for at in times if at >= flash) for flash in FLASHES if flash < times[-1] - 0.3]
    path = flashes.film(tmp_path / name, own, times, **how)
    made = reel([timeline(path)], [moment(0, *stretch) for stretch in MOMENTS])
    from_s = float(how.get("sound_from", 0))
    seen, heard = flashes.seen_and_heard(rendered(made, tmp_path / "reel.mp4"))
    expected, silent, begin = [], [], 0.0
    for start, end in MOMENTS:
        expected += [begin + flash - start for flash in own if start <= flash < end]
        silent += [begin + flash - start for flash in own if start <= flash < min(end, from_s)]
        begin += end - start
    assert seen == pytest.approx(expected, abs=0.001)
    assert len(heard) == len(seen) - len(silent)
    apart = [beep - min(seen, key=lambda at: abs(at - beep)) for beep in heard]
    assert max(map(abs, apart)) < 0.002, f"beeps after flashes, s: {apart}"  # 0.04 is what the eye forgives


@pytest.mark.parametrize("rate", [10, 12.5, 15])
def test_a_flash_in_the_first_picture_that_begins_stays_with_its_beep(tmp_path: Path, rate: float) -> None:
    own = [3 / rate, 33 / rate]
    path = flashes.film(tmp_path / "film.mp4", own, [i / rate for i in range(50)])
    made = reel([timeline(path)], [moment(0, at - 0.8 / rate, at + 0.5) for at in own])
    seen, heard = flashes.seen_and_heard(rendered(made, tmp_path / "reel.mp4"))
    assert seen == pytest.approx([0.8 / rate, 1.6 / rate + 0.5], abs=0.001)
    assert heard == pytest.approx(seen, abs=0.002)


def test_sound_and_picture_last_as_long_as_the_reel(tmp_path: Path) -> None:
    path = flashes.film(tmp_path / "film.mp4", [0.6], rate=44_100)
    out = rendered(reel([timeline(path)], [moment(0, 0, 1.37), moment(0, 4, 5.5)]), tmp_path / "reel.mp4")
    with av.open(str(out)) as container:
        assert [float(stream.duration * stream.time_base) for stream in container.streams if stream.type != "data"] == [
            pytest.approx(2.87, abs=1e-4)
        ] * 2
        assert 0 <= sum(frame.samples for frame in container.decode(audio=0)) - 2.87 * 48_000 < 1024


def test_seams_do_not_click(tmp_path: Path) -> None:
    always = [i / 10 for i in range(100)]
    path = flashes.film(tmp_path / "film.mov", always, sound_codec="pcm_s16le")
    out = rendered(reel([timeline(path)], [moment(0, 1, 2), moment(0, 5.0003, 6)]), tmp_path / "reel.mp4")
    with av.open(str(out)) as container:
        tone = np.concatenate([np.asarray(frame.to_ndarray())[0] for frame in container.decode(audio=0)])
    assert np.abs(tone[47_976:48_024]).max() < 0.1
    assert np.abs(tone[47_000:47_500]).max() > 0.7


def test_without_sound_there_is_no_sound(tmp_path: Path) -> None:
    mute = timeline(flashes.film(tmp_path / "mute.mp4", [0.6], sound_from=None))
    loud = timeline(flashes.film(tmp_path / "loud.mp4", [0.6]))
    with av.open(str(rendered(reel([mute], [moment(0, 0, 1)]), tmp_path / "reel.mp4"))) as container:
        assert not container.streams.audio
    out = rendered(reel([mute, loud], [moment(0, 0, 1), moment(1, 0, 1)]), tmp_path / "both.mp4")
    seen, heard = flashes.seen_and_heard(out)
    assert seen == pytest.approx([0.6, 1.6], abs=0.001)
    assert heard == pytest.approx([1.6], abs=0.002)


def test_where_sound_is_only_announced_there_is_none(tmp_path: Path) -> None:
    silent = timeline(flashes.without_its_sound(flashes.film(tmp_path / "loud.ts", [0.6])))
    with av.open(str(rendered(reel([silent], [moment(0, 0, 1)]), tmp_path / "reel.mp4"))) as container:
        assert not container.streams.audio


def test_each_picture_is_whole_and_upright(tmp_path: Path) -> None:
    wide = timeline(film(tmp_path / "wide.mp4", size=(160, 96)))
    phone = timeline(film(tmp_path / "phone.mp4", size=(160, 96), rotation=-90))
    assert (phone.video.width, phone.video.height) == (96, 160)
    shown = pictures(rendered(reel([wide, phone], [moment(0, 0, 0.4), moment(1, 0, 0.4)]), tmp_path / "reel.mp4"))
    assert [picture.shape for picture in shown] == [(96, 160, 3)] * 20
    lit = shown[-1].max(axis=2) > 60
    assert not lit[:, :50].any()
    assert not lit[:, 110:].any()
    assert lit[2:-2, 52:78].mean() > 0.9, "its lower half, turned to the left"
    upright = pictures(rendered(reel([phone], [moment(0, 0, 0.4)]), tmp_path / "upright.mp4"))
    assert upright[0].shape == (160, 96, 3)


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("vertical", [False, True])
def test_pixels_become_square(tmp_path: Path, rotation: int, vertical: bool) -> None:
    """Eight stripes, each 24 pixels wide as shown and half of the picture high."""
    path = film(tmp_path / "dv.mp4", 10, (144, 96), rotation, first=0b10101010 - 9, aspect=Fraction(4, 3))
    out = rendered(reel([timeline(path)], [moment(0, 0, 0.4)]), tmp_path / "reel.mp4", vertical)
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
    shown = np.rot90(pictures(out)[-1], -rotation // 90)
    size = {(0, False): (96, 192), (0, True): (96, 54), (90, False): (96, 192), (90, True): (108, 192)}
    assert shown.shape[:2] == size[rotation, vertical]
    edges = np.flatnonzero(np.diff(shown[shown.shape[0] // 3, :, 1] > 127))
    assert np.abs(np.diff(edges) - 24).max() <= 1


@pytest.mark.parametrize(("size", "matrix"), [((160, 96), 6), ((1280, 720), 1)])
def test_colours_stay(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    source = timeline(film(tmp_path / "film.mp4", frames=3, size=size))
    out = rendered(reel([source], [moment(0, 0, 0.12)]), tmp_path / "reel.mp4")
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (matrix, 1, 1, 1)
    before, after = (pictures(path)[1][size[1] * 3 // 4, size[0] // 2] for path in (tmp_path / "film.mp4", out))
    if matrix == 6:  # an untagged HD file is shown by BT.709, which PyAV's own conversion does not know
        assert after == pytest.approx(before, abs=4)
    assert after == pytest.approx([60, 41, 200] if matrix == 6 else after, abs=8)


def pq_film(path: Path, nits: list[float]) -> Path:
    """Grey patches of 64 x 64 in 10 bits, BT.2020 and PQ (SMPTE ST 2084)."""
    power = (np.array(nits) / 10_000) ** (2610 / 16384)
    code = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    luma = np.repeat(np.rint(64 + 876 * code), 64)[None].repeat(64, axis=0)
    grey = np.concatenate((luma, np.full((32, luma.shape[1]), 512)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = luma.shape[1], 64, "yuv420p10le"
        stream.codec_context.color_primaries = stream.codec_context.colorspace = 9
        stream.codec_context.color_trc, stream.codec_context.color_range = 16, 1
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(grey.astype(np.uint16), format="yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_high_dynamic_range_is_mapped(tmp_path: Path) -> None:
    path = pq_film(tmp_path / "hdr.mp4", [0, 5, 36.5, 203, 1000, 4000])  # 203 cd/m2 is white paper (ITU-R BT.2408)
    picture = pictures(rendered(reel([timeline(path)], [moment(0, 0, 0.08)]), tmp_path / "reel.mp4"))[0]
    black, dark, middle, paper, bright, brightest = picture[32, 32::64].mean(axis=1)
    assert black < 4
    assert 20 < dark < 60
    assert 75 < middle < 120, "18% grey is 104 in BT.709"
    assert 140 < paper < 235
    assert paper + 20 < bright < brightest - 10, "what is brighter than paper is told apart"


def test_a_chapter_a_moment(tmp_path: Path) -> None:
    source = timeline(film(tmp_path / "a film.mp4", frames=100))
    moments = [
        moment(0, 0.5, 1.25, people=0.3, motion=0.2, text=0.1),
        moment(0, 2, 3),
        moment(0, 3, 4, cuts=0.2, faces=0.004),
    ]
    with av.open(str(rendered(reel([source], moments), tmp_path / "reel.mp4"))) as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"] for chapter in chapters] == [
        "a film.mp4 0:00 people are in the picture, something moves",
        "a film.mp4 0:02",
        "a film.mp4 0:03 the shot changes",
    ]
    edges = [(chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]) for chapter in chapters]
    assert edges == [(0, 0.75), (0.75, 1.75), (1.75, 2.75)]


def test_a_chapter_is_one_line_that_shows_all_of_a_name(tmp_path: Path) -> None:
    source = timeline(film(tmp_path / "a\nb\x07\u202ec.mp4"))
    with av.open(str(rendered(reel([source], [moment(0, 0, 1)]), tmp_path / "reel.mp4"))) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["a?b??c.mp4 0:00"]


def test_any_name_will_do(tmp_path: Path) -> None:
    source = timeline(film(tmp_path / 'it\'s 100%d: a "film".mp4'))
    assert pictures(rendered(reel([source], [moment(0, 0, 0.4)]), tmp_path / "a:b 50%s 'x'.mp4"))


def test_what_cannot_be_written_is_said_and_not_left(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    made = reel([timeline(path)], [moment(0, 0, 1)])
    (tmp_path / "folder").mkdir()
    before = path.read_bytes()
    for out, error, says in (
        (path, Usage, "is one of the videos"),
        (tmp_path / "nowhere" / "reel.mp4", Failed, "No such file or directory"),
        (tmp_path / "folder", Failed, "Is a directory"),
    ):
        with pytest.raises(error, match=says):
            render(made, out, vertical=False, progress=lambda _: None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # stands for a disk that is full
    try:
        with pytest.raises(Failed, match="cannot be written"):
            render(made, tmp_path / "reel.mp4", vertical=False, progress=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == ["film.mp4", "folder"]
    assert path.read_bytes() == before


def test_the_index_is_in_front(tmp_path: Path) -> None:
    source = timeline(film(tmp_path / "film.mp4"))
    data = rendered(reel([source], [moment(0, 0, 1)]), tmp_path / "reel.mp4").read_bytes()
    kinds, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind)
        at += size
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_a_moment_begins_with_a_key_frame_and_frames_keep_their_times(tmp_path: Path) -> None:
    path = flashes.film(tmp_path / "uneven.mp4", [], UNEVEN, sound_from=None)
    source = timeline(path)
    out = rendered(reel([source], [moment(0, 1, 2), moment(0, 4, 5)]), tmp_path / "reel.mp4")
    with av.open(str(out)) as container:
        shown = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
    first, second = ([at - begin for at in UNEVEN if begin <= at < begin + 1] for begin in (1, 4))
    assert min(first[0], second[0]) > 0.001, "both moments begin between two frames"
    expected = [0.0, *first, 1.0, *(1 + at for at in second)]
    assert [at for at, _ in shown] == pytest.approx(expected, abs=2e-5)
    assert next(key for at, key in shown if at >= 1)
    assert all(late > soon for soon, late in pairwise(at for at, _ in shown))


def test_a_moment_that_ends_just_behind_a_frame_hides_nothing_of_the_next(tmp_path: Path) -> None:
    """That frame and the first one of the next moment are in one tick of the clock."""
    source = timeline(film(tmp_path / "film.mp4", frames=50))
    made = reel([source], [moment(0, 0, 0.400001), moment(0, 1, 1.2)])
    with av.open(str(rendered(made, tmp_path / "reel.mp4"))) as container:
        shown = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
    assert [at for at, _ in shown] == pytest.approx([i / 25 for i in (*range(11), *range(10, 15))], abs=2e-5)
    assert [key for _, key in shown[10:12]] == [False, True]


@pytest.mark.parametrize(("width", "height", "size"), [(640, 360, (202, 360)), (96, 320, (180, 320))])
def test_vertical_is_nine_to_sixteen(tmp_path: Path, width: int, height: int, size: tuple[int, int]) -> None:
    source = timeline(film(tmp_path / "film.mp4", frames=2, size=(width, height)))
    shown = pictures(rendered(reel([source], [moment(0, 0, 0.08)]), tmp_path / "reel.mp4", vertical=True))
    assert shown[0].shape == (size[1], size[0], 3)
    assert abs(Fraction(*size) - Fraction(9, 16)) < 0.01
