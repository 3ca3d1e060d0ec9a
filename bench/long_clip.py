"""A clip for `highlights`: the sample again and again, small, with sound."""

from __future__ import annotations

from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np

from bench.command import CLIP

SECONDS, WIDTH, HEIGHT, RATE = 60, 640, 360, 25
SOUND, LOUD = 48_000, 0.1  # samples a second; noise, full scale is 1


def make(path: Path) -> None:
    """Write it: H.264 and AAC."""
    with av.open(str(CLIP)) as sample:
        pictures = [frame.reformat(WIDTH, HEIGHT, "yuv420p") for frame in sample.decode(video=0)]
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as clip:
        video = clip.add_stream("libx264", RATE, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = clip.add_stream("aac", SOUND, layout="mono")
        for number, picture in enumerate(islice(cycle(pictures), SECONDS * RATE)):
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            picture.pict_type = 0  # of the sample's own kinds of frames nothing is kept
            clip.mux(video.encode(picture))
            wave = noise.normal(0, LOUD, (1, SOUND // RATE)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SOUND, number * SOUND // RATE, Fraction(1, SOUND)
            clip.mux(audio.encode(sound))
        clip.mux(video.encode(None))
        clip.mux(audio.encode(None))
