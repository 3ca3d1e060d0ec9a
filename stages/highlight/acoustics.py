"""What is to be heard in 16 kHz mono sound, each 100 ms: loudness, onsets, a crowd, speech. No network, no state.

Speech is told by its syllables, which change the level about four times a second, and by a pitch that comes, goes and
glides (Scheirer & Slaney, "Construction and evaluation of a robust multifeature speech/music discriminator", 1997);
a crowd by a broad, fairly steady noise without a pitch. The bounds were set by hand on recordings of both, of music
and of noise; python -m bench.sound measures them on synthetic sounds. Some singing and the laughter of one person count
as speech, a hiss behind drums may count as a crowd, and an "ooh" of many voices, which has a pitch, is none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE = 16_000  # Hz
HOP = RATE // 10  # samples of a row
HOP_NS = 100_000_000
PAUSE_NS = 3 * HOP_NS  # shorter ones lie between words
MARGIN = 20  # hops on either side that a row depends on
FLOOR_DB = -100.0
COLUMNS = ("loudness", "onsets", "crowd", "speech")

Floats = NDArray[np.float32]
STEP = RATE // 100  # samples between spectra
PER_HOP = HOP // STEP
WINDOW, FFT = 4 * STEP, 1024  # 40 ms hold three periods of a deep voice
LAGS = RATE // 400, RATE // 70  # samples: a pitch of 70 to 400 Hz
SPAN = 10  # hops on either side that tell whether this is speech, or a crowd
QUIET_DB = -65.0  # of the speech band: nothing below it is speech

# ITU-R BS.1770-5, annex 1: the two filters of the K-weighting at 48 kHz, and the level of 0 LKFS
SHELF = (1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)
HIGH_PASS = (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)
LKFS = -0.691

SPEECH_BAND = slice(250 * FFT // RATE, 4000 * FFT // RATE)
PITCH_BAND = slice(60 * FFT // RATE, 2000 * FFT // RATE)
OCTAVES = [slice(low * FFT // RATE, high * FFT // RATE) for low, high in ((1000, 2000), (2000, 4000), (4000, 7000))]
LOW, MIDDLE, HIGH = (slice(500 * FFT // RATE), slice(500 * FFT // RATE, None), slice(4000 * FFT // RATE, None))
ONSET_EDGES = (np.geomspace(100, 7600, 25) * FFT / RATE).astype(int)  # of 24 bands
HANN = (np.hanning(WINDOW + 1)[:-1] * 2 / (WINDOW / 2)).astype(np.float32)  # a full-scale sine has power 1


def measure(samples: Floats) -> Floats:
    """(H, 4) of COLUMNS for the (H + 2 MARGIN) HOP samples, full scale 1; the margins have no rows of their own.

    Loudness: dBFS of the hop with the K-weighting of ITU-R BS.1770-5, FLOOR_DB at least. Onsets: how many begin in the
    hop. Crowd and speech: 0..1.
    """
    spectra = power(samples)
    level = _decibel(spectra[:, SPEECH_BAND].sum(axis=1))
    voiced, still = pitch(spectra, level)
    swing = syllables(level)
    rows = np.stack(
        [
            loudness(samples),
            _hops(onsets(spectra)).sum(axis=1),
            crowd(spectra, voiced, swing),
            speech(level, voiced, still, swing),
        ],
        axis=1,
    )
    return rows[MARGIN:-MARGIN].astype(np.float32)


def loudness(samples: Floats) -> Floats:
    """(H,) K-weighted dBFS: a sine of 997 Hz that reaches full scale has -3.01."""
    weighted = np.fft.irfft(np.fft.rfft(samples) * k_weighting(len(samples)), len(samples))
    energy = np.mean(np.square(weighted).reshape(-1, HOP), axis=1)
    found: Floats = np.maximum(LKFS + 10 * np.log10(np.maximum(energy, 1e-12)), FLOOR_DB)
    return found


@lru_cache(maxsize=2)
def k_weighting(size: int) -> NDArray[np.complex64]:
    """(size // 2 + 1,) the gain at the frequencies of rfft: the standard's filters themselves, not others for RATE."""
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1 / RATE) / 48_000)
    gain = [np.polyval(above[::-1], delay) / np.polyval(below[::-1], delay) for above, below in (SHELF, HIGH_PASS)]
    return (gain[0] * gain[1]).astype(np.complex64)


