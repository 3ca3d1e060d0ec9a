"""A picture of each moment: the frame of its best second, small."""

from __future__ import annotations

from contextlib import closing
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.copying import Copier
from stages.highlight.timeline import SECOND, Moment, Reel, Scores
from stages.sources.picture import Converter
from stages.sources.recording import Recording

WIDTH, HEIGHT = 384, 216  # pixels; a thumb fits into it
THREADS = 1
Thumb = NDArray[np.uint8]  # (h, w, 3) BGR, upright


def thumbs(reel: Reel) -> list[Thumb]:
    """One of each moment, decoded from the key frame before it. Raises Failed where a video cannot be read."""
    found: list[Thumb] = []
    convert = Converter(Copier(helped=False))
    for number, moments in groupby(reel.moments, key=lambda moment: moment.video):
        video = reel.timelines[number].video
        with closing(Recording(Path(video.path), THREADS, None)) as recording:
            for moment in moments:
                picture = recording.at(video.start_ns + best_ns(reel.scores[number], moment))
                width, height = picture.size
                pixels = np.empty((height, width, 3), np.uint8)
                convert(picture, pixels)
                found.append(_fitted(pixels))
    return found


def best_ns(scores: Scores, moment: Moment) -> int:
    """The middle of the moment's best second, or of the part of it that is in the moment."""
    first = moment.start_ns // SECOND
    best = first + int(np.argmax(scores.score[first : -(-moment.end_ns // SECOND)]))
    return (max(best * SECOND, moment.start_ns) + min((best + 1) * SECOND, moment.end_ns)) // 2


def _fitted(pixels: Thumb) -> Thumb:
    """As large as the room for a thumb lets it be; a side is at least a pixel."""
    height, width = pixels.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).astype(np.uint8)
