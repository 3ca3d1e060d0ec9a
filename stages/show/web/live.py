"""The newest picture of each camera, drawn and coded only while somebody watches."""

from __future__ import annotations

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

    def __init__(self, warnings: Sequence[str]) -> None:
        self.warnings = list(warnings)
        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self._faces: dict[str, list[dict[str, Any]]] = {}
        self._watching = 0

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

    def picture(self, camera: str) -> tuple[int, bytes]:
        """The seq and the JPEG of the newest frame; b"" where none was coded yet."""
        with self._lock:
            return self._pictures.get(camera, (-1, b""))

    def faces(self) -> dict[str, list[dict[str, Any]]]:
        """Who is in front of each camera, and what is said to them."""
        with self._lock:
            return dict(self._faces)

    def cameras(self) -> list[str]:
        """All that have given a frame."""
        with self._lock:
            return sorted(self._pictures)

    def is_watched(self) -> bool:
        """Whether somebody looks at any picture."""
        return self._watching > 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks."""
        with self._lock:
            self._watching += 1
        try:
            yield
        finally:
            with self._lock:
                self._watching -= 1


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