def power(samples: Floats) -> Floats:
    """(N, 513) power spectra, one each 10 ms, in the middle of its window of 40 ms; a sine of full scale has 1."""
    around = np.pad(samples, (WINDOW - STEP) // 2)
    spectra = np.fft.rfft(sliding_window_view(around, WINDOW)[::STEP] * HANN, FFT)
    return np.square(spectra.real) + np.square(spectra.imag)


def onsets(spectra: Floats) -> NDArray[np.bool_]:
    """(N,) where a sound begins: peaks of the spectral flux above its median of 0.4 s.

    Bello et al., "A tutorial on onset detection in music signals", 2005; Dixon, "Onset detection revisited", 2006.
    """
    bands = np.add.reduceat(spectra, ONSET_EDGES, axis=1)[:, :-1]
    heard = np.log10(1 + 1000 * np.sqrt(bands))
    flux = np.zeros(len(heard), np.float32)
    flux[2:] = np.maximum(heard[2:] - heard[:-2], 0).mean(axis=1)
    usual = np.median(_around(flux, 20), axis=1)
    level = _around(_decibel(bands.sum(axis=1)), 3)
    begins = level[:, -1] > level[:, 0] - 3  # a tone that breaks off is a click, too
    found: NDArray[np.bool_] = (flux >= _around(flux, 5).max(axis=1)) & (flux > 1.5 * usual + 0.12) & begins
    return found


def pitch(spectra: Floats, level: Floats) -> tuple[Floats, Floats]:
    """Around each hop, (H,) each: the share of spectra with a pitch, and of those the share that keeps it, 0..1.

    By autocorrelation, as Boersma ("Accurate short-term analysis of the fundamental frequency", 1993). A voice glides;
    a note of most instruments does not.
    """
    low, high = LAGS
    voice = np.zeros_like(spectra)
    voice[:, PITCH_BAND] = spectra[:, PITCH_BAND]
    correlation = np.fft.irfft(voice)[:, : high + 1]
    alone = np.fft.irfft(np.square(np.abs(np.fft.rfft(HANN, FFT))))[: high + 1]
    correlation /= np.maximum(correlation[:, :1], 1e-12) * (alone / alone[0])
    lag = correlation[:, low:high].argmax(axis=1) + low
    left, top, right = (correlation[np.arange(len(lag)), lag + side] for side in (-1, 0, 1))
    bend = np.minimum(left - 2 * top + right, -1e-6)
    semitones = 12 * np.log2(lag + np.clip((left - right) / (2 * bend), -1, 1))
    voiced = (top > 0.6) & (level > QUIET_DB)
    change = np.abs(np.diff(semitones, prepend=semitones[:1]))
    held = voiced & np.roll(voiced, 1) & (change < 1.5)
    kinds = voiced, held, held & (change < 0.03)
    shares = [_smooth(_hops(which).mean(axis=1, dtype=np.float32)) for which in kinds]
    return shares[0], (shares[2] / np.maximum(shares[1], 0.01)).astype(np.float32)


def syllables(level: Floats) -> Floats:
    """(H,) how far the level swings around each hop at about 2 to 8 Hz, dB."""
    clipped = np.maximum(level, QUIET_DB - 10)
    swing = _mean(clipped, 3) - _mean(clipped, 20)
    return np.sqrt(_smooth(np.square(_hops(swing)).mean(axis=1)))


def speech(level: Floats, voiced: Floats, still: Floats, swing: Floats) -> Floats:
    """(H,) 0..1: it sounds like speech around here, and the hop is not one of the pauses between the words."""
    around = _rises(swing, 2.3, 0.3) * _rises(voiced, 0.2, 0.04) * _rises(-still, -0.25, 0.03)
    loud = _hops(_mean(level, 2)).max(axis=1)
    near = _around(np.maximum(loud, QUIET_DB), SPAN)
    top, bottom = near.max(axis=1), near.min(axis=1)
    return around * _rises((loud - bottom) / np.maximum(top - bottom, 6), 0.35, 0.05) * _rises(loud, QUIET_DB, 2)


def crowd(spectra: Floats, voiced: Floats, swing: Floats) -> Floats:
    """(H,) 0..1: loud and fairly steady noise without a pitch, flat within each octave from 1 to 7 kHz."""
    mean = _hops(spectra).mean(axis=1) + np.float32(1e-12)
    flat = np.mean([np.exp(np.log(mean[:, band]).mean(axis=1)) / mean[:, band].mean(axis=1) for band in OCTAVES], 0)
    loud = _smooth(_decibel(mean[:, MIDDLE].sum(axis=1)))
    tilt = _smooth(_decibel(mean[:, HIGH].sum(axis=1)) - _decibel(mean[:, LOW].sum(axis=1)))
    noise = _rises(_smooth(flat), 0.58, 0.03) * _rises(-voiced, -0.3, 0.04)
    people = _rises(swing, 0.45, 0.05) * _rises(-swing, -4.0, 0.4)  # a hiss is more even, single sounds are less
    return noise * people * _rises(loud, -35, 2) * _rises(tilt, -15, 1)


def pauses(times_ns: NDArray[np.int64], rows: Floats, length_ns: int) -> NDArray[np.int64]:
    """(P, 2) int64 ns: stretches [begin, end) of 0.3 s or more without speech, ascending, from 0 to `length_ns`.

    `times_ns` (N,) are where the hops of `rows` (N, 4) begin; where there are none, nobody speaks.
    """
    said = times_ns[rows[:, COLUMNS.index("speech")] >= 0.5]
    begin = np.clip(np.append(0, said + HOP_NS), 0, length_ns)
    end = np.clip(np.append(said, length_ns), 0, length_ns)
    found: NDArray[np.int64] = np.stack([begin, end], axis=1)[end - begin >= PAUSE_NS]
    return found


def _rises(value: Floats, middle: float, width: float) -> Floats:
    """The logistic function: 0.5 at `middle`, 0.73 one `width` above it."""
    risen: Floats = 1 / (1 + np.exp(np.clip((middle - value) / width, -30, 30)))
    return risen


def _decibel(energy: Floats) -> Floats:
    level: Floats = 10 * np.log10(energy + np.float32(1e-12))
    return level


def _hops(each: NDArray[Any]) -> NDArray[Any]:
    """(N, ...) of the spectra -> (H, 10, ...)."""
    return each.reshape(-1, PER_HOP, *each.shape[1:])


def _around(each: Floats, side: int) -> Floats:
    """(N,) -> (N, 2 side + 1): each with its neighbours."""
    return sliding_window_view(np.pad(each, side, mode="edge"), 2 * side + 1)


def _mean(each: Floats, side: int) -> Floats:
    """Each with its neighbours, weighted by a Hann window."""
    weights = np.hanning(2 * side + 3)[1:-1]
    mean: Floats = _around(each, side) @ (weights / weights.sum()).astype(np.float32)
    return mean


def _smooth(hops: Floats) -> Floats:
    return _mean(hops, SPAN)
