"""Clips, real and made, as the stages of small pictures get them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Frame
from stages.highlight.store import Store

SECOND = 1_000_000_000

Picture = NDArray[np.uint8]
Clip = list[tuple[int, Picture]]  # pts_ns and (H, W, 3) BGR of each frame


class Shown:
    """A fake of the ring that has all frames of a clip."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.views = 0

    def tickets(self) -> list[Frame]:
        """Of all frames."""
        return [
            Frame("film", seq, 1, pts_ns, 1, 0, 2, pixels.shape[1], pixels.shape[0])
            for seq, (pts_ns, pixels) in enumerate(self.clip)
        ]

    @contextmanager
    def view(self, frame: Frame) -> Iterator[Picture]:
        self.views += 1
        pixels = self.clip[frame.seq][1].view()
        pixels.flags.writeable = False
        yield pixels


def decoded(path: Path, most: int, start: int = 0) -> Clip:
    """Up to `most` frames of a file, from its frame `start` on."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        for seq, frame in enumerate(container.decode(stream)):
            if seq >= start + most:
                break
            if seq >= start:
                assert frame.pts is not None
                pixels = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
                found.append((int(frame.pts * stream.time_base * SECOND), pixels))
    return found


def made(paint: Callable[[float], Picture], seconds: float, rate: float) -> Clip:
    """What `paint` makes of each time in s."""
    times = np.arange(int(seconds * rate)) / rate
    return [(int(at * SECOND), paint(float(at))) for at in times]


def sampled(clip: Clip, rate: float = 5.0) -> Clip:
    """As Sample does it."""
    ticks = [int(pts_ns * rate / SECOND) for pts_ns, _ in clip]
    return [one for at, one in enumerate(clip) if not at or ticks[at] != ticks[at - 1]]


def texture(height: int, width: int, seed: int = 0) -> Picture:
    """(height, width, 3) of blobs."""
    noise = np.random.default_rng(seed).normal(size=(height // 4, width // 4, 3)).astype(np.float32)
    blobs = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 1), (width, height), interpolation=cv2.INTER_CUBIC)
    return (128 + 150 * blobs).clip(0, 255).astype(np.uint8)


def rows(path: Path, track: str, key: str, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What a file of signals has of a track."""
    store = Store(path)
    found = store.track(track, key).read(columns)
    store.close()
    return found


def run(stage: Callable[[Frame], object], frames: Iterable[Frame]) -> None:
    """Call the stage with each frame and close it."""
    for frame in frames:
        stage(frame)
    stage.close()  # type: ignore[attr-defined]
