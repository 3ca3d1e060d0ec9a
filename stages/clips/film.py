"""Packets to an MP4 without encoding them again, and an MP4 in which somebody cannot be recognized any more."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.types import Packet
from stages.events.records import Sighting
from stages.mosaic import Box, cover
from stages.sources.picture import pixel_aspect, square

TICKS = 90_000  # a second
TIME_BASE = Fraction(1, TICKS)
NEAR_NS = 500_000_000  # how far from a sighting, in time, a face is still covered


def muxed(packets: Sequence[Packet]) -> bytes:
    """An MP4 of packets of one connection, the first of a key frame; its time 0 is that of the first that is shown.

    When each is to be decoded is worked out anew, as not all containers say: in the order of their times, and as much
    earlier as the one needs that is shown soonest after it comes (ISO/IEC 14496-12, 8.6.1).
    Raises av.FFmpegError, and ValueError for a codec that no MP4 holds.
    """
    file = io.BytesIO()
    with av.open(io.BytesIO(packets[0].header)) as parameters, av.open(file, "w", format="mp4") as mp4:
        stream = mp4.add_stream_from_template(parameters.streams.video[0])
        begins_ns = min(packet.pts_ns for packet in packets)
        shown = [_ticks(packet.pts_ns - begins_ns) for packet in packets]
        ordered = sorted(shown)
        ahead = max(late - own for late, own in zip(ordered, shown, strict=True))
        for packet, pts, place in zip(packets, shown, ordered, strict=True):
            unit = av.Packet(packet.data)
            unit.stream, unit.time_base, unit.is_keyframe = stream, TIME_BASE, packet.key
            unit.pts, unit.dts = pts, place - ahead
            unit.duration = _ticks(packet.duration_ns)
            mp4.mux(unit)
    return file.getvalue()


def blurred(mp4: bytes, sightings: Sequence[Sighting]) -> bytes:
    """The same pictures at the same times, encoded anew in H.264, the faces of `sightings` covered by a mosaic.

    Raises av.FFmpegError where it does not decode.
    """
    file = io.BytesIO()
    with av.open(io.BytesIO(mp4), "r") as source, av.open(file, "w", format="mp4") as target:
        video = source.streams.video[0]
        stream = target.add_stream("libx264", options={"preset": "veryfast", "crf": "20", "bf": "0"})
        assert isinstance(stream, VideoStream)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TIME_BASE
        aspect = pixel_aspect(video)
        begins_s = None  # B-frames put the first picture's time behind 0
        for frame in source.decode(video):
            width, height = square(frame, aspect)  # in which the boxes are
            if begins_s is None:
                begins_s = frame.time or 0.0
                stream.width, stream.height = width // 2 * 2, height // 2 * 2
            ticks = round(((frame.time or 0.0) - begins_s) * TICKS)
            picture = np.asarray(frame.to_ndarray(format="bgr24", width=width, height=height), np.uint8)
            for box in _boxes(sightings, ticks * 1_000_000_000 // TICKS):
                cover(picture, box)
            changed = VideoFrame.from_ndarray(picture[: stream.height, : stream.width], format="bgr24")
            changed.pts, changed.time_base = ticks, TIME_BASE
            target.mux(stream.encode(changed))
        target.mux(stream.encode())
    return file.getvalue()


def _boxes(sightings: Sequence[Sighting], at_ns: int) -> list[Box]:
    """All that is near enough in time: a face that moves is covered along its way."""
    return [sighting.box for sighting in sightings if abs(sighting.at_ns - at_ns) <= NEAR_NS]


def _ticks(ns: int) -> int:
    return (ns * TICKS + 500_000_000) // 1_000_000_000
