"""`gate calibrate`: from the false accept rate that a site wants to the cosine that keeps it.

A passage takes up to N faces, and a person is recognized where two of them reach the threshold, each with any of the
person's photos. By Markov's inequality the chance of that for a stranger, against one person, is at most N / 2 times
that of one face, however the faces hang together; against T photos, of one person or of many, the chance of a face is
at most T times that against one photo, however the photos hang together. So that a passage keeps the rate F, a
comparison of a face with a photo may have F * 2 / (N * T): T are the photos of all who are enrolled or, where a badge
says whom to compare with, the most of one person. Another photo of somebody counts like another person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from pipeline import config as toml
from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.people import Template
from stages.gallery.store import Store
from stages.gate.calibration import Calibration, Point, compared_with, store
from stages.gate.comparisons import LEAST, Comparisons
from stages.gate.config import Mode
from stages.gate.curves import check_picture, det, write
from stages.gate.passage import NEEDED
from stages.gate.settings import GateSettings
from stages.sources.images import is_image

POINTS = 200  # of the curve
ALIKE = 3  # pairs of people that are shown
FEWEST = 10  # people
PHOTOS_HELP = (
    "To be enrolled, at most: of all people together, or of one where the mode is 1:1. As many as now if left out."
)


def calibrate(
    impostors: Annotated[Path, typer.Option(help="Photos of people who are not enrolled; see below.")],
    far: Annotated[float, typer.Option(help="False accept rate of a passage.", min=1e-9, max=0.5)] = 0.01,
    photos: Annotated[int | None, typer.Option(help=PHOTOS_HELP)] = None,
    config: Annotated[Path | None, typer.Option(help="The TOML file that the gate is given.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Where the DET curve goes, a PNG.")] = None,
) -> None:
    """Measure the threshold for a false accept rate, on who is enrolled and on photos of other people.

    In the folder of IMPOSTORS a folder is a person and holds their photos; of a photo beside these every face is taken
    for another person. Somebody in it twice makes the threshold higher than it needs to be, never lower.

    [bold]Example[/bold]: python run_pipeline.py gate calibrate --far 1e-2 --impostors strangers/ --plot det.png
    """
    if plot:
        check_picture(plot)
    settings = toml.load(config, GateSettings) if config else GateSettings()
    enrol = Enrol(EnrolConfig(detect=settings.detect, nms=settings.nms, match=settings.match))
    enrolled = Store(home(), keys()).people()
    gallery = {one.name: faces for one in enrolled if len(faces := _of(one.templates, enrol.identity))}
    if not gallery:
        raise Failed("nobody is enrolled with this embedder: enroll people first, best with two photos or more each")
    mode = settings.gate.mode
    now = compared_with([len(faces) for faces in gallery.values()], mode)
    if photos is not None and photos < now:
        raise Usage(f"{now} photos are enrolled: --photos is to be so many or more")
    strangers = dict(_strangers(impostors, enrol))
    compared = Comparisons.of([*gallery.values(), *strangers.values()])
    names = [*gallery, *strangers]
    for near, one, other in compared.nearest(ALIKE):
        typer.echo(
            f"most alike: {names[one]} and {names[other]}, {near:.2f}; are they one person? Then say so, see --help"
        )
    models = (enrol.identity, settings.detect.identity)
    found = measure(compared, photos or now, far, mode, settings.pick.most, *models)
    path = store(home(), found)
    for text in told(found):
        typer.echo(text)
    if photos is None:
        typer.echo(roomless(compared, found))
    typer.echo(f"stored in {path}; a gate that is running takes it at its next start")
    if plot:
        write(det(found), plot)
        typer.echo(f"DET curve: {plot}")


def measure(
    compared: Comparisons, photos: int, far: float, mode: Mode, most: int, model: str, detector: str
) -> Calibration:
    """The calibration, for so many enrolled photos. Raises Failed where too few are compared for the rate."""
    if compared.people < FEWEST:
        who = "1 person says" if compared.people == 1 else f"{compared.people} people say"
        raise Failed(f"{who} nothing: give photos of {FEWEST} people or more")
    if not len(compared.genuine):
        raise Failed(
            "nobody has two photos: enroll a second photo of some people, or put people's folders into IMPOSTORS"
        )
    times = most / NEEDED * photos
    wanted, least = far / times, compared.smallest_rate()
    if wanted < least:
        raise Failed(
            f"these {compared.people} people cannot support a false accept rate of {far:g} a passage: a comparison may "
            f"have {wanted:.2g}, which takes {LEAST} false accepts of {LEAST} pairs of people to measure; the smallest "
            f"rate that they support is {least * times:.2g}: give photos of more people, or ask for that"
        )
    threshold = compared.threshold(wanted)
    measured, tar = compared.far(threshold), compared.tar(threshold)
    return Calibration(
        model=model,
        detector=detector,
        mode=mode,
        far=far,
        comparison_far=wanted,
        threshold=threshold,
        measured_far=measured.value,
        measured_far_span=(measured.low, measured.high),
        optimistic_far=3 / len(compared.impostor),
        tar=tar.value,
        tar_span=(tar.low, tar.high),
        genuine=len(compared.genuine),
        impostor=len(compared.impostor),
        people=compared.people,
        photos=photos,
        most=most,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        curve=tuple(_curve(compared)),
    )


def roomless(compared: Comparisons, found: Calibration) -> str:
    """What becomes of a calibration for those who are enrolled now, and what one for twice as many would need."""
    wanted = found.comparison_far / 2
    supported = wanted >= compared.smallest_rate()
    needs = f"a threshold of {compared.threshold(wanted):.3f}" if supported else "photos of more people"
    return (
        "this leaves no room: with another photo enrolled no real door opens; "
        f"--photos {2 * found.photos} would need {needs}"
    )


def told(found: Calibration) -> list[str]:
    """The figures, for a terminal."""
    (low, high), (tar_low, tar_high) = found.measured_far_span, found.tar_span
    whose = "all who are enrolled" if found.mode == "1:N" else "the badge's holder"
    allowed = found.comparison_far
    above = (
        "  the estimate keeps the rate that was asked for, the upper bound does not: with it a passage may come to "
        f"{min(1.0, found.far * high / allowed):.2g}; photos of more people narrow it"
    )
    return [
        f"threshold {found.threshold:.3f} (cosine), for a false accept rate of {found.far:g} a passage",
        f"  that is {allowed:.2g} a comparison with a photo: of up to {found.most} faces {NEEDED} have to match, "
        f"against up to {found.photos} photos of {whose}",
        f"false accepts of a comparison {found.measured_far:.2g}, 95 % [{low:.2g}, {high:.2g}] (people resampled)",
        *([above] if high > allowed else []),
        f"  no rate below {found.optimistic_far:.2g} could be seen at all (3/n, optimistic: all independent)",
        f"true accepts of a comparison {found.tar:.3f}, 95 % [{tar_low:.3f}, {tar_high:.3f}] (people resampled)",
        f"{found.people} people, {found.genuine} genuine and {found.impostor} impostor comparisons",
    ]


def _of(templates: Sequence[Template], model: str) -> NDArray[np.float32]:
    rows = [one.embedding for one in templates if one.model == model]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def _strangers(folder: Path, enrol: Enrol) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What to call each person, and their faces (T, D)."""
    if not folder.is_dir():
        raise Usage(f"there is no folder {folder}: give one with photos of people who are not enrolled")
    listed = [(path, _photos(path)) for path in sorted(folder.iterdir())]
    if not any(photos for _, photos in listed):
        raise Usage(f"there are no photos in {folder}: put photos of people who are not enrolled there, see --help")
    for path, photos in track(listed, description="photos", transient=True):
        faces = [rows for photo in photos if len(rows := enrol.everybody(photo))]
        if not path.is_dir():
            yield from ((f"{path.name} {place}", face[None]) for rows in faces for place, face in enumerate(rows, 1))
        elif faces:
            yield f"{path.name}/", np.concatenate(faces)


def _photos(path: Path) -> list[Path]:
    """Those of a person's folder, or `path` itself if it is one."""
    return sorted(filter(is_image, path.iterdir() if path.is_dir() else [path]))


def _curve(compared: Comparisons) -> Iterator[Point]:
    """Points from all accepted to all refused, evenly over what the rates are seen by."""
    genuine, impostor = np.sort(compared.genuine), np.sort(compared.impostor)
    shares = np.unique(
        np.concatenate([np.geomspace(1 / len(impostor), 1, POINTS // 2), np.linspace(0, 1, POINTS // 2)])
    )
    for threshold in np.unique(np.quantile(impostor, 1 - shares)):
        yield Point(
            threshold=float(threshold),
            far=float(1 - np.searchsorted(impostor, threshold) / len(impostor)),
            frr=float(np.searchsorted(genuine, threshold) / len(genuine)),
        )
