"""A video file again and again, as a camera in front of which the same things happen: for demonstrations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.frames import Mark
from stages.sources.packets import Packets
from stages.sources.picture import SECOND, Picture, State
from stages.sources.recording import Recording


class Repeated:
    """Frames of a video file, from its beginning once more `pause_s` after its end; numbers and times go on rising."""

    def __init__(self, path: Path, threads: int, after: Mark | None, packets: Packets | None, pause_s: float) -> None:
        """After a crash it begins anew, as nobody waits for a certain frame of it."""
        self.state: State = "running"
        self._path, self._threads, self._packets = path, threads, packets
        self._pause_ns = round(pause_s * SECOND)
        self._last = (after.seq, after.pts_ns) if after and after.pts_ns >= 0 else (-1, -self._pause_ns)
        self._recording: Recording | None = None

    def __iter__(self) -> Iterator[Picture | None]:
        while True:
            seq, pts_ns = self._last[0] + 1, self._last[1] + self._pause_ns
            if self._packets:
                self._packets.shift_ns = pts_ns
            self.close()
            self._recording = Recording(self._path, self._threads, None, self._packets)
            for picture in self._recording:
                yield picture and self._moved(picture, seq, pts_ns)

    def _moved(self, picture: Picture, seq: int, pts_ns: int) -> Picture:
        self._last = picture.seq + seq, picture.pts_ns + pts_ns
        key_seq, key_pts_ns = picture.key_seq + seq, picture.key_pts_ns + pts_ns
        return replace(picture, seq=self._last[0], pts_ns=self._last[1], key_seq=key_seq, key_pts_ns=key_pts_ns)

    def close(self) -> None:
        """Close the file."""
        if self._recording:
            self._recording.close()
