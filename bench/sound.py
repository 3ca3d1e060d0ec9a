"""How well speech and a crowd are told from the rest, and how fast: on synthetic sounds only, in pink noise.

Speech is espeak-ng's, in five voices; a crowd is the sum of the claps of 30 and of 300 people; the rest is chords,
drums, both, white noise and a hum. Real ones differ: see the docstring of stages/highlight/acoustics.py.
"""

from __future__ import annotations

import io
import subprocess
import sys
import wave
from time import process_time

import numpy as np
from numpy.typing import NDArray

from bench.table import Row, report
from stages.highlight.acoustics import COLUMNS, HOP, MARGIN, RATE, Floats, measure

Sound = NDArray[np.float64]
VOICES = (("en-us", 150), ("en-gb+f3", 175), ("de+m3", 200), ("en+f2", 230), ("fr+m5", 130))  # and words a minute
TEXT = (
    "Ladies and gentlemen, this is the second half of a match that nobody will forget. He passes to the left, she "
    "runs, and there it is. What a goal! The referee looks at his watch. Forty minutes to play."
)
SECONDS = 10
SNR_DB = (None, 20, 10, 5)
LEVEL = 0.1  # RMS of every sound, full scale 1
HEARD_DB = 25.0  # below its loudest, a hop is a pause: neither speech nor anything else
REPEATS = 9
T = np.arange(SECONDS * RATE) / RATE


def spoken(voice: str, speed: int) -> Sound:
    """The text as espeak-ng says it."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", TEXT]
    with wave.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as file:
        samples = np.frombuffer(file.readframes(1 << 30), np.int16) / 32768
        rate = file.getframerate()
    spectrum = np.fft.rfft(samples)
    size = len(samples) * RATE // rate
    resampled: Sound = np.fft.irfft(spectrum[: size // 2 + 1], size)
    return resampled


def applause(people: int, rng: np.random.Generator) -> Sound:
    """Each claps 2.5 to 5 times a second; a clap is a burst of noise and a resonance of the hollow hands."""
    sound = np.zeros((SECONDS + 1) * RATE)
    time = np.arange(RATE // 25) / RATE
    for _ in range(people):
        hertz, quality = rng.uniform(600, 2500), rng.uniform(1, 3)
        clap = 0.5 * rng.normal(size=len(time)) * np.exp(-time / 0.004)
        clap += np.sin(2 * np.pi * hertz * time) * np.exp(-np.pi * hertz / quality * time)
        period = 1 / rng.uniform(2.5, 5)
        times = rng.uniform(0, period) + period * np.cumsum(1 + 0.05 * rng.normal(size=int(SECONDS / period)))
        for first in (times[times < SECONDS] * RATE).astype(int):
            sound[first : first + len(clap)] += clap * 10 ** (rng.normal(0, 4) / 20)
    return sound[: SECONDS * RATE]


def others(rng: np.random.Generator) -> list[Sound]:
    """What is neither."""
    beat = T % 0.25
    chord = np.array([(220, 277, 330), (196, 247, 294), (175, 220, 262), (165, 208, 247)])[(T * 2).astype(int) % 4].T
    tones = sum(np.sin(2 * np.pi * number * chord * T).sum(axis=0) / number for number in range(1, 8))
    chords = tones * np.exp(-2 * (T % 0.5))
    drums = rng.normal(size=len(T)) * np.exp(-beat * 60) + 5 * np.sin(2 * np.pi * 55 * T) * np.exp(-(T % 1) * 15)
    hum = sum(np.sin(2 * np.pi * 50 * number * T) / number for number in range(1, 30))
    return [chords, drums, chords / chords.std() + drums / drums.std(), rng.normal(size=len(T)), np.asarray(hum)]


def pink(size: int, rng: np.random.Generator) -> Sound:
    """Noise of the same power in each octave, RMS 1."""
    spectrum = np.fft.rfft(rng.normal(size=size)) / np.sqrt(np.maximum(np.arange(size // 2 + 1), 1))
    noise = np.fft.irfft(spectrum, size)
    unit: Sound = noise / noise.std()
    return unit


def rows(sound: Sound, snr: int | None, rng: np.random.Generator) -> Floats:
    """(H, 4) of those hops in which the sound itself is to be heard."""
    clean = (sound[: len(sound) // HOP * HOP] / sound.std() * LEVEL).astype(np.float32)
    noise = 0 if snr is None else pink(len(clean), rng) * LEVEL * 10 ** (-snr / 20)
    level = 10 * np.log10(np.square(clean).reshape(-1, HOP).mean(axis=1) + 1e-12)
    found = measure(np.pad((clean + noise).astype(np.float32), MARGIN * HOP, "symmetric"))
    heard: Floats = found[level > level.max() - HEARD_DB]
    return heard


def area(positive: Floats, negative: Floats) -> float:
    """Under the ROC curve: how often a hop of the one kind has the higher value; a tie is half."""
    below = np.searchsorted(np.sort(negative), positive, "left") + np.searchsorted(np.sort(negative), positive, "right")
    return float(below.mean()) / 2 / len(negative)


def accuracy(snr: int | None) -> list[Row]:
    """The rows of one amount of noise."""
    rng = np.random.default_rng(0)
    sounds = {
        "speech": [spoken(*voice) for voice in VOICES],
        "crowd": [applause(people, rng) for people in (30, 300)],
        "other": others(rng),
    }
    found = {kind: np.concatenate([rows(sound, snr, rng) for sound in each]) for kind, each in sounds.items()}
    noise = "no noise" if snr is None else f"SNR {snr} dB"
    figures = []
    for kind in ("speech", "crowd"):
        column = COLUMNS.index(kind)
        rest = np.concatenate([each[:, column] for name, each in found.items() if name != kind])
        own = found[kind][:, column]
        figures += [
            Row(f"{kind}, {noise}: area under the ROC curve", area(own, rest), ""),
            Row(f"{kind}, {noise}: hops of it at 0.5 or more", 100 * float((own >= 0.5).mean()), "%"),
            Row(f"{kind}, {noise}: other hops at 0.5 or more", 100 * float((rest >= 0.5).mean()), "%"),
        ]
    return figures


def speed() -> Row:
    """Seconds of sound measured in a second of one core, decoding not counted."""
    sound = np.random.default_rng(0).normal(0, LEVEL, SECONDS * RATE + 2 * MARGIN * HOP).astype(np.float32)
    times = []
    for _ in range(REPEATS):
        began = process_time()
        measure(sound)
        times.append(process_time() - began)
    return Row("speed: of what is heard, on one core", SECONDS / float(np.median(times)), "x", ">= 100")


def main() -> int:
    """Run it all."""
    figures = [row for snr in SNR_DB for row in accuracy(snr)]
    notes = ["All sounds are synthetic; the noise is pink; a hop is 100 ms."]
    return report("sound", [*figures, speed()], versions=("numpy",), notes=notes)


if __name__ == "__main__":
    sys.exit(main())
