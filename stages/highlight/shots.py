"""Where one shot goes over into the next: TransNet V2 (Souček and Lokoč, arXiv:2008.04838) over every frame."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH
from pipeline.errors import Usage
from pipeline.frames import Frames
from pipeline.model import Model, candidates
from pipeline.registry import TRANSITIONS, resolve, sha256_of
from pipeline.types import Frame
from stages.highlight.recorder import Recorder
from stages.network import NetworkConfig, Size

VERSION = 1  # of what is computed here around the network
WINDOW, STEP = 100, 50  # frames that are looked at together, and those in their middle whose results count
BESIDE = (WINDOW - STEP) // 2  # frames to look at before and behind those
THRESHOLD = 0.5  # probability; the paper's

Thumbnail = tuple[int, int, bytes]  # seq, pts_ns, (27, 48, 3) uint8 BGR


class ShotsConfig(NetworkConfig, frozen=True):
    """Which network finds the transitions, and where they are written."""

    model: str = ""  # "": the network that ships for the provider
    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""  # the video's SQLite file
    source: Annotated[str, DERIVED] = ""  # the video's name in the graph

    def load(self, size: Size | None = None) -> Model:
        """As every network's, of the shipped one where none is named."""
        return NetworkConfig.load(replace(self, model=self.name), size)

    @property
    def name(self) -> str:
        """The model's, of the shipped one where none is named."""
        return self.model or TRANSITIONS[candidates(self.provider)[0]]

    @property
    def key(self) -> str:
        """What the probabilities depend on."""
        return f"{sha256_of(resolve(self.name))} {VERSION}"


class Shots(Recorder):
    """Ending: Frames -> the track "shots", a row a frame: the probability that a transition has its middle there.

    Rows come STEP at a time, BESIDE frames late. What a window still needs of past frames is kept as thumbnails, from
    the BESIDE frames before the first one without a row on; so that alone tells where a killed stage stood. What stands
    in for the frames before the first one is kept with them.
    """

    TRACK = "shots"

    def __init__(self, config: ShotsConfig, frames: Frames) -> None:
        super().__init__(config)
        self._frames = frames
        self._model = config.load()
        info = self._model.info
        if info.layout != "shots" or info.buckets != (WINDOW,):
            raise Usage(f"{info.name} finds no transitions between shots: leave shots.model out")
        self._height, self._width = info.size
        self._kept: list[Thumbnail] = self._track.kept()
        if self._kept:  # as long as the video is not done with
            self._last = self._kept[-1][0]

    def __call__(self, frame: Frame) -> None:
        if frame.seq <= self._last:
            return
        with self._frames.view(frame) as pixels:
            small = cv2.resize(pixels, (self._width, self._height), interpolation=cv2.INTER_AREA).tobytes()
        before = BESIDE if not self._kept else 0
        taken = [(seq, frame.pts_ns, small) for seq in range(frame.seq - before, frame.seq + 1)]
        window = [*self._kept, *taken]
        ready = self._rows(window) if len(window) == WINDOW else []
        with self._track.transaction():
            for row in taken:
                self._track.keep(*row)
            self._write(ready)
            if ready:
                self._track.discard(window[STEP][0])
        self._kept = window[STEP:] if ready else window
        self._last = frame.seq

    def close(self) -> None:
        """Write the rows at the end, as if the last frame went on for ever; more frames replace them."""
        rows: list[tuple[int, int, float]] = []
        window = self._kept
        while len(window) > BESIDE:
            padded = [*window, *window[-1:] * WINDOW][:WINDOW]
            rows += self._rows(padded)[: len(window) - BESIDE]
            window = window[STEP:]
        with self._track.transaction():
            self._write(rows)
        super().close()

    def _rows(self, window: list[Thumbnail]) -> list[tuple[int, int, float]]:
        """seq, pts_ns and probability of the STEP frames in the middle of a window."""
        pixels = np.frombuffer(b"".join(small for _, _, small in window), np.uint8)
        pictures = pixels.reshape(WINDOW, self._height, self._width, 3)[..., ::-1]
        probability: NDArray[np.float32] = self._model(pictures.transpose(0, 3, 1, 2))[0]
        middle = slice(BESIDE, BESIDE + STEP)
        found = zip(window[middle], probability[middle].tolist(), strict=True)
        return [(seq, pts_ns, value) for (seq, pts_ns, _), value in found]

    def _write(self, rows: list[tuple[int, int, float]]) -> None:
        for seq, pts_ns, value in rows:
            self._track.add(seq, pts_ns, [value])


def cuts(times: NDArray[np.int64], probability: NDArray[np.float32], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """(K,) pts_ns of the first frame of each new shot, from the pts_ns and the probability of all frames, (N,) each.

    Neighbours above the threshold are one transition. A hard cut is told of the old shot's last frame, a gradual one of
    the frame in the middle; the new shot begins behind the most probable one.
    """
    above = np.concatenate([[False], probability > threshold, [False]])
    begins, ends = np.flatnonzero(np.diff(above)).reshape(-1, 2).T
    peaks = [begin + int(probability[begin:end].argmax()) for begin, end in zip(begins, ends, strict=True)]
    return times[[peak + 1 for peak in peaks if peak + 1 < len(times)]]
