"""From the tracks of a video's store to its timeline: what frames, samples and hops of sound say of each second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from stages.highlight.acoustics import pauses
from stages.highlight.look import COLUMNS as LOOK
from stages.highlight.look import novelty
from stages.highlight.shots import cuts
from stages.highlight.store import KNOWN, Store, told
from stages.highlight.timeline import SECOND, SIGNALS, Floats, Timeline, Video
from stages.highlight.videos import USUAL_RATE, facts

GATE_DBFS = -70.0  # below is silence: ITU-R BS.1770's absolute gate


# Numbers in a row of each track; each stage says which.
COLUMNS = {"shots": 1, "motion": 3, "text": 1, "look": LOOK, "people": 3, "faces": 3, "sound": 4}


class Rows(NamedTuple):
    """A track: (N,) ns from the first frame, and (N, columns)."""

    times_ns: NDArray[np.int64]
    measured: Floats


class Seconds:
    """What rows say of each of T seconds."""

    def __init__(self, rows: Rows, seconds: int) -> None:
        at = rows.times_ns // SECOND
        inside = (at >= 0) & (at < seconds)
        self._at, self._measured, self._count = at[inside], rows.measured[inside], seconds

    def mean(self, column: int) -> Floats:
        """(T,); NaN where no row has a number."""
        return self._total(column) / self._numbers(column)

    def total(self, column: int) -> Floats:
        """(T,); NaN where no row has a number."""
        return np.where(self._numbers(column) > 0, self._total(column), np.nan).astype(np.float32)

    def count(self) -> NDArray[np.int64]:
        """(T,) rows."""
        return np.bincount(self._at, minlength=self._count)

    def looks(self) -> Floats:
        """(T, columns) means, of unit length; zeros where there is no row."""
        sums = np.zeros((self._count, self._measured.shape[1]), np.float32)
        np.add.at(sums, self._at, self._measured)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        units: Floats = np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)
        return units

    def _total(self, column: int) -> Floats:
        values = np.nan_to_num(self._measured[:, column])
        return np.bincount(self._at, values, self._count).astype(np.float32)

    def _numbers(self, column: int) -> Floats:
        there = ~np.isnan(self._measured[:, column])
        count = np.bincount(self._at, there, self._count).astype(np.float32)
        return np.where(count > 0, count, np.float32(np.nan))


def recall(path: Path, sha256: str, store: Path, keys: Mapping[str, str], names: Mapping[str, str]) -> Timeline:
    """The timeline of a video that was looked at: `keys` of its tracks; `names` of those who are enrolled, by id.

    Raises Failed where no frame of it could be read.
    """
    with told(store), Store(store) as kept, kept.transaction():  # nobody is forgotten in between
        tracks = {name: kept.track(name, keys[name]).read(columns) for name, columns in COLUMNS.items()}
        recognized = kept.known(keys["faces"])
        nowhere = np.empty(0, np.int64), np.empty((0, 1), np.float32)
        people = {
            name: kept.track(KNOWN + person, keys["faces"]).read(1) if person in recognized else nowhere
            for person, name in names.items()
        }
    times = tracks["motion"][0]
    if not len(times):
        raise Failed(f"{path} holds no frame that decodes: copy or export it again")
    start_ns = int(times[0])
    last_ns = int(np.median(np.diff(times))) if len(times) > 1 else SECOND // USUAL_RATE
    width, height, sound, _ = facts(path)
    video = Video(str(path), sha256, width, height, start_ns, int(times[-1]) - start_ns + last_ns, len(times), sound)
    placed = ({name: Rows(times - start_ns, rows) for name, (times, rows) in some.items()} for some in (tracks, people))
    return gather(video, *placed)


def gather(video: Video, tracks: Mapping[str, Rows], known: Mapping[str, Rows]) -> Timeline:
    """The timeline of a video from its `tracks`, one for each of COLUMNS, and of everybody enrolled, by name."""
    length = -(-video.duration_ns // SECOND)
    seconds = {name: Seconds(rows, length) for name, rows in tracks.items()}
    found_cuts = cuts(tracks["shots"].times_ns, tracks["shots"].measured[:, 0])
    look = seconds["look"].looks()
    people = {name: Seconds(rows, length).count() > 0 for name, rows in known.items()}
    counts = np.bincount(found_cuts // SECOND, minlength=length)[:length].astype(np.float32)
    signals = {
        "cuts": np.where(seconds["shots"].count() > 0, counts, np.float32(np.nan)),
        "motion": seconds["motion"].mean(0),
        "people": seconds["people"].mean(0),
        "person_size": seconds["people"].mean(1),
        "faces": seconds["faces"].mean(0),
        "face_size": seconds["faces"].mean(1),
        "known": _of_known(people, seconds["faces"].count() > 0),
        "loudness": _above_median(_energy_mean(tracks["sound"], length)),
        "onset": seconds["sound"].total(1),
        "crowd": seconds["sound"].mean(2),
        "speech": seconds["sound"].mean(3),
        "text": seconds["text"].mean(0),
        "novelty": np.where(seconds["look"].count() > 0, novelty(look), np.float32(np.nan)),
    }
    return Timeline(
        video=video,
        signals={name: signals[name].astype(np.float32) for name in SIGNALS},
        cuts_ns=found_cuts,
        pauses_ns=pauses(*tracks["sound"], video.duration_ns),
        centre=_first_there(seconds["faces"].mean(2), seconds["people"].mean(2), seconds["motion"].mean(2)),
        look=look,
        known=people,
    )


def _of_known(people: Mapping[str, NDArray[np.bool_]], looked: NDArray[np.bool_]) -> Floats:
    """(T,) how many of the people are recognized; NaN where nobody could be."""
    if not people:
        return np.full(len(looked), np.nan, np.float32)
    return np.where(looked, np.sum([*people.values()], axis=0), np.nan).astype(np.float32)


def _energy_mean(rows: Rows, seconds: int) -> Floats:
    """(T,) dBFS: the mean of a second is that of the energy."""
    energy = np.power(10, rows.measured[:, :1] / 10)
    return (10 * np.log10(Seconds(Rows(rows.times_ns, energy), seconds).mean(0))).astype(np.float32)


def _above_median(loudness: Floats) -> Floats:
    """(T,) dB above the median of what is no silence; silence is not above it."""
    heard = loudness[loudness > GATE_DBFS]
    return loudness - np.float32(np.median(heard)) if len(heard) else np.minimum(loudness, 0)


def _first_there(*courses: Floats) -> Floats:
    """(T,): of each second the first that is a number."""
    found = courses[0]
    for course in courses[1:]:
        found = np.where(np.isnan(found), course, found)
    return found
