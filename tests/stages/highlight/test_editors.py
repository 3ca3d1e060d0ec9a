"""The reel for editors, read back by OpenTimelineIO."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import opentimelineio as otio
import pytest
from av.video.stream import VideoStream

from stages.highlight.editors import write_edl, write_otio
from stages.highlight.timeline import SECOND, Moment, Reel, Video
from tests.stages.clips import film, picture
from tests.stages.highlight import flashes
from tests.stages.highlight.reel import moment, reel, video


def read(path: Path, **options: float) -> tuple[otio.schema.Timeline, list[otio.schema.Track]]:
    """The timeline, which has to outlive its tracks, and its tracks."""
    timeline = otio.adapters.read_from_file(str(path), **options)
    return timeline, list(timeline.tracks)


def seconds(source: otio.opentime.TimeRange) -> tuple[float, float]:
    return source.start_time.to_seconds(), source.end_time_exclusive().to_seconds()


def begins(reel: Reel, one: Moment) -> float:
    """How long after its file's begin the first frame of the moment's video comes."""
    path = reel.timelines[one.video].video.path
    with av.open(path) as container:
        return reel.timelines[one.video].video.start_ns / SECOND - (container.start_time or 0) / 1e6


def test_the_clips_are_the_moments_to_a_frame(clips: Reel, tmp_path: Path) -> None:
    write_otio(clips, tmp_path / "reel.otio")
    timeline, (pictures, sounds) = read(tmp_path / "reel.otio")
    assert (pictures.kind, sounds.kind) == ("Video", "Audio")
    assert {clip.source_range.start_time.rate for clip in pictures} == {10, 30000 / 1001, 25}
    for clip, one in zip(pictures, clips.moments, strict=True):
        path = Path(clips.timelines[one.video].video.path)
        assert clip.name == path.name
        assert unquote(urlsplit(clip.media_reference.target_url).path) == str(path)
        late, frame = begins(clips, one), 1 / clip.source_range.start_time.rate
        wanted = late + one.start_ns / SECOND, late + one.end_ns / SECOND
        assert seconds(clip.source_range) == pytest.approx(wanted, abs=frame)
        assert clip.source_range.start_time.value.is_integer()
        inside = clip.media_reference.available_range
        assert inside.start_time <= clip.source_range.start_time
        assert clip.source_range.end_time_exclusive() <= inside.end_time_exclusive()
        (marker,) = clip.markers
        told = marker.metadata["framewire"]
        assert told["score"] == one.score
        assert dict(told["why"]) == pytest.approx(one.why)
        assert marker.marked_range == clip.source_range
    assert [type(item).__name__ for item in sounds] == ["Gap"] * 3 + ["Clip"] * 3
    assert sounds.duration() == pictures.duration()
    assert timeline.metadata["framewire"]["preset"] == "sports"


def test_a_clip_that_begins_late_does_so_for_an_editor(clips: Reel, tmp_path: Path) -> None:
    """Its sound begins 0.84 s before its picture."""
    write_otio(replace(clips, moments=[moment(1, 0, 4, clips.scores[1])]), tmp_path / "reel.otio")
    _, (pictures, _) = read(tmp_path / "reel.otio")
    assert pictures[0].source_range.start_time.value == 25


@pytest.mark.parametrize("name", ["a b 'c' \"d\".mp4", "Fußball #1 100%.mp4", "日本?.mp4", "-x;y&z.mp4"])
def test_names_that_are_hard_in_an_address(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, 50)
    one = reel([video(path)], 1, 1)
    write_otio(one, tmp_path / "reel.otio")
    _, (pictures, _) = read(tmp_path / "reel.otio")
    address = urlsplit(pictures[0].media_reference.target_url)
    assert (address.scheme, unquote(address.path), address.query, address.fragment) == ("file", str(path), "", "")
    assert address.geturl().isascii()
    write_edl(one, tmp_path / "reel.edl")
    _, (pictures, *_) = read(tmp_path / "reel.edl", rate=25)
    assert pictures[0].name == name


def test_a_file_of_variable_rate_is_cut_where_the_moment_is(tmp_path: Path) -> None:
    """30 frames a second in its first half, every third of them in its second."""
    path = tmp_path / "phone.mp4"
    times = [*range(120), *range(120, 240, 3)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.time_base = 160, 96, Fraction(1, 15360)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time * 512, Fraction(1, 15360)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    one = reel([video(path)], 2, 4)
    assert [moment.start_ns for moment in one.moments] == [0, 2 * SECOND, 4 * SECOND, 6 * SECOND]
    write_otio(one, tmp_path / "reel.otio")
    _, (pictures, _) = read(tmp_path / "reel.otio")
    for clip, chosen in zip(pictures, one.moments, strict=True):
        rate = clip.source_range.start_time.rate
        assert 20 <= rate <= 30
        wanted = chosen.start_ns / SECOND, chosen.end_ns / SECOND
        assert seconds(clip.source_range) == pytest.approx(wanted, abs=1 / rate)


def coded(path: Path, timecode: str, rate: int | Fraction = 25) -> Video:
    """A film of 2 s whose first frame has that timecode."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 160, 96
        stream.metadata["timecode"] = timecode
        for number in range(round(2 * rate)):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return video(path)


