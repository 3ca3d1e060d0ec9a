"""The reel without encoding anew: whole groups of pictures of one video, and the sound packets that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np
from av import FFmpegError, Packet
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.errors import Usage
from stages.highlight.footage import packets, pictures_of, sound_of
from stages.highlight.reelfile import begins_ns, in_ticks, reel_file
from stages.highlight.timeline import SECOND, Moment, Reel, Video
from stages.highlight.videos import first_picture
from stages.show.video import TIME_BASE
from stages.sources.media import open_file
from stages.sources.picture import nanoseconds, pixel_aspect

MOST_OFF = 0.04  # s: how far sound may be from its pictures


def copy(reel: Reel, out: Path, progress: Callable[[float], None]) -> None:
    """Write the reel to `out`, an MP4, its moments `snapped` and in the order of their time.

    `progress` hears how much is done, 0..1. Where groups of pictures are open, some pictures around a seam are missing:
    those that need the group before, and those that a decoder drops as the count of frames has a gap there.
    Raises Usage where the moments are of several videos, where an MP4 cannot hold its codecs, or where `out` is one of
    the videos; Failed where one cannot be read or `out` cannot be written.
    """
    if len({moment.video for moment in reel.moments}) > 1:
        raise Usage("--copy takes moments out of one video: give one, or leave it away")
    video = reel.timelines[reel.moments[0].video].video
    moments = snapped(reel.moments, key_frames(Path(video.path)), video.duration_ns)
    with open_file(Path(video.path)) as source, reel_file(out, replace(reel, moments=moments)) as mp4:
        picture = _stream(mp4, pictures_of(source), video)
        audio = _stream(mp4, sound_of(source), video) if video.sound else None
        length_ns = begins_ns(moments)[-1]
        for packet in merge(_pictures(video, moments, picture), _sounds(video, moments, audio), key=_seconds):
            progress(min(1.0, max(0.0, _seconds(packet)) * SECOND / length_ns))
            mp4.mux(packet)
    progress(1.0)


def key_frames(path: Path) -> NDArray[np.int64]:
    """(K,) where one can cut, ns from the first frame, ascending: read from the packets, only that frame is decoded.

    Those before it, negative, are hidden by an edit list, or damaged.
    Raises Failed where the file cannot be read, Usage where its packets have no times, or there is no key frame.
    """
    keys: list[int] = []
    start_ns = first_picture(path).pts_ns
    with open_file(path) as container, suppress(FFmpegError):
        stream = pictures_of(container)
        for packet in container.demux(stream):
            if packet.size and packet.pts is None:
                raise Usage(f"{path} does not say when its pictures are shown, so --copy cannot cut it: leave it away")
            if packet.is_keyframe and packet.pts is not None and packet.time_base is not None:
                keys.append(nanoseconds(packet.pts, packet.time_base) - start_ns)
    if not keys:
        raise Usage(f"{path} has no key frame, so --copy cannot cut it: leave it away")
    return np.sort(np.array(keys, np.int64))


def snapped(moments: Sequence[Moment], key_frames: NDArray[np.int64], duration_ns: int) -> list[Moment]:
    """`moments` of one video from the key frame before to the key frame behind, in the order of time.

    Those that overlap then are one: its score and shares are their means, by length. Behind the last key frame, a
    moment lasts until the end of the video, `duration_ns`.
    """
    edges = np.append(key_frames, max(duration_ns, int(key_frames[-1])))
    wide: list[Moment] = []
    for moment in sorted(moments, key=lambda moment: moment.start_ns):
        start = int(edges[max(0, int(np.searchsorted(key_frames, moment.start_ns, "right")) - 1)])
        end = int(edges[min(int(np.searchsorted(edges, moment.end_ns)), len(edges) - 1)])
        grown = Moment(moment.video, start, end, moment.score, moment.why, moment.must)
        if wide and start < wide[-1].end_ns:
            grown = _joined(wide.pop(), grown)
        wide.append(grown)
    return wide


def _joined(one: Moment, two: Moment) -> Moment:
    lengths = [moment.end_ns - moment.start_ns for moment in (one, two)]
    ours, theirs = (length / sum(lengths) for length in lengths)
    why = {name: ours * one.why.get(name, 0) + theirs * two.why.get(name, 0) for name in {**one.why, **two.why}}
    return Moment(
        one.video,
        one.start_ns,
        max(one.end_ns, two.end_ns),
        ours * one.score + theirs * two.score,
        dict(sorted(why.items(), key=lambda share: -share[1])),
        one.must or two.must,
    )


def _stream(mp4: OutputContainer, template: VideoStream | AudioStream, video: Video) -> Stream:
    codec = template.codec_context.codec.canonical_name
    if codec not in mp4.supported_codecs:
        raise Usage(f"{video.path} is coded in {codec}, which no MP4 holds: leave away --copy")
    stream = mp4.add_stream_from_template(template)
    stream.time_base = Fraction(1, template.rate) if isinstance(template, AudioStream) else TIME_BASE
    if isinstance(stream, VideoStream) and isinstance(template, VideoStream):
        stream.codec_context.sample_aspect_ratio = pixel_aspect(template)  # a container may know better than its codec
    return stream


def _pictures(video: Video, moments: Sequence[Moment], stream: Stream) -> Iterator[Packet[Any]]:
    """Packets at their times in the reel, in the order in which they are decoded.

    When each is decoded is worked out anew, as it would run backwards at a seam: in the order of the times at which
    they are shown, and as much earlier as the one needs that is shown soonest (ISO/IEC 14496-12, 8.6.1).
    """
    starts = begins_ns(moments)
    shown = [
        [in_ticks(begin + at_ns) for at_ns, _ in _group(video, moment)]
        for moment, begin in zip(moments, starts, strict=False)
    ]
    ahead = max(late - own for pts in shown for late, own in zip(sorted(pts), pts, strict=True))
    for moment, pts in zip(moments, shown, strict=True):
        for (_, packet), own, place in zip(_group(video, moment), pts, sorted(pts), strict=True):
            packet.stream, packet.time_base = stream, TIME_BASE
            packet.pts, packet.dts = own, place - ahead
            yield packet


def _group(video: Video, moment: Moment) -> Iterator[tuple[int, Packet[Any]]]:
    """The packets of a snapped moment's pictures, each with its time from the start of the moment, ns."""
    start_ns, length_ns = video.start_ns + moment.start_ns, moment.end_ns - moment.start_ns
    for packet in packets(Path(video.path), pictures_of, start_ns):
        if packet.pts is None or packet.time_base is None:
            continue
        at_ns = nanoseconds(packet.pts, packet.time_base) - start_ns
        if packet.is_keyframe and at_ns >= length_ns:
            return
        if at_ns >= 0:
            yield at_ns, packet


