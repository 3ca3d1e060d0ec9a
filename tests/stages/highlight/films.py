"""Video files made for tests."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

RATE = 48_000


def film(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    rate: int = 25,
    times: Iterable[float] | None = None,
    sound: NDArray[np.float32] | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Write `pictures` (H, W, 3) BGR at `rate`, or at `times` in seconds, and `sound` (N,) at 48 kHz into `path`."""
    with av.open(f"file:{path}", "w") as container:
        stream: VideoStream | None = None
        audio: AudioStream | None = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=options or {"preset": "ultrafast"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
                if sound is not None:
                    audio = container.add_stream("aac", rate=RATE, layout="mono")
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            at = number / rate if times is None else list(times)[number]
            frame.pts, frame.time_base = round(at * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
        if audio is not None and sound is not None:
            for start in range(0, len(sound), 1024):
                part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path


def textured(count: int, size: tuple[int, int] = (160, 96), seed: int = 0) -> list[NDArray[np.uint8]]:
    """`count` pictures of (width, height) of a scene over which a square moves."""
    random = np.random.default_rng(seed)
    width, height = size
    ground = cv2.resize(random.integers(0, 255, (height // 8, width // 8, 3), np.uint8), size)
    pictures = []
    for number in range(count):
        picture = ground.copy()
        left = number * 3 % (width - 20)
        picture[20:40, left : left + 20] = (255, 255, 255)
        pictures.append(picture)
    return pictures
