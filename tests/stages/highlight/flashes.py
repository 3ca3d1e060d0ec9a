"""Films in which a white flash and a beep begin together, and when they begin in what was made of such a film."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from stages.highlight.timeline import SECOND, Moment, Reel, Timeline, Video
from stages.highlight.videos import facts
from stages.sources.recording import Recording

SIZE = (160, 96)
LASTS_S = 0.1  # a flash, and a beep
TONE_HZ = 1000
TICKS = 90_000
STEADY = tuple(i / 25 for i in range(250))  # s: the times of the frames of 10 s


def film(
    path: Path,
    flashes: Sequence[float],
    times: Sequence[float] = STEADY,
    rate: int = 48_000,
    sound_from: float | None = 0.0,
    options: dict[str, str] | None = None,
    sound_codec: str = "aac",
    codec: str = "libx264",
    sound_gap: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """Frames at `times`, white for a while from each of `flashes` on, and a beep with each."""
    options = {"g": "25", "threads": "1", "sc_threshold": "0", "preset": "ultrafast", **(options or {})}
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(codec, options=options if codec == "libx264" else {"g": "25"})
        assert isinstance(pictures, VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, TICKS)
        pictures.codec_context.framerate = Fraction(25)
        sounds = container.add_stream(sound_codec, rate=rate, layout="mono") if sound_from is not None else None
        for at_s in times:
            white = any(flash <= at_s + 1e-6 < flash + LASTS_S for flash in flashes)
            grey = np.full((SIZE[1], SIZE[0], 3), 255 if white else 0, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(at_s * TICKS), Fraction(1, TICKS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if isinstance(sounds, AudioStream) and sound_from is not None:
            at_s = np.arange(int(times[-1] * rate)) / rate
            last = np.searchsorted(flashes, at_s + 1e-9, "right")
            since = at_s - np.concatenate(([-9.0], flashes))[last]
            wave = np.where(since < LASTS_S, 0.8 * np.sin(2 * np.pi * TONE_HZ * since), 0).astype(np.float32)
            for begin in range(int(sound_from * rate), len(wave) - 1024, 1024):
                if sound_gap[0] <= begin / rate < sound_gap[1]:
                    continue
                piece = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = rate, begin, Fraction(1, rate)
                container.mux(sounds.encode(piece))
            container.mux(sounds.encode(None))
    return path


def without_its_sound(path: Path) -> Path:
    """The MPEG-TS beside `path`, in which the sound is announced and does not come."""
    packets = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188)  # ISO/IEC 13818-1, 2.4.3.2
    pids = packets[:, 1].astype(int) % 32 * 256 + packets[:, 2]
    with av.open(str(path)) as container:
        announced = container.streams.audio[0].id
    silent = path.with_stem("silent")
    silent.write_bytes(packets[pids != announced].tobytes())
    return silent


def seen_and_heard(path: Path) -> tuple[list[float], list[float]]:
    """When flashes begin and when beeps begin in a film, s of its own time."""
    with av.open(f"file:{path}") as container:
        shown = [(frame.time, frame.to_ndarray(format="gray").mean() > 128) for frame in container.decode(video=0)]
    flashes = [at for (_, before), (at, white) in pairwise([(0.0, False), *shown]) if white and not before]
    with av.open(f"file:{path}") as container:
        if not container.streams.audio:
            return flashes, []
        loud: list[float] = [-9.0]
        for frame in container.decode(audio=0):
            level = np.abs(np.asarray(frame.to_ndarray(), np.float32)).reshape(-1, frame.samples)[0]
            loud += (frame.time + np.flatnonzero(level > 0.25) / frame.sample_rate).tolist()
    beeps = [at for before, at in pairwise(loud) if at - before > LASTS_S / 2]
    return flashes, beeps


def timeline(path: Path, **known: Any) -> Timeline:
    """What capture would know of the film; the rest is empty but for `known`."""
    width, height, sound, _ = facts(path)
    times = [picture.pts_ns for picture in Recording(path, 1, None) if picture]
    duration = times[-1] - times[0] + SECOND // 25
    seconds = -(-duration // SECOND)
    nothing = np.zeros(0, np.int64)
    fields: dict[str, Any] = {
        "video": Video(str(path), "0" * 64, width, height, times[0], duration, len(times), sound),
        "signals": {},
        "cuts_ns": nothing,
        "pauses_ns": nothing.reshape(0, 2),
        "centre": np.full(seconds, np.nan, np.float32),
        "look": np.zeros((seconds, 1), np.float32),
        "known": {},
    }
    return Timeline(**{**fields, **known})


def moment(video: int, start_s: float, end_s: float, **why: float) -> Moment:
    return Moment(video, round(start_s * SECOND), round(end_s * SECOND), 0.5, why, False)


def reel(timelines: list[Timeline], moments: list[Moment]) -> Reel:
    return Reel(timelines, [], moments, "sports", {})
