"""The clips of ../shared/data/videos joined into one file, and where each lies in it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stages.show.video import letterbox

SIZE, RATE, SOUND = (640, 360), 15, 48_000  # (width, height), frames a second, samples a second
NEGATIVES = ("bottle-detection.mp4", "car-detection.mp4")  # no people: MANIFEST.md


class Piece(NamedTuple):
    """A clip in the joined file, in seconds."""

    name: str
    start: float
    end: float


def join(folder: Path, path: Path, longest: float) -> list[Piece]:
    """Write the first `longest` seconds of each clip of `folder`, by name, with its sound, into `path`."""
    pieces: list[Piece] = []
    frames = 0
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = target.add_stream("aac", rate=SOUND, layout="mono")
        samples = 0
        for clip in sorted(path for path in folder.iterdir() if path.suffix in (".avi", ".gif", ".mp4")):
            pictures, noise = _pictures(clip, longest), _noise(clip, longest)
            for picture in pictures:
                frame = VideoFrame.from_ndarray(letterbox(picture, SIZE), format="bgr24")
                frame.pts, frame.time_base = frames, Fraction(1, RATE)
                frames += 1
                target.mux(video.encode(frame))
            whole = np.zeros(frames * SOUND // RATE - samples, np.float32)
            whole[: len(noise)] = noise[: len(whole)]
            for start in range(0, len(whole), 1024):
                part = av.AudioFrame.from_ndarray(whole[None, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = SOUND, samples + start, Fraction(1, SOUND)
                target.mux(sound.encode(part))
            samples += len(whole)
            pieces.append(Piece(clip.name, (frames - len(pictures)) / RATE, frames / RATE))
        target.mux(video.encode(None))
        target.mux(sound.encode(None))
    return pieces


def _pictures(clip: Path, longest: float) -> list[NDArray[np.uint8]]:
    """Its pictures at RATE."""
    found: list[NDArray[np.uint8]] = []
    with av.open(str(clip)) as container:
        begin = None
        for frame in container.decode(video=0):
            begin = frame.time if begin is None else begin
            at = (frame.time or 0) - (begin or 0)
            if at >= longest:
                break
            picture = None
            while len(found) <= at * RATE:
                picture = frame.to_ndarray(format="bgr24") if picture is None else picture
                found.append(picture)
    return found


def _noise(clip: Path, longest: float) -> NDArray[np.float32]:
    """Its sound, mono."""
    with av.open(str(clip)) as container:
        if not container.streams.audio:
            return np.empty(0, np.float32)
        resampler = av.AudioResampler("fltp", "mono", SOUND)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts)[: round(longest * SOUND)]
