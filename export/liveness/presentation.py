"""How often is an attack taken for a live face, and a live face for an attack? In the terms of ISO/IEC 30107-3:2023.

APCER: the share of the attack presentations of one species that pass. BPCER: the share of the bona fide presentations,
live ones, that are turned away. ACER: the mean of BPCER and the worst species' APCER. Presentations without a verdict,
because no face was found, are counted apart (the standard's non-responses). Bounds are Clopper and Pearson's (1934).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import exp, lgamma, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.detector import Detector
from export.feed import FINDER
from export.liveness.live_folders import LIVE, presentations, presented
from export.liveness.passive import Passive
from export.liveness.simulate import MARK
from export.packages import Failed

SURE = 0.95  # the confidence of all bounds


@dataclass(frozen=True)
class Rate:
    """A share, with bounds that hold it with a confidence of SURE or more."""

    value: float
    low: float
    high: float
    wrong: int = 0
    count: int = 0

    def __str__(self) -> str:
        counts = f" ({self.wrong} of {self.count})" if self.count else ""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]{counts}"


@dataclass(frozen=True)
class Rates:
    """What a threshold does: scores of at least `threshold` pass as live."""

    threshold: float
    apcer: dict[str, Rate]  # by species of attack
    bpcer: Rate
    worst: str  # the species with the highest APCER, which is the headline; "" where there were no attacks
    acer: Rate | None
    unanswered: dict[str, int]  # presentations in which no face was found, by species; in no rate


def at_most(wrong: int, count: int, share: float) -> float:
    """The chance of at most `wrong` among `count` where each has the chance `share` (0 < share < 1)."""
    logs = (
        lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) + k * log(share) + (count - k) * log(1 - share)
        for k in range(wrong + 1)
    )
    return sum(map(exp, logs))


def crossing(falling: Callable[[float], float], level: float) -> float:
    """Where in 0..1 a falling function is at `level`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2


def rate(wrong: int, count: int, sure: float = SURE) -> Rate:
    """`wrong` of `count` with its exact bounds (Clopper & Pearson, Biometrika 26, 1934)."""
    tail = (1 - sure) / 2
    low = crossing(lambda share: at_most(wrong - 1, count, share), 1 - tail) if wrong else 0.0
    high = crossing(lambda share: at_most(wrong, count, share), tail) if wrong < count else 1.0
    return Rate(wrong / count, low, high, wrong, count)


def rates(scores: NDArray[np.float64], species: Sequence[str], threshold: float) -> Rates:
    """The rates of scores (N,) of 0..1, NaN where no face was found; `species` names "live" or the attack of each.

    ACER's bounds are the means of bounds that are each wider (1 - (1 - SURE) / 2), so that both hold together. Failed
    where no live face has a score, or no attack of a species.
    """
    kinds = np.array(species)
    passed = {name: scores[(kinds == name) & ~np.isnan(scores)] >= threshold for name in dict.fromkeys(species)}
    unanswered = {name: int((kinds == name).sum()) - len(verdicts) for name, verdicts in passed.items()}
    live = passed.pop(LIVE, np.zeros(0, bool))
    mute = [name for name, verdicts in {LIVE: live, **passed}.items() if not len(verdicts)]
    if mute:
        raise Failed(f"no face was found in any presentation of {', '.join(mute)}: there is nothing to rate")
    apcer = {name: rate(int(verdicts.sum()), len(verdicts)) for name, verdicts in passed.items()}
    bpcer = rate(int((~live).sum()), len(live))
    if not apcer:
        return Rates(threshold, apcer, bpcer, "", None, unanswered)
    worst = max(apcer, key=lambda name: (apcer[name].value, apcer[name].high))
    parts = [rate(part.wrong, part.count, 1 - (1 - SURE) / 2) for part in (apcer[worst], bpcer)]
    value, low, high = (sum(side) / 2 for side in zip(*((p.value, p.low, p.high) for p in parts), strict=True))
    return Rates(threshold, apcer, bpcer, worst, Rate(value, low, high), unanswered)


def threshold_at(live: NDArray[np.float64], bpcer: float) -> float:
    """The highest threshold that turns away at most the share `bpcer` of live scores (N,): for a calibration set."""
    return float(np.sort(live)[min(int(bpcer * len(live)), len(live) - 1)])


def score_folder(
    model: Path, data: Path, also: Sequence[Path] = ()
) -> tuple[NDArray[np.float64], list[str], list[Path]]:
    """The score of each presentation under `data`, its species, its file.

    A video's score is the mean over its frames; with `also` the models' scores are averaged. NaN: no face was found.
    """
    networks = [Passive(file) for file in (model, *also)]
    detector = Detector(FINDER, 384, 640)
    found = presentations(data, attacks=False)
    scores = np.full(len(found), np.nan)
    for index, presentation in enumerate(found):
        faces = list(presented(presentation.file, detector))
        if faces:
            scores[index] = np.mean([[network(face.image, face.box) for network in networks] for face in faces])
    return scores, [presentation.species for presentation in found], [presentation.file for presentation in found]


def table(found: Rates) -> str:
    """The rates as a Markdown table."""
    rows = [f"| APCER {name}{' (worst)' if name == found.worst else ''} | {one} |" for name, one in found.apcer.items()]
    rows.append(f"| BPCER | {found.bpcer} |")
    if found.acer:
        rows.append(f"| ACER | {found.acer} |")
    rows += [f"| no face found, {name} | {count} |" for name, count in found.unanswered.items() if count]
    heads = [f"| threshold {found.threshold:.4f} | value [{SURE:.0%} bounds] |", "|---|---|"]
    return "\n".join(heads + rows)


def report(
    model: Path, data: Path, threshold: float | None = None, also: Sequence[Path] = ()
) -> tuple[str, dict[str, object]]:
    """Markdown and figures of a model over a folder; without `threshold`, at the file's own.

    A folder that `simulate attacks` made is called simulated: rates over it are never to be mixed with real ones.
    """
    limit = Passive(model).threshold if threshold is None else threshold
    scores, species, files = score_folder(model, data, also)
    found = rates(scores, species, limit)
    kind = "simulated presentations" if (data / MARK).exists() else "presentations before a camera"
    names = " + ".join(file.name for file in (model, *also))
    listed = [[str(file.relative_to(data)), float(score)] for file, score in zip(files, scores, strict=True)]
    figures = {"model": names, "kind": kind, **asdict(found), "scores": listed}
    return f"{names} over {len(files)} {kind}\n\n{table(found)}\n", figures
