"""Windows of frames for a network of shots: pieces of clips, joined by cuts and dissolves that are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.detector import Array, Image
from export.packages import Failed

WINDOW, STEP = 100, 50  # frames: of a window, and in its middle those that count
BESIDE = (WINDOW - STEP) // 2
PIECES, PIECE = 2, 45  # of each clip, and frames of a piece at most
LEAST = 20  # frames of a clip
DISSOLVE = 12  # frames: half a second
NEAR = 2  # frames that a cut may be told away
THRESHOLD = 0.5  # probability

Span = tuple[int, int]  # the first and the last frame that may be told as the first one of a shot


@dataclass(frozen=True)
class Film:
    """What was joined."""

    frames: Image  # (N, height, width, 3) uint8 BGR
    transitions: list[Span]

    def windows(self) -> list[Image]:
        """(WINDOW, height, width, 3), each STEP frames on; the first and the last frame go on for ever."""
        behind = BESIDE + -len(self.frames) % STEP
        padded = np.pad(self.frames, ((BESIDE, behind), (0, 0), (0, 0), (0, 0)), "edge")
        return [padded[start : start + WINDOW] for start in range(0, len(padded) - WINDOW + 1, STEP)]

    def probability(self, found: Array) -> Array:
        """(N,) of the frames, out of (K, WINDOW) of the windows."""
        return np.asarray(found[:, BESIDE : BESIDE + STEP].reshape(-1)[: len(self.frames)])

    def f1(self, probability: Array) -> float:
        """How well (N,) tells the transitions: the harmonic mean of precision and recall, each counted once."""
        free = told(probability)
        count, right = len(free), 0
        for begin, end in sorted(self.transitions, key=lambda span: span[1]):
            frame = next((frame for frame in free if begin <= frame <= end), None)
            if frame is not None:
                free.remove(frame)
                right += 1
        return 2 * right / (count + len(self.transitions))


def told(probability: Array) -> list[int]:
    """The first frames of the shots: behind the most probable one of neighbours above the threshold."""
    above = np.concatenate([[False], probability > THRESHOLD, [False]])
    begins, ends = np.flatnonzero(np.diff(above)).reshape(-1, 2).T
    return [int(begin + probability[begin:end].argmax()) + 1 for begin, end in zip(begins, ends, strict=True)]


def thumbnails(clip: Path, height: int, width: int) -> Image:
    """(N, height, width, 3) uint8 BGR: all frames of a clip; Failed where there are too few for a piece."""
    video, found = cv2.VideoCapture(str(clip)), []
    while (read := video.read())[0]:
        found.append(cv2.resize(read[1], (width, height), interpolation=cv2.INTER_AREA))
    if len(found) < LEAST:
        raise Failed(f"{clip} has {len(found)} frames that can be read; give clips of {LEAST} or more")
    return np.asarray(found, np.uint8)


def join(clips: Sequence[Path], height: int, width: int) -> Film:
    """PIECES of each clip, in turns, with a cut and a dissolve in turns between them; Failed for a single clip."""
    if len(clips) < 2:
        raise Failed("a film with transitions is made of two clips or more; give more of them")
    shots = [thumbnails(clip, height, width) for clip in clips]
    frames: NDArray[np.uint8] = np.empty((0, height, width, 3), np.uint8)
    transitions: list[Span] = []
    for number, (turn, shot) in enumerate(product(range(PIECES), shots)):
        start = max(len(shot) - PIECE, 0) * turn // (PIECES - 1)
        piece, begin = shot[start : start + PIECE], len(frames)
        if number and number % 2 == 0:
            begin -= DISSOLVE
            share = (np.arange(1, DISSOLVE + 1) / (DISSOLVE + 1))[:, None, None, None]
            mixed = frames[begin:] * (1 - share) + piece[:DISSOLVE] * share
            frames, piece = frames[:begin], np.concatenate([mixed.round().astype(np.uint8), piece[DISSOLVE:]])
            transitions.append((begin, begin + DISSOLVE))
        elif number:
            transitions.append((begin - NEAR, begin + NEAR))
        frames = np.concatenate([frames, piece])
    return Film(frames, transitions)
