"""Decoded audio of any kind -> one line of 16 kHz mono samples, where each stands at its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from av import AudioFrame, AudioResampler

from stages.highlight.acoustics import RATE, Floats
from stages.sources.picture import SECOND, nanoseconds

SLACK = RATE // 25  # samples, 40 ms: a frame's time may be off by so much before it counts as a gap
LONGEST_GAP = 24 * 3600 * RATE  # samples: what lies beyond it has a broken time, and follows at once
PIECE = RATE  # samples at a time
LOUDEST = 8.0  # full scale is 1; a stream of floats may hold anything


class Waveform:
    """Frames in, pieces of samples out. A gap in their times is silence; of what overlaps, the first counts.

    ffmpeg mixes the channels, without the lowest: two that are the same add up, as in ITU-R BS.1770; two that have
    nothing in common come out up to 3 dB lower than there.
    """

    def __init__(self) -> None:
        self.start_ns: int | None = None  # the stream's own time of the first sample
        self._kind: tuple[str, str, int] | None = None
        self._resampler = AudioResampler("flt", "mono", RATE, PIECE)  # which holds some samples back
        self._end = Fraction(0)  # of what went into it, in samples of the line
        self._next = 0  # the place of the next sample that comes out of it
        self._given = 0  # samples of the line that are out

    def add(self, frame: AudioFrame) -> Iterator[Floats]:
        """Pieces of (N,) float32, full scale 1, that follow each other."""
        own_ns = None
        if frame.pts is not None and frame.time_base is not None:
            own_ns = nanoseconds(frame.pts, frame.time_base)
        if self.start_ns is None:
            self.start_ns = own_ns or 0
        place = self._end if own_ns is None else Fraction((own_ns - self.start_ns) * RATE, SECOND)
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        jumps = abs(place - self._end) > SLACK and place - self._end < LONGEST_GAP
        if jumps or kind != self._kind:
            yield from self.flush()
            self._end = place if jumps else self._end
            self._next, self._kind = round(self._end), kind
            while self._given < self._next:
                silence = np.zeros(min(PIECE, self._next - self._given), np.float32)
                self._given += len(silence)
                yield silence
        self._end += Fraction(frame.samples * RATE, frame.sample_rate)
        frame.pts = None  # the resampler would keep an eye on it, too
        yield from self._new(self._resampler.resample(frame))

    def flush(self) -> Iterator[Floats]:
        """What the resampler holds back."""
        if self._kind:
            yield from self._new(self._resampler.resample(None))
        self._resampler = AudioResampler("flt", "mono", RATE, PIECE)

    def _new(self, frames: Iterable[AudioFrame]) -> Iterator[Floats]:
        for frame in frames:
            samples = np.nan_to_num(frame.to_ndarray()[0], posinf=0.0, neginf=0.0).clip(-LOUDEST, LOUDEST)
            yield samples[max(0, self._given - self._next) :]
            self._next += len(samples)
            self._given = max(self._given, self._next)
