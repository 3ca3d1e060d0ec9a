"""The compressed stream beside its pictures: packets as they were read, for who records without encoding again."""

from __future__ import annotations

import io
import time
from collections import deque
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet as Unit
from av.video.stream import VideoStream

from pipeline.types import Packet
from stages.sources.picture import nanoseconds

MOST_HELD = 250  # packets before the first picture of a connection: until then nobody knows its times
RAW = ("rawvideo", "wrapped_avframe")  # what is not compressed: a second of it is as large as an hour of H.264


class Packets:
    """Written where a source is read, which may be a thread; taken by the engine's."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.shift_ns = 0  # added to all times: of a file that is played once more
        self._number = 0
        self._header = b""
        self._held: deque[tuple[Unit[Any], int]] = deque(maxlen=MOST_HELD)
        self._ready: deque[Packet] = deque()

    def open(self, stream: VideoStream) -> None:
        """A connection begins."""
        self._held.clear()
        self._header = b"" if stream.codec_context.name in RAW else _header(stream)

    def add(self, unit: Unit[Any], offset_ns: int | None) -> None:
        """A packet was read; `offset_ns` is from its own time to that of the frames, None where none is known yet."""
        if not self._header or not unit.size:
            return
        self._held.append((unit, time.monotonic_ns()))
        while offset_ns is not None and self._held:
            held, read_ns = self._held.popleft()
            if (packet := self._packet(held, read_ns, offset_ns)) is not None:
                self._ready.append(packet)

    def take(self) -> list[Packet]:
        """What has come since the last time."""
        return [self._ready.popleft() for _ in range(len(self._ready))]

    def _packet(self, unit: Unit[Any], read_ns: int, offset_ns: int) -> Packet | None:
        base, pts = unit.time_base, unit.pts if unit.pts is not None else unit.dts
        if base is None or pts is None:
            return None  # a raw stream in a file has no times
        self._number += 1
        return Packet(
            source=self._source,
            number=self._number - 1,
            read_ns=read_ns,
            pts_ns=nanoseconds(pts, base) + offset_ns + self.shift_ns,
            duration_ns=nanoseconds(unit.duration or 0, base),
            key=unit.is_keyframe,
            header=self._header if unit.is_keyframe else b"",
            data=bytes(unit),
        )


def _header(stream: VideoStream) -> bytes:
    """A NUT file that has the codec parameters of `stream`: the container that keeps those of any codec as they are."""
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as nut:
        copy = nut.add_stream_from_template(stream)
        nothing = av.Packet(b"\0")  # without a packet it would be a file that cannot be opened
        nothing.stream, nothing.time_base, nothing.pts, nothing.dts = copy, Fraction(1, 1000), 0, 0
        nothing.is_keyframe = True
        nut.mux(nothing)
    return file.getvalue()
