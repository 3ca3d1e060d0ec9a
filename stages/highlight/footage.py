"""The packets, the frames and the sound of a stretch of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av import AudioFrame, FFmpegError, Packet, VideoFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.stream import Stream
from av.video.stream import VideoStream

from stages.highlight.timeline import SECOND, Floats, Video
from stages.show.video import TICKS
from stages.sources.media import audio_stream, open_file, video_stream
from stages.sources.picture import nanoseconds, pixel_aspect, ticks
from stages.sources.recording import STEPS_BACK_NS, Clock

RATE = 48_000  # samples a second
CHANNELS = 2
TICK_NS = -(-SECOND // TICKS)  # a reel cannot tell two frames apart that are nearer to each other
PREROLL_NS = SECOND // 5  # Opus needs 80 ms before the first sample that is right (RFC 7845, 4.6), AAC a packet
# Gaps become silence, overlaps are cut. Less than 10 ms is neither: Matroska rounds times to 1 ms.
ON_TIME = "async=1:min_comp=0.00001:min_hard_comp=0.01"


def samples(at_ns: int) -> int:
    """The number of the sample that is due at `at_ns`."""
    return round(at_ns * RATE / SECOND)


def frames(video: Video, start_ns: int, end_ns: int) -> Iterator[tuple[int, VideoFrame, Fraction]]:
    """What is to be seen in [start, end): the time, ns from the first frame of the video, a frame, its `pixel_aspect`.

    Where none begins right there, the one from before, which still stands, comes first, at `start_ns`. Raises Failed
    where the file cannot be read.
    """
    clock: Clock | None = None
    standing: VideoFrame | None = None
    for stream, frame in _decoded(Path(video.path), pictures_of, video.start_ns + start_ns):
        assert isinstance(stream, VideoStream)
        assert isinstance(frame, VideoFrame)
        clock, aspect = clock or Clock(stream), pixel_aspect(stream)
        at_ns = clock.stamp(frame) - video.start_ns
        if at_ns >= end_ns:
            break
        if at_ns < start_ns:
            standing = frame
            continue
        if standing and at_ns - start_ns >= TICK_NS:
            yield start_ns, standing, aspect
        standing = None
        yield at_ns, frame, aspect
    if standing:
        yield start_ns, standing, aspect


def sound(video: Video, start_ns: int, count: int) -> Iterator[Floats]:
    """(2, n) -1..1 at 48 kHz, `count` samples together, the first of them at `start_ns`; silence where there is none.

    Raises Failed where the file cannot be read.
    """
    left = count
    if video.sound:
        begins_ns = video.start_ns + start_ns
        for part in _resampled(Path(video.path), begins_ns, begins_ns + count * SECOND // RATE):
            yield part[:, :left]
            left -= min(left, part.shape[1])
            if not left:
                return
    while left:
        yield np.zeros((CHANNELS, min(left, RATE)), np.float32)
        left -= min(left, RATE)


def packets(path: Path, choose: Callable[[InputContainer], Stream], at_ns: int) -> Iterator[Packet[Any]]:
    """The packets of a stream from a key frame at or before `at_ns`, its own time; where no seek lands there, all.

    Raises Failed where the file cannot be opened. A damaged file ends where it cannot be read any more.
    """
    for back_ns in (*STEPS_BACK_NS, None):
        with open_file(path) as container:
            stream = choose(container)
            landed = [] if back_ns is None else _landed(container, stream, at_ns, back_ns)
            if landed or back_ns is None:
                with suppress(FFmpegError):
                    yield from landed
                    yield from container.demux(stream)
                return


def _landed(container: InputContainer, stream: Stream, at_ns: int, back_ns: int) -> list[Packet[Any]]:
    """The packet to which a seek leads, `back_ns` before `at_ns`; none where it is too late, or no key frame."""
    with suppress(FFmpegError):
        container.seek(ticks(at_ns - back_ns, _base(stream)), stream=stream)
        first = next(container.demux(stream), None)
        if first and first.is_keyframe and first.pts is not None and nanoseconds(first.pts, _base(stream)) <= at_ns:
            return [first]
    return []


def pictures_of(container: InputContainer) -> VideoStream:
    """The video stream that is watched."""
    return video_stream(container, container.name.removeprefix("file:"), 0, "AUTO")


def sound_of(container: InputContainer) -> AudioStream:
    """The audio stream that is heard; there has to be one."""
    stream = audio_stream(container)
    assert stream is not None
    return stream


def _decoded(
    path: Path, choose: Callable[[InputContainer], Stream], at_ns: int
) -> Iterator[tuple[Stream, VideoFrame | AudioFrame]]:
    for packet in packets(path, choose, at_ns):
        with suppress(FFmpegError):  # as capture, which passes over what does not decode
            for frame in packet.decode():
                yield packet.stream, frame


def _resampled(path: Path, start_ns: int, end_ns: int) -> Iterator[Floats]:
    """(2, n) from the stream's own time `start_ns` on, without a gap, until the stream ends or is past `end_ns`."""
    graph, kind, due = None, None, samples(start_ns)
    for stream, frame in _decoded(path, sound_of, start_ns - PREROLL_NS):
        assert isinstance(frame, AudioFrame)
        if frame.pts is not None and nanoseconds(frame.pts, _base(stream)) >= end_ns:
            break
        if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):  # broadcasts change it
            for part in _pushed(graph, None):
                due += part.shape[1]
                yield part
            graph = _resampler(frame, _base(stream), due)
        for part in _pushed(graph, frame):
            due += part.shape[1]
            yield part
    yield from _pushed(graph, None)


def _resampler(frame: AudioFrame, base: Fraction, due: int) -> Graph:
    """Frames like `frame` to RATE, mono or stereo; what comes out begins with sample `due` of the stream's time."""
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=base
    )
    first = round(due * frame.sample_rate / RATE)  # FFmpeg counts it in samples of what comes in
    resample = graph.add("aresample", f"{RATE}:{ON_TIME}:first_pts={first}")
    layout = "mono" if frame.layout.nb_channels == 1 else "stereo"  # FFmpeg makes stereo of mono 3 dB quieter
    form = graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}")
    graph.link_nodes(source, resample, form, graph.add("abuffersink")).configure()
    return graph


def _pushed(graph: Graph | None, frame: AudioFrame | None) -> Iterator[Floats]:
    """What comes out when `frame` is put in; for None, what is still inside."""
    if graph is None:
        return
    graph.push(frame)
    with suppress(BlockingIOError, EOFError):
        while True:
            part = graph.pull()
            assert isinstance(part, AudioFrame)
            yield np.broadcast_to(np.asarray(part.to_ndarray(), np.float32), (CHANNELS, part.samples))


def _base(stream: Stream) -> Fraction:
    """Its tick, s."""
    assert stream.time_base is not None
    return stream.time_base