@pytest.mark.parametrize("kind", ["mov", "mkv"])
def test_a_timecode_is_where_a_file_begins(kind: str, tmp_path: Path) -> None:
    one = reel([coded(tmp_path / f"coded.{kind}", "10:00:00:05")], 1, 2)
    write_otio(one, tmp_path / "reel.otio")
    _, (pictures, _) = read(tmp_path / "reel.otio")
    first = 36000 * 25 + 5
    assert [clip.source_range.start_time.value for clip in pictures] == [first, first + 25]
    write_edl(one, tmp_path / "reel.edl")
    assert "10:00:00:05 10:00:01:05 00:00:00:00 00:00:01:00" in (tmp_path / "reel.edl").read_text()


@pytest.mark.parametrize(
    ("kind", "timecode", "rate"),
    [
        ("mov", "01:00:00;02", 30),
        ("mov", "01:00:00;02", 60),
        ("mkv", "00:00:00:30", 25),
        ("mkv", "garbage", 25),
    ],
)
def test_a_timecode_that_the_rate_does_not_have_is_none(kind: str, timecode: str, rate: int, tmp_path: Path) -> None:
    one = reel([coded(tmp_path / f"coded.{kind}", timecode, rate)], 1, 2)
    write_otio(one, tmp_path / "reel.otio")
    _, (pictures, _) = read(tmp_path / "reel.otio")
    assert pictures[0].source_range.start_time.value == 0
    write_edl(one, tmp_path / "reel.edl")
    assert "00:00:00:00 00:00:01:00 00:00:00:00 00:00:01:00" in (tmp_path / "reel.edl").read_text()


@pytest.mark.parametrize("scale", [1, 2])
def test_an_edl_drops_the_numbers_that_a_file_drops(scale: int, tmp_path: Path) -> None:
    rate, begin = Fraction(30_000 * scale, 1001), f"59;{28 * scale}"
    drop = coded(tmp_path / "drop.mov", f"01:00:{begin}", rate)
    other = coded(tmp_path / "other.mov", f"01:00:59:{28 * scale}", rate)
    one = reel([drop, other])
    taken = ((0, 0), (1, 0), (1, 1), (0, 1))
    made = replace(one, moments=[moment(number, at, at + 1, one.scores[number]) for number, at in taken])
    write_edl(made, tmp_path / "reel.edl")
    events = [line.split()[-4:] for line in (tmp_path / "reel.edl").read_text().splitlines() if line[:3].isdigit()]
    assert events[0] == [f"01:00:{begin}", "01:01:01;00", "00:00:00;00", "00:00:01;00"]
    assert events[1] == [f"01:00:59:{28 * scale}", f"01:01:00:{28 * scale}", "00:00:01;00", "00:00:02;00"]
    modes = [line for line in (tmp_path / "reel.edl").read_text().splitlines() if line.startswith("FCM")]
    assert modes == ["FCM: DROP FRAME", "FCM: NON-DROP FRAME", "FCM: DROP FRAME"]
    _, (pictures, *_) = read(tmp_path / "reel.edl", rate=float(rate))
    write_otio(made, tmp_path / "reel.otio")
    _, (clips, _) = read(tmp_path / "reel.otio")
    assert [clip.source_range for clip in pictures] == [clip.source_range for clip in clips]


