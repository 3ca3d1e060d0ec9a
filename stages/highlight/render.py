"""The reel as one video, encoded anew: frames at their own times, and sound that stays with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from heapq import merge
from pathlib import Path

import numpy as np
from av import AudioFrame, VideoFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.frame import Frame
from av.video.frame import PictureType
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from stages.highlight.canvas import Canvas, even
from stages.highlight.footage import CHANNELS, RATE, frames, samples, sound
from stages.highlight.reelfile import begins_ns, in_ticks, reel_file
from stages.highlight.timeline import SECOND, Floats, Reel, Video
from stages.highlight.vertical import SHAPE, TALLEST, crop_path
from stages.show.video import BT709, LARGEST, SMALLEST, STUDIO_RANGE, TIME_BASE

BT601 = 6  # FFmpeg's number of the matrix
BLOCK = 1024  # samples of an AAC packet (ISO/IEC 14496-3)
BIT_RATE = "160000"  # of the sound
PRESET, CRF = "veryfast", "20"
FADE = RATE * 8 // 1000  # samples, 8 ms: a seam without it clicks


def render(reel: Reel, out: Path, *, vertical: bool, progress: Callable[[float], None]) -> None:
    """Write the reel to `out`: MP4, H.264 and AAC, in the size of its first video; `vertical` cuts it to 9:16.

    `progress` hears how much is done, 0..1. A reel of videos without sound has no audio stream.
    Raises Usage where `out` is one of the videos, Failed where one cannot be read or `out` cannot be written.
    """
    with reel_file(out, reel) as mp4:
        length_ns = begins_ns(reel.moments)[-1]
        canvas = Canvas(_size(_videos(reel)[0], vertical), fill=vertical)
        audible = any(video.sound for video in _videos(reel))
        picture, audio = _picture_stream(mp4, canvas), _sound_stream(mp4) if audible else None
        pictures = _lasting(_pictures(reel, canvas, vertical), in_ticks(length_ns))
        for frame in merge(pictures, _blocks(reel) if audible else (), key=_seconds):
            if isinstance(frame, VideoFrame):
                mp4.mux(picture.encode(frame))
                progress(_seconds(frame) * SECOND / length_ns)
            elif audio and isinstance(frame, AudioFrame):
                mp4.mux(audio.encode(frame))
        for stream in (picture, audio):
            if stream:
                mp4.mux(stream.encode(None))
    progress(1.0)


def _videos(reel: Reel) -> list[Video]:
    """Of each moment."""
    return [reel.timelines[moment.video].video for moment in reel.moments]


def _size(first: Video, vertical: bool) -> tuple[int, int]:
    """Width and height of a reel that begins with that video, both even."""
    most = TALLEST / first.height if vertical else LARGEST / max(first.width, first.height)
    scale = min(1.0, most)
    width, height = first.height * SHAPE if vertical else first.width, first.height
    return max(SMALLEST, even(width * scale)), max(SMALLEST, even(height * scale))


def _picture_stream(mp4: OutputContainer, canvas: Canvas) -> VideoStream:
    # No B-frames: of the last packet's duration an MP4 makes its own, and that would be some other picture's.
    stream = mp4.add_stream("libx264", options={"preset": PRESET, "crf": CRF, "forced-idr": "1", "bf": "0"})
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = canvas.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = TIME_BASE
    stream.codec_context.flags |= Flags.frame_duration
    stream.codec_context.framerate = Fraction(30)  # for the level only: the pictures' own times count
    stream.codec_context.colorspace = BT709 if canvas.matrix == Colorspace.ITU709 else BT601
    stream.codec_context.color_range = STUDIO_RANGE
    stream.codec_context.color_primaries = stream.codec_context.color_trc = BT709
    return stream


def _sound_stream(mp4: OutputContainer) -> AudioStream:
    stream = mp4.add_stream("aac", rate=RATE, options={"b": BIT_RATE}, layout="stereo")
    assert isinstance(stream, AudioStream)
    return stream


def _pictures(reel: Reel, canvas: Canvas, vertical: bool) -> Iterator[VideoFrame]:
    """All pictures at their times in the reel, strictly rising; a key frame, to be jumped to, where a moment begins."""
    last = -1
    for moment, begins in zip(reel.moments, begins_ns(reel.moments), strict=False):
        timeline = reel.timelines[moment.video]
        centre = crop_path(timeline, moment) if vertical else None
        kind = PictureType.I
        for at_ns, frame, aspect in frames(timeline.video, moment.start_ns, moment.end_ns):
            due = in_ticks(begins + at_ns - moment.start_ns)
            if kind == PictureType.I:  # also where all before it is damaged: no picture of another moment stands here
                due = max(in_ticks(begins), last + 1)
            if due <= last:
                continue  # two frames in one tick of the clock, in a damaged file
            picture = canvas(frame, aspect, centre(at_ns) if centre else 0.5)
            picture.pts, picture.time_base, picture.pict_type = due, TIME_BASE, kind
            yield picture
            last, kind = due, PictureType.NONE


def _lasting(pictures: Iterator[VideoFrame], end: int) -> Iterator[VideoFrame]:
    """Each stands until the next one comes, the last until `end`, in ticks."""
    last = None
    for picture in pictures:
        if last:
            last.duration = (picture.pts or 0) - (last.pts or 0)
            yield last
        last = picture
    if last:
        last.duration = end - (last.pts or 0)
        yield last


def _blocks(reel: Reel) -> Iterator[AudioFrame]:
    """The sound of the reel, as long as the reel, in pieces as AAC takes them."""
    at, waiting = 0, np.zeros((CHANNELS, 0), np.float32)
    for part in _faded(reel):
        waiting = np.concatenate((waiting, part), axis=1)
        while waiting.shape[1] >= BLOCK:
            yield _block(waiting[:, :BLOCK], at)
            at, waiting = at + BLOCK, waiting[:, BLOCK:]
    if waiting.shape[1]:
        yield _block(waiting, at)


def _block(part: Floats, at: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
    return frame


def _faded(reel: Reel) -> Iterator[Floats]:
    """(2, n) of all moments, one behind the other, each of them faded in and out."""
    edges = [samples(at_ns) for at_ns in begins_ns(reel.moments)]
    for moment, video, begin, end in zip(reel.moments, _videos(reel), edges, edges[1:], strict=False):
        at, count = 0, end - begin
        for part in sound(video, moment.start_ns, count):
            place = np.arange(at, at + part.shape[1], dtype=np.float32)
            yield part * np.clip(np.minimum(place, count - 1 - place) / FADE, 0, 1)
            at += part.shape[1]


def _seconds(frame: Frame) -> float:
    """When it is due in the reel."""
    return frame.time or 0.0
