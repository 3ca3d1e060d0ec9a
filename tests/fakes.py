"""Fakes, each named as one. They stand only where the real part is tested elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Frame


class MemoryFrames:
    """A fake of the frame ring for tests of stages: frames in a dict. test_frames.py tests the real one."""

    def __init__(self) -> None:
        self._pixels: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def put(self, pixels: NDArray[np.uint8], source: str = "cam", seq: int = 0) -> Frame:
        """Keep `pixels` (H, W, 3) uint8 BGR and return the ticket for them."""
        self._pixels[source, seq] = pixels
        height, width = pixels.shape[:2]
        return Frame(source, seq, 1, seq * 40_000_000, 1, seq, 2, width, height)

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        """The pixels of `frame`, read-only."""
        pixels = self._pixels[frame.source, frame.seq].view()
        pixels.flags.writeable = False
        yield pixels
