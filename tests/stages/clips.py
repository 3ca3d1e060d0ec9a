"""Clips for the tests of capture, made on the spot: each frame shows its number as black and white blocks."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.frames import Mark, RingInfo, RingReader, RingWriter, allocate
from pipeline.types import Frame
from stages.capture import Capture

BITS = 8
FORMATS = ("mp4", "mkv", "ts", "avi", "gif", "webm", "h264")
_CODECS = {"avi": "mpeg4", "gif": "gif", "webm": "libvpx"}
_X264 = {"preset": "ultrafast", "bf": "2", "x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0"}


def picture(number: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR: the bits of `number` side by side, the lowest first, over a coloured lower half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :] = (200, 40 + number % 160, 60)
    for bit in range(BITS):
        image[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (number >> bit & 1)
    return image


def vast_png() -> bytes:
    """A PNG of 20,000 x 20,000 black pixels, of one bit each, in 49 kB."""
    side = 20_000
    rows = zlib.compress(bytes((1 + side // 8) * side), 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def number(image: NDArray[np.uint8]) -> int:
    """The number that a decoded `picture` shows."""
    height, width = image.shape[:2]
    middles = [image[height // 4, (2 * bit + 1) * width // (2 * BITS)].mean() for bit in range(BITS)]
    return sum(int(level > 127) << bit for bit, level in enumerate(middles))


def film(
    path: Path,
    frames: int = 40,
    size: tuple[int, int] = (160, 96),
    rotation: int = 0,
    faststart: bool = False,
    first: int = 0,
    closed: bool = False,
    aspect: Fraction = Fraction(1),
) -> Path:
    """Write `frames` pictures of `size` (width, height), 25 a second, in the container that the name asks for.

    `aspect`: of a pixel, width to height. `closed`: no picture of H.264 needs the group of pictures before its own.
    """
    codec = _CODECS.get(path.suffix[1:], "libx264")
    container_options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=container_options) as container:
        x264 = {**_X264, "x264-params": _X264["x264-params"].replace("open-gop=1", f"open-gop={int(not closed)}")}
        options = x264 if codec == "libx264" else {"g": "12", **({"bf": "2"} if codec == "mpeg4" else {})}
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.thread_count = 1
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(first, first + frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="bgr24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return path


class Rings:
    """Makes real rings when capture asks for them, and reads their frames."""

    def __init__(self) -> None:
        self.infos: dict[int, RingInfo] = {}
        self.writer: RingWriter | None = None
        self._descriptors: list[int] = []
        self._reader = RingReader(self.infos.get)

    def __call__(self, width: int, height: int) -> RingWriter:
        descriptor, info = allocate("clip", width, height, slots=4)
        self._descriptors.append(descriptor)
        self.infos[info.id] = info
        self.writer = RingWriter(info)
        return self.writer

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """A copy of the frame's pixels, (height, width, 3) uint8 BGR."""
        with self._reader.view(frame) as pixels:
            return pixels.copy()

    def mark(self) -> Mark:
        """Where capture stands now, as a killed one would leave it."""
        assert self.writer is not None
        mark = self.writer.mark()
        assert mark is not None
        return mark

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


@dataclass
class Seen:
    """A frame, its pixels, and where capture stood after it."""

    frame: Frame
    pixels: NDArray[np.uint8]
    mark: Mark

    @property
    def told(self) -> tuple[int, int, int, int, bytes]:
        """All that has to be the same after a restart."""
        return self.frame.seq, self.frame.pts_ns, self.mark.key_seq, self.mark.key_pts_ns, self.pixels.tobytes()


def watch(capture: Capture, rings: Rings) -> Iterator[Seen]:
    """Every frame that `capture` gives."""
    for frame in capture:
        if frame is not None:
            yield Seen(frame, rings.pixels(frame), rings.mark())
