"""What a step of training sees: crops in time of marked videos, changed as other videos might be."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from export.detector import Array
from export.highlights.marked_videos import HALF, Marked, Seconds
from export.models.highlight_scorer import REACH
from export.packages import Failed

CROP = 128  # seconds
BATCH = 16
DROPPED = 0.1  # share of the signals that a crop goes without: a video without sound has to do no harm
GAIN = 0.3  # of the logarithm of what a signal is multiplied by
Batch = tuple[Tensor, Tensor, Tensor]  # (B, F + 1, CROP) as the network wants it, (B, CROP) worth, (B, CROP) 1: counts


def inputs(video: Marked) -> Array:
    """(F + 1, T) float32: what the network takes of a whole video."""
    return np.concatenate([video.signals, np.ones((1, len(video.worth)), np.float32)])


def cropped(rows: Array, start: int) -> Array:
    """(C, CROP) out of (C, T), from second `start` on; 0 where there is no video."""
    crop = np.zeros((len(rows), CROP), np.float32)
    first, last = max(start, 0), min(start + CROP, rows.shape[1])
    crop[:, first - start : last - start] = rows[:, first:last]
    return crop


def varied(signals: Array, random: np.random.Generator) -> Array:
    """(F, CROP) 0..1, each signal as if measured larger or smaller in its unit, and some not at all."""
    gains = np.exp(random.normal(0, GAIN, (len(signals), 1)))
    kept = random.random((len(signals), 1)) >= DROPPED
    return np.asarray(signals * gains / (1 - signals + signals * gains) * kept, np.float32)


class Batches:
    """Crops in time, every second one around something marked: what `fit` calls with a generator."""

    def __init__(self, videos: Sequence[Marked], counts: Sequence[Seconds]) -> None:
        pairs = list(zip(videos, counts, strict=True))
        self.rows = [np.concatenate([inputs(video), video.worth[None], count[None]]) for video, count in pairs]
        places = [(index, second) for index, count in enumerate(counts) for second in np.flatnonzero(count).tolist()]
        marked = [place for place in places if videos[place[0]].worth[place[1]] > 0]
        if not marked:
            raise Failed(f"nothing marked is left to train on, {REACH} s away from what is held out; mark more")
        self.places = (marked, places)

    def __call__(self, random: np.random.Generator) -> Batch:
        crops = np.stack([self.crop(self.places[number % 2], random) for number in range(BATCH)])
        signals, worth, counts = crops[:, :-2], crops[:, -2], crops[:, -1]
        return torch.from_numpy(signals), torch.from_numpy(worth), torch.from_numpy(counts)

    def crop(self, places: Sequence[tuple[int, int]], random: np.random.Generator) -> Array:
        """(F + 3, CROP) with one of the places somewhere in it."""
        index, second = places[int(random.integers(len(places)))]
        rows = cropped(self.rows[index], second - int(random.integers(CROP)))
        rows[: len(HALF)] = varied(rows[: len(HALF)], random)
        return rows
