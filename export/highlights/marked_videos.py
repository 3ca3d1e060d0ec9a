"""Videos with people's marks: the JSON that `highlights` wrote of each, beside its marks.csv; and what is held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.detector import Array
from export.highlights.marks import read_marks
from export.models.highlight_scorer import REACH
from export.packages import Failed

# What counts as half of the most there is, x / (x + half), in each signal's unit: as in stages/highlight/timeline.py.
HALF = {
    "cuts": 0.5,
    "motion": 0.05,
    "people": 2.0,
    "person_size": 0.4,
    "faces": 2.0,
    "face_size": 0.2,
    "known": 1.0,
    "loudness": 6.0,
    "onset": 2.0,
    "crowd": 0.5,
    "speech": 0.5,
    "text": 0.2,
    "novelty": 0.3,
}
BLOCK = 60  # seconds that are held out together
HELD_OUT = 5  # one video in so many; with fewer videos, one block in so many
Seconds = NDArray[np.bool_]


class Analysed(msgspec.Struct):
    """One of the document's videos; T values each."""

    sha256: str
    signals: dict[str, list[float | None]]  # in their units; null: nothing was measured
    score: list[float]  # by the weights of the preset


class Document(msgspec.Struct):
    """What is needed of what `highlights` writes."""

    preset: str
    videos: list[Analysed]


@dataclass(frozen=True)
class Marked:
    """A video of T seconds, and what a person thinks of it."""

    file: Path  # its document
    sha256: str
    signals: Array  # (F, T) float32 0..1, in the order of HALF; 0 where nothing was measured
    worth: Array  # (T,) float32 0..1, by the marks
    score: Array  # (T,) float32 0..1, by the weights of `preset`
    preset: str


def read(pairs: Sequence[tuple[Path, Path]]) -> list[Marked]:
    """A video for each pair of SCORES.json and MARKS.csv; Failed where one is not as it has to be."""
    videos = [read_pair(*pair) for pair in pairs]
    files: dict[str, Path] = {}
    for video in videos:
        if other := files.get(video.sha256):
            raise Failed(f"{other} and {video.file} are of the same video; put all of its marks into one file")
        files[video.sha256] = video.file
    return videos


def read_pair(scores: Path, marks: Path) -> Marked:
    """The video of a SCORES.json, with its marks."""
    try:
        document = msgspec.json.decode(scores.read_bytes(), type=Document)
    except OSError as error:
        raise Failed(f"{scores} cannot be read ({error.strerror}); give the JSON that highlights wrote") from error
    except msgspec.DecodeError as error:
        raise Failed(f"{scores} is not what highlights writes ({error}); write it again") from error
    if len(document.videos) != 1:
        raise Failed(f"{scores} is of {len(document.videos)} videos; marks are of one, so run highlights on each alone")
    video = document.videos[0]
    seconds = len(video.score)
    found = {name: values for name, values in video.signals.items() if name in HALF}
    if not seconds or not found or any(len(values) != seconds for values in found.values()):
        raise Failed(f"{scores} has no signals, or not a value of each for every second; run highlights again")
    signals = np.zeros((len(HALF), seconds), np.float32)
    for row, (name, half) in zip(signals, HALF.items(), strict=True):
        values = np.nan_to_num(np.array(found.get(name, [0.0]), np.float64)).clip(0)
        row[:] = values / (values + half)
    score = np.array(video.score, np.float32)
    return Marked(scores, video.sha256, signals, read_marks(marks, seconds), score, document.preset)


def held_out(videos: Sequence[Marked]) -> list[Seconds]:
    """(T,) of each video: the seconds that are not trained on. Whole videos, or blocks of a minute where few are given.

    Blocks are taken in the order of what they are worth, so that good and dull ones are on both sides.
    """
    held = [np.zeros(len(video.worth), np.bool_) for video in videos]
    if len(videos) >= HELD_OUT:
        for index in sorted(range(len(videos)), key=lambda index: videos[index].sha256)[HELD_OUT // 2 :: HELD_OUT]:
            held[index][:] = True
        return held
    blocks = [
        (float(video.worth[start : start + BLOCK].mean()), index, start)
        for index, video in enumerate(videos)
        for start in range(0, len(video.worth), BLOCK)
    ]
    if len(blocks) < HELD_OUT:
        raise Failed(f"the marked videos last {len(blocks)} minutes together; at least {HELD_OUT} are needed")
    for _, index, start in sorted(blocks)[HELD_OUT // 2 :: HELD_OUT]:
        held[index][start : start + BLOCK] = True
    return held


def trained_on(held: Seconds) -> Seconds:
    """(T,) the seconds to train on: those whose scores depend on no held-out second."""
    near = np.convolve(held, np.ones(2 * REACH + 1))[REACH : REACH + len(held)]
    return near < 0.5