def _sounds(video: Video, moments: Sequence[Moment], stream: Stream | None) -> Iterator[Packet[Any]]:
    """Packets one behind the other, each at most half its length from where it belongs; a gap in it stays one."""
    if stream is None or stream.time_base is None:
        return
    free, rate = 0, stream.time_base.denominator  # in samples, where the next one may begin
    for moment, begin in zip(moments, begins_ns(moments), strict=False):
        start_ns = video.start_ns + moment.start_ns
        end = (begin + moment.end_ns - moment.start_ns) * rate // SECOND
        for packet in packets(Path(video.path), sound_of, start_ns):
            if packet.pts is None or packet.time_base is None:
                continue
            due = (begin + nanoseconds(packet.pts, packet.time_base) - start_ns) * rate // SECOND
            length = round((packet.duration or 0) * packet.time_base * rate)
            if abs(length - packet.stream.codec_context.frame_size) <= rate // 1000:
                length = packet.stream.codec_context.frame_size  # Matroska rounds to 1 ms
            if length > MOST_OFF * 2 * rate:
                raise Usage(f"the sound of {video.path} comes in pieces too long to stay in time: leave away --copy")
            if due < free - length // 2:
                continue
            place = free if due <= free + length // 2 else due
            if place + length // 2 > end:
                break
            packet.stream, packet.time_base, packet.duration = stream, stream.time_base, length
            packet.pts = packet.dts = place
            free = place + length
            yield packet


def _seconds(packet: Packet[Any]) -> float:
    """When it is decoded, s."""
    return float((packet.dts or 0) * (packet.time_base or 0))
