"""A reel of real files, with signals that are made up."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stages.highlight.timeline import SECOND, SIGNALS, Floats, Moment, Reel, Scores, Timeline, Video

WEIGHTS = {"people": 2.0, "motion": 1.5, "loudness": 1.0, "faces": 0.5, "cuts": 0.5, "novelty": 0.5}
NOISE = {"cuts": 0.15, "motion": 0.04, "people": 2.0, "person_size": 0.3, "faces": 1.0, "face_size": 0.1, "known": 0.3}
SOUND = {"loudness": 6.0, "onset": 2.0, "crowd": 0.3, "speech": 0.5}


def video(path: Path) -> Video:
    """What a look at all frames of a file tells."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base or Fraction(1)
        times = sorted(int(frame.pts * base * SECOND) for frame in container.decode(stream) if frame.pts is not None)
        length = times[-1] - times[0] + (times[1] - times[0])
        sound = bool(container.streams.audio)
        return Video(str(path), "5a" * 32, stream.width, stream.height, times[0], length, len(times), sound)


def timeline(video: Video, seed: int) -> tuple[Timeline, Scores]:
    """Waves of signals; no sound is measured where there is none."""
    rng = np.random.default_rng(seed)
    length = -(-video.duration_ns // SECOND)
    signals = {name: np.full(length, np.nan, np.float32) for name in SIGNALS}
    for name, high in {**NOISE, **(SOUND if video.sound else {}), "novelty": 0.3}.items():
        signals[name] = _wave(rng, length) * np.float32(2 * high)
    strength = {name: np.nan_to_num(values / (values + SIGNALS[name].half)) for name, values in signals.items()}
    total = sum(weight for name, weight in WEIGHTS.items() if not np.isnan(signals[name]).any())
    shares = {name: (strength[name] * weight / total).astype(np.float32) for name, weight in WEIGHTS.items()}
    score = np.sum(list(shares.values()), axis=0, dtype=np.float32)
    cuts = np.sort(rng.integers(1, max(2, video.duration_ns), max(1, length // 9)))
    pauses = np.array([(at, at + SECOND) for at in range(3 * SECOND, video.duration_ns - SECOND, 7 * SECOND)], np.int64)
    centre, look = np.full(length, 0.5, np.float32), np.zeros((length, 4), np.float32)
    return Timeline(video, signals, cuts, pauses.reshape(-1, 2), centre, look, {}), Scores(score, shares)


def reel(videos: list[Video], seconds: int = 5, most: int = 3) -> Reel:
    """The best `most` stretches of `seconds` of each video."""
    timelines, scores, moments = [], [], []
    for number, one in enumerate(videos):
        known, score = timeline(one, number + 1)
        timelines.append(known)
        scores.append(score)
        free = list(range(0, max(1, known.seconds - seconds + 1), seconds))
        best = sorted(free, key=lambda at: -float(score.score[at : at + seconds].mean()))[:most]
        moments += [moment(number, at, min(at + seconds, one.duration_ns / SECOND), score) for at in sorted(best)]
    return Reel(timelines, scores, moments, "sports", WEIGHTS)


def moment(number: int, start: float, end: float, scores: Scores, must: bool = False) -> Moment:
    """Its score and reasons are those of its seconds."""
    seconds = slice(int(start), max(int(start) + 1, round(end)))
    parts = {name: float(share[seconds].mean()) for name, share in scores.shares.items()}
    why = dict(sorted(parts.items(), key=lambda item: -item[1]))
    return Moment(number, round(start * SECOND), round(end * SECOND), sum(why.values()), why, must)


def _wave(rng: np.random.Generator, length: int) -> Floats:
    """0..1, a few bumps, again and again."""
    at = np.arange(min(length, 600))
    peaks = rng.uniform(0, len(at), 1 + len(at) // 14)
    waves = [rng.uniform(0.3, 1) * np.exp(-((at - peak) ** 2) / rng.uniform(4, 30)) for peak in peaks]
    return np.resize(np.clip(np.max(waves, axis=0) + rng.normal(0, 0.03, len(at)), 0, 1).astype(np.float32), length)
