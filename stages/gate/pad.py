"""`gate evaluate-pad`: how often does an attack pass the passive network of this gate, and a live face not?

In the terms of ISO/IEC 30107-3:2023. APCER: the share of the attack presentations of one species that are taken for
live faces; BPCER: the share of the bona fide presentations, live ones, that are taken for attacks. Presentations
without an answer are counted apart (APNRR and BPNRR): the door stays closed for them.

A presentation goes through the stages that a camera's frames go through, and is judged by the rule of the gate: the
median score of the faces that were picked, of which there have to be enough. Each track of a video is one; so whoever
else is to be seen in the video of an attack counts as an attack, too. Of each photo half a second is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from math import exp, isnan, lgamma, log, nan
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from pipeline import config as toml
from pipeline.copying import Copier
from pipeline.errors import Failed, Usage
from pipeline.frames import Overwritten
from pipeline.types import Frame
from stages.detect import Detect
from stages.gate.config import Mode
from stages.gate.passage import NEEDED
from stages.gate.settings import GateSettings
from stages.liveness import Liveness
from stages.nms import Nms
from stages.pick import Pick
from stages.sources.images import PERIOD_NS, Images, is_image
from stages.sources.picture import Converter, Picture
from stages.sources.recording import Recording
from stages.track import Track

LIVE = "live"
VIDEOS = (".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm")
STILL = 13  # times that a photo is shown, PERIOD_NS apart: long enough for a track and NEEDED picks
SURE = 0.95  # the confidence of all bounds
SIMULATED = "simulated.json"  # in a folder that `python -m export simulate attacks` made


class Rate(NamedTuple):
    """`wrong` of so many, and bounds that hold the true share with a confidence of SURE or more."""

    wrong: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """NaN of nothing."""
        return self.wrong / self.of if self.of else nan


class Presentation(NamedTuple):
    """One face that was presented, and what the gate makes of it."""

    file: Path
    species: str  # "live", or the species of attack
    score: float | None  # 0..1; None where too few of its faces were good enough for an answer


class Report(NamedTuple):
    """What the threshold does to all presentations of a folder."""

    threshold: float
    simulated: bool  # the attacks were never before a camera
    presentations: tuple[Presentation, ...]
    apcer: dict[str, Rate]  # by species of attack
    bpcer: Rate

    @property
    def worst(self) -> str:
        """The species of attack with the highest APCER, which is the headline; "" where none was answered."""
        answered = [name for name, one in self.apcer.items() if one.of]
        return max(answered, key=lambda name: (self.apcer[name].value, self.apcer[name].high), default="")

    def unanswered(self, species: str) -> tuple[int, int]:
        """How many presentations of a species, or "live", got no answer, and of how many."""
        scores = [one.score for one in self.presentations if one.species == species]
        return scores.count(None), len(scores)


def evaluate_pad(
    folder: Annotated[Path, typer.Argument(help="Has live/, and a folder for each species of attack: print/, ...")],
    config: Annotated[Path | None, typer.Option(help="The TOML file that the gate is given.")] = None,
) -> None:
    """Measure how often attacks pass the passive liveness of this gate, and live faces do not.

    The folders hold photos and videos. Bounds are of 95 %; with few presentations they are wide, and they say nothing
    of species that are not in the folder.

    [bold]Example[/bold]: python run_pipeline.py gate evaluate-pad presentations/ --config gate.toml
    """
    settings = toml.load(config, GateSettings) if config else GateSettings()
    report = evaluate(folder, settings, lambda files: track(files, "looking", transient=True))
    console = Console()
    console.print(table(report))
    kind = "simulated presentations" if report.simulated else "presentations before a camera"
    told = f"threshold {report.threshold:.4f}, {len(report.presentations)} {kind}, bounds of {SURE:.0%}"
    console.print(Text(told), soft_wrap=True)


def evaluate(folder: Path, settings: GateSettings, shown: Callable[[list[Path]], Iterable[Path]] = iter) -> Report:
    """Rate all presentations under `folder`; `shown` may tell of the progress. Raises Failed and Usage."""
    if not settings.liveness.models:
        raise Usage("no network tells live faces: set liveness.models in the config file")
    files = _files(folder)
    door = _Door(settings)
    found = []
    for file in shown(files):
        species = file.relative_to(folder).parts[0]
        found += [Presentation(file.relative_to(folder), species, score) for score in door.scores(file)]
    rates = {name: _rate(found, name, door.threshold) for name in dict.fromkeys(one.species for one in found)}
    bpcer = rates.pop(LIVE)
    return Report(door.threshold, (folder / SIMULATED).exists(), tuple(found), rates, bpcer)


def table(report: Report) -> Table:
    """The rates, for a terminal."""
    drawn = Table("", "rate", "bounds", "wrong", "no answer", box=None)
    for species, one in {**report.apcer, LIVE: report.bpcer}.items():
        silent, count = report.unanswered(species)
        title = "BPCER" if species == LIVE else f"APCER {species}{' (worst)' if species == report.worst else ''}"
        figures = f"{one.value:.3f}", f"{one.low:.3f} - {one.high:.3f}", f"{one.wrong} of {one.of}"
        drawn.add_row(Text(title), *figures, f"{silent} of {count}")
    return drawn


def bounds(wrong: int, count: int) -> tuple[float, float]:
    """The exact bounds of a share of which `wrong` of `count` were seen (Clopper & Pearson, Biometrika 26, 1934)."""
    tail = (1 - SURE) / 2
    low = _crossing(lambda share: _at_most(wrong - 1, count, share), 1 - tail) if wrong else 0.0
    high = _crossing(lambda share: _at_most(wrong, count, share), tail) if wrong < count else 1.0
    return low, high


def _rate(found: list[Presentation], species: str, threshold: float) -> Rate:
    """The share of a species' answered presentations that was taken for the other kind."""
    passed = [one.score >= threshold for one in found if one.species == species and one.score is not None]
    wrong = passed.count(species != LIVE)
    return Rate(wrong, len(passed), *bounds(wrong, len(passed)))


