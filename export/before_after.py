"""What quantizing a model costs and saves: accuracy, time and bytes of both files, measured in turn in one run."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from export import chips, feed, report, shot_windows
from export.decode import SCORE
from export.detector import Detector, Image, scaled
from export.evaluate import average_precision, embed, verification
from export.latency import latencies
from export.model_file import load, properties, session
from export.packages import Failed
from export.parity import differences
from export.verify import agreement, comparable, detector, outputs

SLOWER = 1.05  # times as long, and it is no noise
ON_A_CORE = "median of the time on a core"
SMALLER = 0.95  # of the bytes: less of a difference is none
# More than this is measurably worse: limits far below what another detector, or the same at another size, differs by.
LIMITS = {
    "AP50": 0.005,
    "not found by both": 0.02,
    "score": 0.03,
    "landmarks": 0.03,  # eye distances; CenterFace and YuNet are 0.09 apart on the same faces
    "TAR": 0.005,
    "F1": 0.01,
    "probability": 0.005,  # mean difference: nearly all frames are far from a transition, where both say 0
    "1 - cosine": 0.01,
    "relative difference": 0.03,
}


@dataclass(frozen=True)
class Test:
    """What to measure on."""

    photos: list[Path]  # of shots: clips
    labels: list[Path]  # XML files, for detectors
    faces: tuple[Path, Path] | None  # a list and the folder of its photos, for embedders
    size: tuple[int, int]  # height, width
    calibrated: bool  # the photos are those that set the ranges


@dataclass(frozen=True)
class Result:
    """Figures of two files; every pair is (before, after)."""

    recipe: str
    size: str
    photos: str
    bytes: tuple[int, int]
    milliseconds: dict[str, tuple[float, float]]  # one picture or window, one thread of the CPU
    accuracy: dict[str, tuple[float, float]]
    apart: dict[str, float]  # how far what they say of the same photos is apart
    losses: dict[str, float]  # what LIMITS are held against
    default: bool
    verdict: str


@dataclass(frozen=True)
class Figures:
    """The figures of Result that depend on the kind of model."""

    accuracy: dict[str, tuple[float, float]]
    apart: dict[str, float]
    losses: dict[str, float]


def timed(files: Sequence[Path], models: Sequence[onnx.ModelProto], image: Image) -> dict[str, tuple[float, float]]:
    """Milliseconds of both files for one picture, in turns."""
    fed = [(session(file), scaled(image, properties(model))) for file, model in zip(files, models, strict=True)]
    before, after = latencies(fed)
    return {
        "median": (before.p50, after.p50),
        "95th percentile": (before.p95, after.p95),
        ON_A_CORE: (before.core, after.core),
    }


def pair(values: Iterable[float]) -> tuple[float, float]:
    """Before and after, to four digits."""
    before, after = (short(value) for value in values)
    return before, after


def short(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def of_detectors(files: Sequence[Path], detectors: Sequence[Detector], test: Test) -> Figures:
    """How far what both find agrees, and AP50 of both on labelled photos."""
    images = [chips.read_image(photo) for photo in test.photos]
    found = agreement(*([detect(image, SCORE) for image in images] for detect in detectors))
    apart = {key: short(value) for key, value in asdict(found).items() if value is not None}
    losses = {"not found by both": 1 - found.share, "score": found.score}
    losses |= {} if found.landmarks is None else {"landmarks": found.landmarks}
    if not test.labels:
        return Figures({}, apart, losses)
    before, after = (average_precision(file, test.labels, *test.size)["AP50"] for file in files)
    return Figures({"AP50": (before, after)}, apart, losses | {"AP50": before - after})


def of_embedders(files: Sequence[Path], models: Sequence[onnx.ModelProto], images: list[Image], test: Test) -> Figures:
    """The cosine between both embeddings of each face, and TAR at FAR of both on named faces."""

    before, after = (outputs(model, file, images)[0] for model, file in zip(models, files, strict=True))
    before, after = (found.reshape(len(images), -1) for found in (before, after))
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = (before * after).sum(1) / lengths
    apart = {"faces": float(len(images)), "mean cosine": float(cosine.mean()), "worst cosine": float(cosine.min())}
    losses = {"1 - cosine": 1 - float(cosine.mean())}
    if not test.faces:
        return Figures({}, apart, losses)
    names, cuts, _ = chips.chips(*test.faces, feed.FINDER)
    rates = [verification(names, embed(file, cuts)) for file in files]
    accuracy = {key: pair(rate[key] for rate in rates) for key in rates[0] if "pairs" not in key}
    losses |= {"TAR": max(a - b for key, (a, b) in accuracy.items() if key.startswith("TAR"))}
    return Figures(accuracy, apart, losses)


def of_shots(files: Sequence[Path], models: Sequence[onnx.ModelProto], test: Test) -> Figures:
    """How far the probabilities of each frame are apart, and F1 of both on transitions that were made."""
    film = shot_windows.join(test.photos, *test.size)
    before, after = (
        film.probability(outputs(model, file, film.windows())[0]) for model, file in zip(models, files, strict=True)
    )
    away = np.abs(after - before)
    apart = {
        "frames": float(len(away)),
        "transitions": float(len(film.transitions)),
        "mean difference": short(float(away.mean())),
        "largest difference": short(float(away.max())),
    }
    f1 = pair(map(film.f1, (before, after)))
    return Figures({"F1": f1}, apart, {"probability": float(away.mean()), "F1": f1[0] - f1[1]})


def figures(files: Sequence[Path], models: Sequence[onnx.ModelProto], images: list[Image], test: Test) -> Figures:
    """What is right for the kind of model; a model of no kind that is known has its outputs compared."""
    detectors = [found for file in files if (found := detector(file, *test.size))]
    if len(detectors) == len(files):
        return of_detectors(files, detectors, test)
    if test.labels:
        raise Failed(f"{files[0]} is no detector; leave --labels out")
    if properties(models[0]).get("layout") == "embedder":
        return of_embedders(files, models, images, test)
    if test.faces:
        raise Failed(f"{files[0]} embeds no faces; leave --faces out")
    if feed.takes_windows(models[0]):
        return of_shots(files, models, test)
    if not comparable(models):
        raise Failed(f"{files[0]} has outputs of any length; quantize it without NMS inside")
    arrays = (outputs(model, file, images) for model, file in zip(models, files, strict=True))
    worst = differences([value.name for value in models[0].graph.output], *arrays)
    apart = {f"{name}: relative": d.relative for name, d in worst.items()}
    return Figures({}, apart, {"relative difference": max(apart.values())})


def verdict(smaller: bool, slower: bool, losses: dict[str, float], accurate: bool) -> tuple[bool, str]:
    """Whether the quantized file should be the default, and why: the rule, applied to the figures.

    `accurate`: they are of labelled photos, or of transitions that were made, and not of the calibration's pictures, so
    they tell of accuracy.
    """
    worse = [f"{key} {value:.3g} over {LIMITS[key]}" for key, value in losses.items() if not value <= LIMITS[key]]
    same = "not measurably worse" if accurate else "of unknown accuracy (--photos with --labels or --faces tell it)"
    reasons = [
        "smaller" if smaller else "not smaller",
        f"measurably worse ({', '.join(worse)})" if worse else same,
        "slower here" if slower else "not slower here",
    ]
    default = smaller and not worse and not slower and accurate
    return default, f"{'ships' if default else 'does not ship'} as default: it is {', '.join(reasons)}"


def measure(files: tuple[Path, Path], recipe: str, test: Test) -> Result:
    """All figures of a file and of the quantized one made from it."""
    models = [load(file) for file in files]
    images = feed.pictures(models[0], test.photos, *test.size)
    kind = "clips" if feed.takes_windows(models[0]) else "photos"
    milliseconds = timed(files, models, images[0])
    found = figures(files, models, images, test)
    before, after = (file.stat().st_size for file in files)
    slower = milliseconds[ON_A_CORE][1] > SLOWER * milliseconds[ON_A_CORE][0]
    accurate = bool(found.accuracy) and not test.calibrated
    default, words = verdict(after < SMALLER * before, slower, found.losses, accurate)
    return Result(
        recipe=recipe,
        size="x".join(map(str, test.size)),
        photos=f"{len(test.photos)} {kind}" + (", the calibration's own" if test.calibrated else ""),
        bytes=(before, after),
        milliseconds=milliseconds,
        accuracy=found.accuracy,
        apart=found.apart,
        losses=found.losses,
        default=default,
        verdict=words,
    )


def write_report(result: Result, files: tuple[Path, Path], folder: Path) -> None:
    """report.md and report.json in the folder, which is made; prints the figures and where they are."""
    pairs: dict[str, tuple[float, float]] = {"bytes": result.bytes}
    pairs |= {f"ms, {key}": times for key, times in result.milliseconds.items()} | result.accuracy
    rows = [[key, a, b, f"{b / a:.3f}" if a else None] for key, (a, b) in pairs.items()]
    apart = [[key, f"{value:.4g}"] for key, value in result.apart.items()]
    limits = ", ".join(f"{key} {LIMITS[key]}" for key in result.losses)
    shown = [
        f"{result.recipe}. Input {result.size}, one picture or window; compared on {result.photos}.",
        report.table(["", "before", "after", "after / before"], rows),
        report.table(["before and after on the same pictures", ""], apart),
        f"Verdict: {result.verdict}. Measurably worse is more than: {limits}.",
    ]
    title = f"{files[1].name}, made from {files[0].name}"
    report.write(report.folder_for(folder, "quantize", files), title, ["\n\n".join(shown)], [], files, asdict(result))
