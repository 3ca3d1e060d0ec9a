"""Made-up faces in front of a camera, for tests of what is decided about them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.home import home
from pipeline.types import Detections, Faces, Frame
from stages.gate import calibration
from stages.gate.calibration import Calibration, Point

MODEL = "embedder:0123"
SNAPSHOT = b"\xff\xd8 what the camera saw \xff\xd9"
MS = 1_000_000


def embedding(seed: int) -> NDArray[np.float32]:
    """(128,) of unit length: one face."""
    row = np.random.default_rng(seed).normal(size=128).astype(np.float32)
    return row / np.float32(np.linalg.norm(row))


@dataclass
class Seen:
    """One face of a frame."""

    track: int
    face: NDArray[np.float32]
    person: str = ""  # id of the nearest
    similarity: float = float("nan")
    live: float = float("nan")
    picked: bool = True
    quality: float = 0.8
    points: Sequence[tuple[float, float]] = ((40, 40), (60, 40), (50, 52), (42, 62), (58, 62))


def turned(yaw: str) -> tuple[tuple[float, float], ...]:
    """Five points of a head that looks ahead, or to its left or right by about 40 degrees."""
    nose = {"ahead": 50.0, "left": 56.0, "right": 44.0}[yaw]
    eyes = {"ahead": (40, 60), "left": (42, 58), "right": (42, 58)}[yaw]
    return ((eyes[0], 40), (eyes[1], 40), (nose, 51.5), (eyes[0] + 2, 60.6), (eyes[1] - 2, 60.6))


class Camera:
    """Gives frames of faces, one after the other."""

    def __init__(self, name: str = "cam0", threshold: float = 0.6, live_threshold: float = float("nan")) -> None:
        self.name, self.threshold, self.live_threshold = name, threshold, live_threshold
        self.snapshot = SNAPSHOT
        self.seq = 0

    def __call__(self, *seen: Seen, age_ms: float = 5) -> Faces:
        """The next frame, captured `age_ms` ago."""
        self.seq += 1
        captured_ns = time.monotonic_ns() - int(age_ms * MS)
        frame = Frame(self.name, self.seq, captured_ns, self.seq * 40 * MS, 1, 0, 2, 640, 360)
        n, picked = len(seen), [row for row, one in enumerate(seen) if one.picked]
        found = Detections(
            frame=frame,
            boxes=np.tile(np.array([20, 20, 80, 80], np.float32), (n, 1)),
            scores=np.ones(n, np.float32),
            classes=np.zeros(n, np.int32),
            keypoints=np.array([one.points for one in seen], np.float32).reshape(n, 5, 2),
            labels=("face",),
            tracks=np.array([one.track for one in seen], np.int32),
        )
        near = [one.similarity if one.picked else float("nan") for one in seen]
        return Faces(
            found=found,
            names=tuple("somebody" if like >= self.threshold else "" for like in near),
            similarity=np.array(near, np.float32),
            people=tuple(one.person if one.picked else "" for one in seen),
            rows=np.array(picked, np.int32),
            embeddings=np.array([seen[row].face for row in picked], np.float32).reshape(len(picked), 128),
            model=MODEL,
            threshold=self.threshold,
            quality=np.array([seen[row].quality for row in picked], np.float32),
            live=np.array([seen[row].live for row in picked], np.float32),
            live_threshold=self.live_threshold,
            snapshot=self.snapshot if picked else b"",
        )


def calibrated(**more: object) -> None:
    """A calibration of this scene is stored."""
    what = {
        "model": MODEL,
        "detector": "detector:4567",
        "mode": "1:N",
        "far": 0.01,
        "comparison_far": 0.001,
        "threshold": 0.6,
        "measured_far": 0.001,
        "measured_far_span": (0, 0.002),
        "optimistic_far": 0.0001,
        "tar": 1.0,
        "tar_span": (0.9, 1),
        "genuine": 10,
        "impostor": 1000,
        "people": 40,
        "photos": 2,
        "most": 8,
        "made_at": "2026-01-01",
        "curve": (Point(0.6, 0.001, 0),),
    }
    calibration.store(home(), msgspec.convert(what | more, Calibration))
