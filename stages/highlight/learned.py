"""Score a video by a network that its user trained on marks of their own: `python -m export train highlights`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from pipeline.errors import Failed
from pipeline.model import Model
from stages.highlight.score import normalised
from stages.highlight.timeline import SIGNALS, Floats, Scores, Timeline

TASK = "highlight"  # as framewire.task says


class Learned:
    """Timeline -> Scores, by an ONNX file that `python -m export onnx run/checkpoint.pt` wrote.

    A signal's share is what the score loses where the signal is left out (occlusion: Zeiler & Fergus,
    arXiv:1311.2901). A signal that lowers a score has no share in it. The shares are scaled so that they add up to the
    score; where no signal raises it, all that go in have the same.
    """

    def __init__(self, path: Path) -> None:
        """Raises Failed where the file is no scorer, or one of signals that are measured in another way by now."""
        self._model = Model(path, provider="cpu")
        said = self._model.info.metadata
        if said.get("framewire.task") != TASK:
            raise Failed(f"{path} is no scorer of highlights: train one with python -m export train highlights")
        self._signals = tuple(_signals(path, said))
        self._reach = int(said["framewire.reach"])  # seconds that a score depends on, to each side

    def __call__(self, timeline: Timeline) -> Scores:
        given = normalised(timeline)
        rows = np.stack([given[name] for name in self._signals])  # (F, T)
        score = self._run(rows)
        lost = np.empty_like(rows)
        for row, left_out in zip(lost, np.eye(len(rows), dtype=np.bool_), strict=True):
            row[:] = score - self._run(np.where(left_out[:, None], np.float32(0), rows))
        raised = lost.clip(0)
        raised[:, ~raised.any(axis=0)] = 1
        parts = dict(zip(self._signals, raised / raised.sum(axis=0) * score, strict=True))
        return Scores(score, {name: parts.get(name, np.zeros_like(score)) for name in SIGNALS})

    def _run(self, rows: Floats) -> Floats:
        """(T,) scores of (F, T) signals, in windows that overlap: of each, only those count that see all they need."""
        seconds, reach, length = rows.shape[1], self._reach, self._model.info.inputs[0].shape[-1]
        step = length - 2 * reach
        count = -(-seconds // step)
        padded = np.zeros((len(rows) + 1, count * step + 2 * reach), np.float32)
        padded[:-1, reach : reach + seconds] = rows
        padded[-1, reach : reach + seconds] = 1  # inside of the video
        windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)[:, ::step]  # (F + 1, count, length)
        (scores,) = self._model(windows.transpose(1, 0, 2))
        return np.asarray(scores[:, reach : reach + step].reshape(-1)[:seconds], np.float32).copy()


def _signals(path: Path, said: dict[str, str]) -> list[str]:
    """The signals that go in, in the order of the rows; Failed where one is unknown here or scaled in another way."""
    names = msgspec.json.decode(said["framewire.signals"], type=list[str])
    halves = msgspec.json.decode(said["framewire.half"], type=list[float])
    for name, half in zip(names, halves, strict=True):
        if name not in SIGNALS:
            raise Failed(f"{path} was trained on {name!r}, which this version does not measure: train it again")
        if half != SIGNALS[name].half:
            raise Failed(f"{path} was trained with {name!r} on another scale than this version has: train it again")
    return names
