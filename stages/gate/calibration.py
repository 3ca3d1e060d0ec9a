"""The threshold that a site has measured, and whether it still holds. Numbers only: no face is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from pipeline.files import replace_file
from stages.gallery.people import Person
from stages.gate.config import Mode

NAME = "calibration.json"
Span = tuple[float, float]  # 95 %


class Point(msgspec.Struct, frozen=True):
    """One point of the DET curve."""

    threshold: float
    far: float  # of a comparison
    frr: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What `gate calibrate` found. Rates are shares of 1."""

    model: str  # identity of the embedder
    detector: str  # identity, too: a face is cut out by the points that it marks
    mode: Mode
    far: float  # of a passage, as asked for
    comparison_far: float  # that a comparison of a face with a photo may have, so that a passage keeps `far`
    threshold: float  # cosine
    measured_far: float  # of a comparison, at the threshold
    measured_far_span: Span  # people resampled
    optimistic_far: float  # 3/n, as if the comparisons were independent
    tar: float
    tar_span: Span  # people resampled
    genuine: int  # comparisons
    impostor: int  # comparisons
    people: int  # that were compared
    photos: int  # that a face may be compared with, as `compared_with` counts them
    most: int  # embeddings of a passage
    made_at: str  # ISO 8601
    curve: tuple[Point, ...]

    def objection(
        self,
        model: str,
        detector: str,
        mode: str,
        far: float,
        threshold: float,
        photos: Sequence[int] | NDArray[np.intp],
        most: int,
    ) -> str:
        """Why this does not hold for a gate that runs so, as a sentence; "" where it does.

        `photos` (P,) are those of each enrolled person.
        """
        again = "run gate calibrate again"
        if self.model != model:
            return f"the threshold was calibrated for another embedder: {again}"
        if self.detector != detector:
            return f"the threshold was calibrated for another detector or another detect.size: {again}"
        if self.mode != mode:
            return f"the threshold was calibrated for {self.mode}, and the gate runs {mode}: {again}"
        if self.far > far:
            return f"the threshold was calibrated for a false accept rate of {self.far:g}, not {far:g}: {again}"
        if threshold < self.threshold - 1e-6:
            return f"match.threshold is {threshold:.3f}, and {self.threshold:.3f} was calibrated: leave it out"
        if outgrown := self.outgrown(photos):
            return outgrown
        if most > self.most:
            return f"the threshold was calibrated for {self.most} faces a passage, not {most}: {again}"
        return ""

    def outgrown(self, photos: Sequence[int] | NDArray[np.intp]) -> str:
        """The same as far as the number of enrolled photos goes."""
        count = compared_with(photos, self.mode)
        if count <= self.photos:
            return ""
        whose = "of all people together" if self.mode == "1:N" else "of one person"
        return (
            f"the threshold was calibrated for {self.photos} photos {whose}, and {count} are enrolled: "
            "run gate calibrate again, with --photos for those to come"
        )


def compared_with(photos: Sequence[int] | NDArray[np.intp], mode: Mode) -> int:
    """How many photos a face is compared with, of `photos` (P,) that each person has: all; in 1:1 the most of one."""
    return int(np.sum(photos) if mode == "1:N" else np.max(photos, initial=0))


def warning(home: Path, everybody: Callable[[], Iterable[Person]]) -> str:
    """What to say to who has just enrolled somebody: a sentence where the photos have become too many; or "".

    `everybody` who is enrolled is only asked for where something was calibrated, as that decrypts the whole gallery.
    """
    found = load(home)
    if found is None:
        return ""
    photos = [sum(template.model == found.model for template in person.templates) for person in everybody()]
    outgrown = found.outgrown(photos)
    return f"{outgrown}; until then a gate opens no real door" if outgrown else ""


def load(home: Path) -> Calibration | None:
    """The calibration in the data directory; None where there is none. Raises Failed for one that cannot be read."""
    path = home / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(f"the calibration {path} cannot be read ({error}): run gate calibrate again") from error


def store(home: Path, calibration: Calibration) -> Path:
    """Write it, whole or not at all."""
    path = home / NAME
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(calibration)), synced=True)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error
    return path
