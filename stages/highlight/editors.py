"""The reel for video editors: OpenTimelineIO, and an EDL (CMX 3600) for what does not read it.

The frames of a clip are counted as an editor counts them: at the file's nominal rate, from its timecode; where it has
none, from where the file begins. A file of variable rate is cut where a moment is in time.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from itertools import chain, count
from pathlib import Path

import opentimelineio as otio
from av.container import InputContainer
from av.video.stream import VideoStream
from opentimelineio.opentime import RationalTime, TimeRange

from pipeline.files import OUTPUT, replace_file
from stages.highlight.timeline import SECOND, Moment, Reel, Video
from stages.highlight.words import plain, reasons
from stages.sources.media import open_file, video_stream

NEAR = 0.1  # a rate that is guessed from the time stamps has to be this near to the frames that there are in a second
EQUAL = 5e-4  # 29.97 is 30000/1001
WHOLE_RATES = (24, 25, 30, 50, 60)  # frames a second that a timecode can count
DROP_RATES = (30_000 / 1001, 60_000 / 1001)  # at which some drop numbers, to keep up with the clock


def write_otio(reel: Reel, path: Path) -> None:
    """One video track and one of sound, a clip for each moment; why it was taken is in its marker. Raises OSError."""
    media = _media(reel)
    pictures = otio.schema.Track("Video", kind=otio.schema.TrackKind.Video)
    sounds = otio.schema.Track("Sound", kind=otio.schema.TrackKind.Audio)
    for moment in reel.moments:
        one = media[moment.video]
        clip = one.clip(moment)
        sounds.append(one.clip(moment) if one.video.sound else otio.schema.Gap(duration=clip.source_range.duration))
        marker = otio.schema.Marker(name=_said(moment), marked_range=clip.source_range)
        marker.metadata["framewire"] = {"score": moment.score, "why": moment.why, "must": moment.must}
        clip.markers.append(marker)
        pictures.append(clip)
    timeline = otio.schema.Timeline(path.stem, metadata={"framewire": {"preset": reel.preset}})
    timeline.tracks.extend((pictures, sounds))
    written = otio.adapters.write_to_string(timeline, "otio_json")
    replace_file(path, written.encode(), synced=True, mode=OUTPUT)


def write_edl(reel: Reel, path: Path) -> None:
    """One event for each moment, at the rate of the first moment's file. Raises OSError.

    Timecodes drop numbers where those of the file do; of the reel, where those of the first file do. A line above an
    event says so (FCM, frame code mode), where it is not as above.

    otio-cmx3600-adapter does not write it: it drops frames at 29.97 without the line that says so, leaves the sound
    out, and lets a line break in a file's name begin a line.
    """
    media = _media(reel)
    first = media[reel.moments[0].video]
    rate = _timecode_rate(first.rate)
    lines = [f"TITLE: {plain(path.stem)}, {rate:.6g} frames a second"]
    reels = _reel_names([timeline.video for timeline in reel.timelines])
    played = 0  # frames
    mode = ""
    for number, moment in enumerate(reel.moments, start=1):
        one = media[moment.video]
        source = one.source(moment)
        begin, frames = (max(0, round(time.rescaled_to(rate).value)) for time in (source.start_time, source.duration))
        frames = max(1, frames)
        drops = one.drops and rate in DROP_RATES
        said, mode = mode, "FCM: DROP FRAME" if drops else "FCM: NON-DROP FRAME"
        if mode != said:
            lines.append(mode)
        codes = [_timecode(at, rate, drops) for at in (begin, begin + frames)]
        codes += [_timecode(at, rate, first.drops) for at in (played, played + frames)]
        channels = "AA/V" if one.video.sound else "V"
        lines.append(f"\n{number % 1000:03}  {reels[moment.video]:8} {channels:5} C        {' '.join(codes)}")
        lines.append(f"* FROM CLIP NAME:  {plain(Path(one.video.path).name)}")
        lines.append(f"* COMMENT: {_said(moment)}")
        played += frames
    replace_file(path, ("\n".join(lines) + "\n").encode(), synced=True, mode=OUTPUT)


class _Media:
    """A file as editors count it."""

    def __init__(self, video: Video) -> None:
        self.video = video
        with closing(open_file(Path(video.path))) as container:
            stream = video_stream(container, video.path, 1, "AUTO")
            self.rate = _rate(video, stream)
            self.first, self.drops = _first(video, container, stream, self.rate)

    def source(self, moment: Moment) -> TimeRange:
        """Its frames: at least one."""
        begin, end = (round(at_ns * self.rate / SECOND) for at_ns in (moment.start_ns, moment.end_ns))
        return TimeRange(self.first + RationalTime(begin, self.rate), RationalTime(max(1, end - begin), self.rate))

    def clip(self, moment: Moment) -> otio.schema.Clip:
        """The moment, taken out of the file."""
        path = Path(self.video.path).absolute()
        available = RationalTime(round(self.video.duration_ns * self.rate / SECOND), self.rate)
        reference = otio.schema.ExternalReference(path.as_uri(), TimeRange(self.first, available))
        return otio.schema.Clip(path.name, reference, self.source(moment))


def _media(reel: Reel) -> dict[int, _Media]:
    """Of each video that there are moments of, by its index."""
    return {number: _Media(reel.timelines[number].video) for number in sorted({one.video for one in reel.moments})}


def _rate(video: Video, stream: VideoStream) -> float:
    """The nominal frame rate: what its time stamps are multiples of, or else how many frames come in a second."""
    mean = video.frames * SECOND / video.duration_ns
    base = float(stream.base_rate or mean)
    rate = base if abs(base / mean - 1) < NEAR else mean
    standard: float = RationalTime.nearest_smpte_timecode_rate(rate)
    return standard if abs(standard / rate - 1) < EQUAL else rate


def _first(video: Video, container: InputContainer, stream: VideoStream, rate: float) -> tuple[RationalTime, bool]:
    """The time of the first frame, and whether numbers are dropped: its timecode.

    Where it has none, or one that its rate does not have: how long after the file's begin (of its sound, say) it comes.
    """
    tags = [*stream.metadata.items(), *container.metadata.items()]
    timecode = next((value for name, value in tags if name.lower() == "timecode"), "")  # Matroska's is in capitals
    with suppress(ValueError):
        return otio.opentime.from_timecode(timecode, rate), ";" in timecode
    late_ns = video.start_ns - (container.start_time or 0) * 1000
    return RationalTime(max(0, round(late_ns * rate / SECOND)), rate), False


def _timecode_rate(rate: float) -> float:
    """The rate of timecodes in which the frames of `rate` can be told, or else the nearest, or 25: none is near."""
    nearest: float = RationalTime.nearest_smpte_timecode_rate(rate)
    return next((float(whole) for whole in WHOLE_RATES if whole % rate == 0), nearest or 25.0)


def _timecode(frame: int, rate: float, drops: bool) -> str:
    """HH:MM:SS:FF, or HH:MM:SS;FF where numbers are dropped (SMPTE ST 12-1)."""
    if drops:
        code: str = RationalTime(frame, rate).to_timecode(rate, True)
        return code
    seconds, frames = divmod(frame, round(rate))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def _reel_names(videos: list[Video]) -> list[str]:
    """Of each file up to eight capitals and digits, no two the same."""
    names = dict.fromkeys(("AX", "BL"))  # those mean no file
    for video in videos:
        wish = re.sub(r"[^A-Z0-9]", "", Path(video.path).stem.upper())[:8] or "REEL"
        others = (f"{wish[: 8 - len(str(number))]}{number}" for number in count(2))
        names[next(name for name in chain([wish], others) if name not in names)] = None
    return list(names)[2:]


def _said(moment: Moment) -> str:
    asked = ["it was asked for"] if moment.must else []
    return f"score {moment.score:.2f}: {', '.join(asked + reasons(moment))}"
