"""Enrolment at a camera: one line of guidance at a time, until there are enough good pictures of one person."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.status import Status
from rich.text import Text

from pipeline.copying import Copier
from pipeline.errors import Failed
from stages.capture import CaptureConfig, parse_sources, reader
from stages.gallery.enrol import Enrol, shrunk
from stages.gallery.guidance import SIDES
from stages.gallery.people import Portrait
from stages.gallery.poses import Poses
from stages.sources.picture import Converter

TIMEOUT_S = 60.0  # from the first picture on
HOLD_S = 0.7  # for so long a line stands before another takes its place: who is to follow it has to read it
WAITING = {
    "connecting": "waiting for the camera",
    "reconnecting": "the camera is gone: waiting until it is back",
}


class Sitting:
    """One person in front of a camera. Nothing of it is kept anywhere but in what `__call__` returns."""

    def __init__(self, enrol: Enrol, console: Console) -> None:
        self._poses, self._console = Poses(enrol), console
        self._words, self._line, self._shown_at = "", "", 0.0

    def __call__(self, address: str, config: CaptureConfig) -> tuple[NDArray[np.float32], list[Portrait]]:
        """(N, D) of unit length, and the faces, one of each of SIDES, as from photos.

        `address` is a camera, a stream, or a file, of which each picture is looked at. Raises Usage and Failed: where
        it cannot be read, after TIMEOUT_S, at the end of a file, and when it is stopped by Ctrl-C.
        """
        with self._console.status("") as status, closing(self._pictures(address, config, status)) as shown:
            for pixels in shown:
                self._say(status, self._poses.see(pixels))
                if self._poses.done:
                    return self._poses.faces()
        raise self._unfinished("the pictures have come to their end")

    def _pictures(
        self, address: str, config: CaptureConfig, status: Status
    ) -> Generator[NDArray[np.uint8], None, None]:
        """(H, W, 3) BGR. Raises Failed when time is up or somebody stops it, whether pictures come or not."""
        (source,) = parse_sources([address])
        convert, ends = Converter(Copier(helped=False)), float("inf")
        with _signals() as signals, closing(reader(source, config)) as pictures:
            for picture in pictures:
                if signals:
                    raise self._unfinished("it was stopped")
                if time.monotonic() > ends:
                    raise self._unfinished(f"{TIMEOUT_S:.0f} s are over")
                if picture is None:
                    if pictures.state in WAITING:
                        self._say(status, WAITING[pictures.state])
                    continue
                ends = min(ends, time.monotonic() + TIMEOUT_S)
                width, height = picture.size
                pixels = np.empty((height, width, 3), np.uint8)
                convert(picture, pixels)
                yield shrunk(pixels)

    def _say(self, status: Status, words: str) -> None:
        if not words:
            return
        line, now = f"{self._poses.taken}/{len(SIDES)}  {words}", time.monotonic()
        self._words = words
        if line == self._line or now - self._shown_at < HOLD_S:
            return
        self._line, self._shown_at = line, now
        status.update(Text(line))
        if not self._console.is_terminal:
            self._console.print(Text(line), soft_wrap=True)

    def _unfinished(self, why: str) -> Failed:
        last = f" (last: {self._words})" if self._words else ""
        return Failed(
            f"{why} with {self._poses.taken} of {len(SIDES)} pictures{last}, and nobody is enrolled: try again"
        )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Those to stop that come meanwhile: a process that they kill would leave the terminal without its cursor."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
