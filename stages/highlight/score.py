"""What each second is worth: a weighted sum of its signals, each of which says how much of the score is its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.highlight.timeline import SIGNALS, Floats, Scores, Timeline

# Weights, relative to each other; a signal that is not named has none.
PRESETS: dict[str, dict[str, float]] = {
    "event": {
        "people": 2.0,
        "person_size": 1.0,
        "faces": 1.0,
        "face_size": 1.0,
        "known": 1.0,
        "motion": 1.0,
        "loudness": 0.5,
        "onset": 0.25,
        "crowd": 1.0,
        "speech": 0.5,
        "novelty": 0.5,
    },
    "sports": {
        "motion": 2.0,
        "crowd": 2.0,
        "loudness": 1.0,
        "onset": 0.5,
        "people": 1.0,
        "person_size": 0.5,
        "text": 1.0,
        "cuts": 0.5,
        "novelty": 0.5,
    },
    "security": {
        "people": 2.0,
        "person_size": 1.0,
        "faces": 1.0,
        "face_size": 0.5,
        "known": 0.5,
        "motion": 1.5,
        "loudness": 0.5,
        "novelty": 1.0,
    },
    "talk": {
        "speech": 2.0,
        "faces": 1.0,
        "face_size": 1.0,
        "known": 0.5,
        "text": 1.0,
        "loudness": 0.5,
        "crowd": 0.5,
        "novelty": 0.5,
    },
}


def normalised(timeline: Timeline) -> dict[str, Floats]:
    """Each signal as 0..1, (T,): x / (x + half), with which a value means the same in every video; 0 where unknown."""
    found = {}
    for name, signal in SIGNALS.items():
        positive = np.maximum(np.nan_to_num(timeline.signals[name]), 0)
        found[name] = (positive / (positive + np.float32(signal.half))).astype(np.float32)
    return found


def weigh(timeline: Timeline, weights: Mapping[str, float]) -> Scores:
    """The weighted mean of the signals that were measured in a second: a video without sound loses nothing by it."""
    values = normalised(timeline)
    total = np.zeros(timeline.seconds, np.float32)
    for name, weight in weights.items():
        total += np.where(np.isnan(timeline.signals[name]), 0, np.float32(weight))
    share = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    shares = {name: (np.float32(weight) * values[name] * share) for name, weight in weights.items() if weight}
    return Scores(np.sum([*shares.values(), np.zeros_like(total)], axis=0, dtype=np.float32), shares)
