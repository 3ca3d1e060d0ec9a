"""Our side of an evaluation: the scores of videos, out of the JSON that `highlights` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.errors import Usage

DRAWS = 100  # random scorers that everything is compared with
Doubles = NDArray[np.float64]


class Scored(msgspec.Struct, frozen=True):
    """A video as the JSON has it; what else stands there is not asked for."""

    path: str
    duration: Annotated[float, Meta(gt=0)]  # seconds
    score: Annotated[list[float], Meta(min_length=1)]  # T, of each second
    cuts: list[float]  # seconds, where a new shot begins, ascending

    @property
    def name(self) -> str:
        """What people's files call it: the file's name without its suffix."""
        return PurePath(self.path).stem

    def scores(self, rng: np.random.Generator) -> Doubles:
        """(1 + DRAWS, T): ours, and those of random scorers, which go the same way from here on."""
        return np.vstack([self.score, rng.random((DRAWS, len(self.score)))])

    def seconds(self, frames: int) -> NDArray[np.int64]:
        """(frames,) the index of the second that each frame lies in, of so many that fill the video evenly."""
        begins = np.arange(frames) * self.duration / frames
        return np.minimum(begins.astype(np.int64), len(self.score) - 1)


class _Document(msgspec.Struct, frozen=True):
    videos: list[Scored]


def read(paths: Sequence[Path]) -> dict[str, Scored]:
    """The videos of all files, by name. Raises Usage for a file that is none of ours, and for a name twice."""
    found: dict[str, Scored] = {}
    for path in paths:
        try:
            videos = msgspec.json.decode(path.read_bytes(), type=_Document).videos
        except OSError as error:
            raise Usage(f"cannot read {path}: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise Usage(f"{path} is not the JSON that `highlights` writes: {error}") from error
        for video in videos:
            if abs(len(video.score) - video.duration) > 1:
                counted = f"{len(video.score)} scores for {video.duration:g} seconds"
                raise Usage(f"{path}: {video.path} has {counted}: there is to be one a second")
            if video.name in found:
                raise Usage(f"{path}: there are scores of {video.name} twice: give those of one run only")
            found[video.name] = video
    return found
