"""Of each track pick the faces that are worth an embedding: large, frontal, sharp, well lit, and spread in time.

It goes on for as long as somebody is there: whom the first few show has still to be who stands there when a door opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, Config
from pipeline.errors import Failed, Usage
from pipeline.frames import Frames
from pipeline.types import Detections, Picked
from stages.challenge import turned
from stages.crop import TEMPLATES, Align, cut
from stages.quality import rate

# Each pick waits GROWTH times as long as the one before, up to LONGEST_WAIT_NS: eight take four seconds.
FIRST_WAIT_NS, GROWTH, LONGEST_WAIT_NS = 100_000_000, 1.5, 1_000_000_000
BETTER = 1.15  # a face that is so many times as good as the track's best does not wait
TURNED_WAIT_NS = 200_000_000  # while who was asked to turn their head is turned
FORGET_NS = 30_000_000_000  # a track that has not been seen for so long does not come back
JPEG_QUALITY = 85


class PickConfig(Config, frozen=True):
    """`[pick]`"""

    align: Align = "dlib"  # how the embedder's faces were aligned; its file says so
    min_face: Annotated[int, Meta(ge=1)] = 48  # pixels, shorter side
    most: Annotated[int, Meta(ge=2, le=100)] = 8  # faces of a passage that vote on who it is: two have to agree
    # Quality, 0..1. In samples/gate.mp4 dlib_face's cosine to the enrolment photo is 0.87 on average over the faces
    # from 0.2 on, and 0.62 over those below. What stays below: profiles, blur, small faces with another fault.
    floor: Annotated[float, Meta(ge=0, le=1)] = 0.2
    turns: Annotated[bool, DERIVED] = False  # people are asked to turn their heads: a face that is turned is due soon


@dataclass
class _Past:
    """What was picked of a track so far."""

    seen_ns: int  # pts
    count: int = 0
    picked_ns: int = 0  # pts, of the last one
    wait_ns: int = FIRST_WAIT_NS  # from then on
    best: float = 0.0  # quality

    def wants(self, quality: float, now_ns: int, most: int, turned: bool) -> bool:
        """Whether it is time for another face, or this one is better than waiting for; `most` of them vote."""
        better = quality > BETTER * self.best and self.count < most // 2  # else who comes nearer uses all up
        wait_ns = min(self.wait_ns, TURNED_WAIT_NS) if turned else self.wait_ns
        return not self.count or now_ns - self.picked_ns >= wait_ns or better

    def pick(self, quality: float, now_ns: int) -> None:
        self.count, self.picked_ns, self.best = self.count + 1, now_ns, max(self.best, quality)
        self.wait_ns = min(round(self.wait_ns * GROWTH), LONGEST_WAIT_NS)


class Pick:
    """Detections with tracks -> Picked: the faces of this frame that are picked, most often none.

    Whether they are live is not told here. A face that reaches out of the picture is left alone.
    """

    def __init__(self, config: PickConfig, frames: Frames) -> None:
        self._config = config
        self._template = TEMPLATES[config.align]
        self._frames = frames
        self._past: dict[str, dict[int, _Past]] = {}  # by source, and track

    def __call__(self, found: Detections) -> Picked:
        if found.tracks is None:
            raise ValueError("detections without tracks: Pick needs Track before it")
        if found.keypoints is None:
            raise Usage("the detector marks no eyes, nose and mouth: set detect.model to a detector of faces")
        past, now = self._see(found, found.tracks), found.frame.pts_ns
        rows = self._candidates(found, found.keypoints, past)
        side = self._template.side
        chips, snapshot = np.empty((len(rows), side, side, 3), np.uint8), b""
        wanted, quality = np.zeros(len(rows), bool), np.zeros(len(rows), np.float32)
        if len(rows):
            boxes, keypoints = found.boxes[rows], found.keypoints[rows]
            with self._frames.view(found.frame) as pixels:
                cut(pixels, keypoints, self._template, chips)
                quality = rate(boxes, keypoints, chips, self._template, self._config.min_face).total
                wanted = self._wanted(rows, quality, turned(keypoints), past, now)
                if wanted.any():
                    snapshot = _jpeg(pixels)
        rows, chips, quality = rows[wanted], chips[wanted], quality[wanted]
        for row, one in zip(rows.tolist(), quality.tolist(), strict=True):
            past[row].pick(one, now)
        live = np.full(len(rows), np.nan, np.float32)
        return Picked(
            found=found,
            rows=rows,
            chips=chips,
            quality=quality,
            live=live,
            live_threshold=float("nan"),
            snapshot=snapshot,
        )

    def _see(self, found: Detections, tracks: NDArray[np.int32]) -> dict[int, _Past]:
        """The past of each row that is tracked; that of tracks which are over is forgotten."""
        source, now = found.frame.source, found.frame.pts_ns
        known = self._past.get(source, {})
        known = {track: past for track, past in known.items() if abs(now - past.seen_ns) <= FORGET_NS}
        self._past[source] = known
        seen = {}
        for row in np.flatnonzero(tracks >= 0).tolist():
            seen[row] = known.setdefault(int(tracks[row]), _Past(now))
            seen[row].seen_ns = now
        return seen

    def _candidates(
        self, found: Detections, keypoints: NDArray[np.float32], past: Mapping[int, _Past]
    ) -> NDArray[np.int32]:
        """Rows (M,) of faces that have a track, are large enough and lie wholly in the picture."""
        large = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1) >= self._config.min_face
        inside = ((keypoints >= 0) & (keypoints < [found.frame.width, found.frame.height])).all(axis=(1, 2))
        apart = np.ptp(keypoints, axis=1).max(axis=1) > 0  # points that all coincide have no direction
        rows = np.flatnonzero(large & inside & apart).tolist()
        return np.array([row for row in rows if row in past], np.int32)

    def _wanted(
        self,
        rows: NDArray[np.int32],
        quality: NDArray[np.float32],
        turns: NDArray[np.bool_],
        past: Mapping[int, _Past],
        now: int,
    ) -> NDArray[np.bool_]:
        """Which of `rows` (M,) to pick, (M,); `turns` (M,) are those that are turned away far."""
        due = [
            past[row].wants(one, now, self._config.most, self._config.turns and far)
            for row, one, far in zip(rows.tolist(), quality.tolist(), turns.tolist(), strict=True)
        ]
        return np.array(due, bool) & (quality >= self._config.floor)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    done, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise Failed("OpenCV cannot write JPEG: install opencv-python as it is on PyPI")
    return coded.tobytes()