def test_the_thousandth_event_stays_in_its_columns(tmp_path: Path) -> None:
    one = reel([video(film(tmp_path / "film.mp4", 30))], 1, 1)
    write_edl(replace(one, moments=one.moments * 1001), tmp_path / "reel.edl")
    events = [line for line in (tmp_path / "reel.edl").read_text().splitlines() if "  C  " in line]
    assert [event[:7] for event in events[998:]] == ["999  FI", "000  FI", "001  FI"]
    _, tracks = read(tmp_path / "reel.edl", rate=25)
    assert len(tracks[0]) == 1001


def test_an_edl_has_the_moments_one_after_the_other(clips: Reel, tmp_path: Path) -> None:
    """The first file has 10 frames a second, so the list has 30; the others have other rates."""
    path = tmp_path / "reel.edl"
    write_edl(clips, path)
    _, tracks = read(path, rate=30)
    assert [track.name for track in tracks] == ["V", "A1", "A2"]
    for clip, one in zip(tracks[0], clips.moments, strict=True):
        late = begins(clips, one)
        wanted = late + one.start_ns / SECOND, late + one.end_ns / SECOND
        assert seconds(clip.source_range) == pytest.approx(wanted, abs=1.5 / 30)  # a frame of the file, rounded
        assert clip.name == Path(clips.timelines[one.video].video.path).name
    reels = [clip.metadata["cmx_3600"]["reel"] for clip in tracks[0]]
    assert reels == ["ONEBYONE"] * 3 + ["SHORTHAM"] * 2 + ["FACENETP"]
    assert tracks[0].duration().to_seconds() == pytest.approx(
        sum(one.end_ns - one.start_ns for one in clips.moments) / SECOND, abs=len(clips.moments) / 30
    )
    events = [line.split() for line in path.read_text().splitlines() if line[:3].isdigit()]
    assert [event[6] for event in events] == ["00:00:00:00"] + [event[7] for event in events[:-1]]
    assert [event[2] for event in events] == ["V"] * 3 + ["AA/V"] * 3


def test_an_edl_at_29_97_drops_no_numbers(shared: Path, tmp_path: Path) -> None:
    known = video(shared / "videos" / "short_hamilton_clip.mp4")
    one = reel([known])
    write_edl(replace(one, moments=[moment(0, 1, 6, one.scores[0])] * 30), tmp_path / "reel.edl")
    text = (tmp_path / "reel.edl").read_text()
    assert text.splitlines()[:2] == ["TITLE: reel, 29.97 frames a second", "FCM: NON-DROP FRAME"]
    assert ";" not in text
    assert text.split()[text.split().index("030") + 7] == "00:02:30:00"  # 4500 frames


@pytest.mark.parametrize(("every", "counted"), [(10, 25), (2.5, 25), (2, 24), (1, 24), (1 / 7, 25)])
def test_an_edl_of_few_frames_has_a_standard_rate(every: float, counted: int, tmp_path: Path) -> None:
    """A frame every so many seconds."""
    path = flashes.film(tmp_path / "slow.mkv", [], [at * every for at in range(6)], sound_from=None)
    one = reel([video(path)], 1, 1)
    made = replace(one, moments=[moment(0, 2 * every, 4 * every, one.scores[0])])
    write_edl(made, tmp_path / "reel.edl")
    assert f"TITLE: reel, {counted} frames a second" in (tmp_path / "reel.edl").read_text()
    _, (pictures, *_) = read(tmp_path / "reel.edl", rate=counted)
    assert seconds(pictures[0].source_range) == pytest.approx((2 * every, 4 * every), abs=1 / counted)


def test_a_line_break_in_a_name_begins_no_line_and_reels_differ(tmp_path: Path) -> None:
    names = ("bl.mp4", "holiday film 1.mp4", "holiday film 2.mp4", "映画.mp4", "x\n002  AX V C.mp4")
    one = reel([video(film(tmp_path / name, 30)) for name in names], 1, 1)
    write_edl(one, tmp_path / "reel.edl")
    _, (pictures, *_) = read(tmp_path / "reel.edl", rate=25)
    reels = [clip.metadata["cmx_3600"]["reel"] for clip in pictures]
    assert reels == ["BL2", "HOLIDAYF", "HOLIDAY2", "REEL", "X002AXVC"]
    assert pictures[4].name == "x?002  AX V C.mp4"