def _at_most(wrong: int, count: int, share: float) -> float:
    """The chance of at most `wrong` among `count` where each has the chance `share`, 0 < share < 1 (binomial)."""
    logs = (
        lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) + k * log(share) + (count - k) * log(1 - share)
        for k in range(wrong + 1)
    )
    return sum(map(exp, logs))


def _crossing(falling: Callable[[float], float], level: float) -> float:
    """Where in 0..1 a falling function is at `level`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2


def _files(folder: Path) -> list[Path]:
    """The photos and videos, by species and name. Raises Failed where a folder is missing or empty."""
    if not folder.is_dir():
        raise Failed(f"there is no folder {folder}: give one with live/ and a folder for each species of attack in it")
    species = sorted(path for path in folder.iterdir() if path.is_dir())
    if folder / LIVE not in species:
        raise Failed(f"{folder} has no folder live/: put photos or videos of live faces there")
    if len(species) < 2:
        raise Failed(f"{folder} has only live/: put attacks into print/, replay/ or a folder of another name")
    files = []
    for one in species:
        media = sorted(path for path in one.rglob("*") if is_image(path) or path.suffix.lower() in VIDEOS)
        if not media:
            raise Failed(f"{one} has no photo and no video in it: fill it or remove it")
        files += media
    return files


class _Door:
    """The stages between camera and gate, and the gate's rule."""

    def __init__(self, settings: GateSettings) -> None:
        self._screen = _Screen()
        self._detect, self._nms = Detect(settings.detect, self._screen), Nms(settings.nms)
        self._track, self._pick = Track(settings.track), Pick(settings.pick, self._screen)
        self._liveness = Liveness(settings.liveness, self._screen)
        self.threshold = nan
        self._most, self._mode = settings.pick.most, settings.gate.mode

    def scores(self, file: Path) -> list[float | None]:
        """The score of each face that a file presents, None where there is no answer; of none, a single None."""
        tracks: dict[int, list[float]] = {}
        for frame in self._screen.play(file):
            (candidates,) = self._detect([frame])
            if isinstance(candidates, Overwritten):
                raise candidates
            picked = self._liveness(self._pick(self._track(self._nms(candidates))))
            self.threshold = picked.live_threshold
            assert picked.found.tracks is not None
            for name in picked.found.tracks.tolist():
                if name >= 0:
                    tracks.setdefault(name, [])
            for row, live in zip(picked.rows.tolist(), picked.live.tolist(), strict=True):
                tracks[int(picked.found.tracks[row])].append(live)
        return [_answer(scores, self._most, self._mode) for scores in tracks.values()] or [None]


def _answer(scores: list[float], most: int, mode: Mode) -> float | None:
    """The highest threshold with which the gate, which asks after each face, would at some time have said: live.

    See stages.gate.judge.is_live: the median of the faces so far, and the newest by itself; of `most` faces, the first.
    1:1 those that count depend on when the badge is shown: any in a row are taken, with any newest face after them,
    which is no lower than what the gate would say.
    """
    told = [score for score in (scores[:most] if mode == "1:N" else scores) if not isnan(score)]
    if mode == "1:N":
        return max((min(median(told[:end]), told[end - 1]) for end in range(NEEDED, len(told) + 1)), default=None)
    newest = [*accumulate(reversed(told), max)][::-1]  # the best from each face on
    rows = ((start, end) for start in range(len(told)) for end in range(start + NEEDED, start + most + 1))
    return max((min(median(told[a:b]), newest[b - 1]) for a, b in rows if b <= len(told)), default=None)


class _Screen:
    """The one picture that is being looked at, where the stages expect frames."""

    def __init__(self) -> None:
        self._convert = Converter(Copier(helped=False))
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def play(self, file: Path) -> Iterator[Frame]:
        """Every picture of a video, or a photo STILL times. Raises Failed for what cannot be read."""
        for picture in _pictures(file):
            width, height = picture.size
            if self._pixels.shape[:2] != (height, width):
                self._pixels = np.empty((height, width, 3), np.uint8)
            self._convert(picture, self._pixels)
            yield Frame(str(file), picture.seq, picture.captured_ns, picture.pts_ns, 0, 0, 0, width, height)

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        yield self._pixels


def _pictures(file: Path) -> Iterator[Picture]:
    if is_image(file):
        for picture in Images(file, None):
            yield from (replace(picture, seq=seq, pts_ns=seq * PERIOD_NS) for seq in range(STILL))
        return
    recording = Recording(file, 1, None)
    try:
        yield from (picture for picture in recording if picture is not None)
    finally:
        recording.close()
