"""The newest picture of each camera, drawn and coded only while somebody watches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Judged

QUALITY = 80


class Live:
    """Written by the stage, read by the server's threads."""

    def __init__(self, warnings: Sequence[str], groups: Sequence[str]) -> None:
        self.warnings, self.groups = list(warnings), list(groups)
        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self._faces: dict[str, list[dict[str, Any]]] = {}
        self._watchers: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    def put(self, judged: Judged, picture: NDArray[np.uint8] | None) -> None:
        """Take in a frame; `picture` (H, W, 3) BGR is None while nobody watches."""
        source = judged.frame.source
        coded = _jpeg(picture) if picture is not None else b""
        faces = [
            {"name": name, "verdict": verdict}
            for name, verdict in zip(judged.names, judged.verdicts, strict=True)
            if name or verdict
        ]
        with self._lock:
            self._pictures[source] = judged.frame.seq, coded
            self._faces[source] = faces
            for camera, loop, fresh in self._watchers:
                if camera == source:
                    loop.call_soon_threadsafe(fresh.set)

    def picture(self, camera: str) -> tuple[int, bytes]:
        """The seq and the JPEG of the newest frame; b"" where none was coded yet."""
        with self._lock:
            return self._pictures.get(camera, (-1, b""))

    def forget(self) -> None:
        """Keep no picture and no name until the next frame of each camera."""
        with self._lock:
            self._pictures = {camera: (seq, b"") for camera, (seq, _) in self._pictures.items()}
            self._faces.clear()

    def faces(self) -> dict[str, list[dict[str, Any]]]:
        """Who is in front of each camera, and what is said to them."""
        with self._lock:
            return dict(self._faces)

    def cameras(self) -> list[str]:
        """All that have given a frame."""
        with self._lock:
            return sorted(self._pictures)

    def is_watched(self, camera: str) -> bool:
        """Whether somebody looks at its picture."""
        with self._lock:
            return any(watched == camera for watched, _, _ in self._watchers)

    @contextmanager
    def watched(self, camera: str) -> Iterator[asyncio.Event]:
        """Somebody looks at a camera, from the running loop; the event is set at each of its frames."""
        watcher = camera, asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._watchers.append(watcher)
        try:
            yield watcher[2]
        finally:
            with self._lock:
                self._watchers.remove(watcher)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
