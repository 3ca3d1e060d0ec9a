"""Copy pixels into the ring; large frames with the help of a second core.

A core waits for memory most of the time that it copies: one alone draws about half of what the memory gives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline import limits

LARGE = 4 << 20  # bytes; to wake another core for less takes longer than it saves (measured: 720p, 2.6 MB)


class Copier:
    """Copies pixels into slots; where `helped`, it keeps a thread for the lower half of large ones.

    That is for live sources: it shortens the delay, not the work, and a file that is read as fast as it goes has work
    for all cores. The thread counts in nobody's thread budget: it computes nothing, and where it does not get a core at
    once the caller's thread copies both halves.
    """

    def __init__(self, *, helped: bool) -> None:
        self._cores = os.sched_getaffinity(0)
        self._core: int | None = None  # where the caller last was
        self._helper: ThreadPoolExecutor | None = None
        if helped and limits.cores() > 1:
            self._helper = ThreadPoolExecutor(1, "copier")
            self._thread = self._helper.submit(threading.get_native_id).result()
            self._current_core = ctypes.CDLL(None).sched_getcpu  # sched_getcpu(3)

    def __call__(self, slot: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
        """Copy `pixels` (height, width, 3) into `slot`, of the same shape."""
        if self._helper is None or slot.nbytes < LARGE:
            _copy(slot, pixels)
            return
        self._send_away()
        half = len(slot) // 2
        lower = self._helper.submit(_copy, slot[half:], pixels[half:])
        _copy(slot[:half], pixels[:half])
        if lower.cancel():  # not begun: the other cores have work of their own
            _copy(slot[half:], pixels[half:])
        else:
            lower.result()

    def close(self) -> None:
        """Let go of the thread."""
        if self._helper:
            self._helper.shutdown()

    def _send_away(self) -> None:
        """Keep the thread off the caller's core: a scheduler may well wake it there, behind the caller."""
        core = self._current_core()
        if core != self._core:
            self._core = core
            with contextlib.suppress(OSError):  # forbidden, or our cores have changed since: it is woken anywhere then
                os.sched_setaffinity(self._thread, self._cores - {core})


def _copy(slot: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    """np.positive writes through the caches.

    memcpy, and np.copyto with it, goes around them where it is so much, which takes an eighth longer (x86-64, glibc).
    """
    np.positive(pixels, out=slot)
