"""`highlights`: from videos to a reel of the moments that are worth seeing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from pipeline.config import load
from pipeline.errors import Failed, Usage
from pipeline.graph import Process
from pipeline.home import home, keys
from pipeline.logs import log_to
from pipeline.watch import heard
from stages.gallery.store import Store as Gallery
from stages.highlight.analyse import recorders
from stages.highlight.cluster import look_on_ray
from stages.highlight.evaluate import evaluate
from stages.highlight.gather import recall
from stages.highlight.known import FOLDER
from stages.highlight.learned import Learned
from stages.highlight.outputs import check, write
from stages.highlight.progress import Bars
from stages.highlight.remux import key_frames
from stages.highlight.score import PRESETS, weigh
from stages.highlight.select import Must, candidates, select
from stages.highlight.settings import HighlightSettings
from stages.highlight.timeline import SECOND, SIGNALS, Moment, Reel, Scores, Timeline
from stages.highlight.times import clock, nanoseconds, stretch
from stages.highlight.videos import Hashes, State, videos
from stages.highlight.words import parts
from stages.highlight.work import Looked, Work, find, look_at

LOG = "highlights.log"
USUAL = "event"  # preset
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000


class Commands(TyperGroup):
    """`highlights VIDEO...` makes a reel; what begins with the name of another command is that command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, with the name of the first command put in where there is none."""
        if args and args[0] not in self.commands:
            args = ["reel", *args]
        return super().parse_args(ctx, args)


def commands(graph: Sequence[Process]) -> typer.Typer:
    """The command line of `highlights`, which looks at videos with this graph."""
    app = typer.Typer(cls=Commands, rich_markup_mode="rich", no_args_is_help=True)

    @app.command()
    def reel(
        video: Annotated[list[Path], typer.Argument(help="Videos, or folders of them.")],
        length: Annotated[str, typer.Option(help="Of the reel, at most: 60s, 1m30s, 2:00.")] = "60s",
        out: Annotated[Path, typer.Option("--out", "-o", help="The reel; all else lies beside it.")] = Path("reel.mp4"),
        preset: Annotated[
            str | None, typer.Option(help=f"What counts: {', '.join(PRESETS)}. [default: {USUAL}]")
        ] = None,
        weight: Annotated[list[str] | None, typer.Option(help="motion=2: another weight than the preset's.")] = None,
        scorer: Annotated[Path | None, typer.Option(help="An ONNX file trained on your marks, in place of it.")] = None,
        must: Annotated[list[str] | None, typer.Option(help="12:30-12:45, of several files b.mp4=12:30-12:45.")] = None,
        only: Annotated[str, typer.Option(help="Only moments with this enrolled person.")] = "",
        copy: Annotated[bool, typer.Option("--copy", help="Cut at key frames of one video, without encoding.")] = False,
        vertical: Annotated[bool, typer.Option("--vertical", help="9:16, following the action.")] = False,
        fps: Annotated[float, typer.Option(min=0.1, max=1000, help="How often a second people are looked for.")] = 5.0,
        jobs: Annotated[int, typer.Option(min=0, help="Videos at once; 0: as many as the cores bear.")] = 0,
        ray: Annotated[str, typer.Option(help="Look at the videos on a Ray cluster: its address, or local.")] = "",
        config: Annotated[
            Path | None, typer.Option(help="TOML file with tables engine, shots, people, detect, ...")
        ] = None,
    ) -> None:
        """Cut the best moments of videos into a reel, and say why each was taken.

        `highlights evaluate --help` tells how to compare its scores with those of people.

        [bold]Example[/bold]: python run_pipeline.py highlights match.mp4 --length 60s --preset sports -o reel.mp4
        """
        (paths, unsearched), budget = videos(video, out), nanoseconds(length)
        if not budget:
            raise Usage("the reel would be of no length: make --length longer")
        if scorer and (preset or weight):
            raise Usage("--scorer takes the place of --preset and --weight: leave these out")
        preset = preset or USUAL
        weights = _weights(preset, weight or [])
        musts = [_must(text, paths) for text in must or []]
        judge: Callable[[Timeline], Scores] = Learned(scorer) if scorer else lambda timeline: weigh(timeline, weights)
        if copy and (vertical or len(paths) > 1):
            raise Usage("--copy cuts one video as it is: leave --vertical out, and give one video")
        check(out, paths)
        settings = load(config, HighlightSettings) if config else HighlightSettings()
        people = Gallery(home(), keys()).people()
        if only and only not in [person.name for person in people]:
            raise Usage(f"nobody enrolled is called {only!r}: `run_pipeline.py people` lists who is")
        work = Work(graph, settings.by_stage(people, fps), settings.engine, home() / FOLDER, home() / LOG)
        _log(work.log)
        console = Console()
        looked = _looked(work, paths, jobs, ray, console)
        names = {person.id.hex(): person.name for person in people}
        timelines, failures = _recalled(work, looked, names, unsearched)
        for sentence in failures:
            typer.echo(f"framewire: {sentence}", err=True)
        musts = [one._replace(video=_place(work, paths[one.video], timelines)) for one in musts]
        _check_person(only, timelines)
        scores = [judge(timeline) for timeline in timelines]
        grid = key_frames(Path(timelines[0].video.path)) if copy else None
        moments = select(candidates(timelines, scores, only, grid), musts, timelines, scores, budget, grid)
        if not moments:
            raise Failed(f"no moment fits into {length}: make --length longer{', or leave --copy out' if copy else ''}")
        made = Reel(timelines, scores, moments, *((scorer.name, None) if scorer else (preset, weights)))
        with Bars(console) as bars:
            files = write(made, out, copied=copy, vertical=vertical, bars=bars)
        _tell(console, made, files)
        raise typer.Exit(1 if failures else 0)

    app.command()(evaluate)
    return app


def _looked(work: Work, paths: Sequence[Path], jobs: int, ray: str, console: Console) -> list[Looked]:
    """What became of the look at each video, in their order. Raises Failed where it was stopped."""
    signals = heard()
    with Bars(console) as bars:
        found, looked = find(work, paths, signals)
        looked += look_on_ray(work, found, ray, bars, signals) if ray else look_at(work, found, jobs, bars, signals)
    if signals:
        raise Failed("stopped: say it again, and it goes on where it was")
    _stop_at_once()
    return sorted(looked, key=lambda look: paths.index(look.path))


def _log(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_to(path, "supervisor")
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}; set $FRAMEWIRE_HOME") from error


def _stop_at_once() -> None:
    """From now on a signal to stop ends what is being written: it is removed, and quickly made again."""

    def stop(*_: object) -> NoReturn:
        raise Failed("stopped: say it again, and nothing is looked at again")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _weights(preset: str, changes: Sequence[str]) -> dict[str, float]:
    """The preset's, changed as --weight says. Raises Usage."""
    if preset not in PRESETS:
        raise Usage(f"there is no preset {preset!r}: --preset is one of {', '.join(PRESETS)}")
    weights = dict(PRESETS[preset])
    for change in changes:
        name, _, value = change.partition("=")
        if name not in SIGNALS:
            raise Usage(f"there is no signal {name!r}: --weight knows {', '.join(SIGNALS)}")
        try:
            weights[name] = float(value)
        except ValueError:
            raise Usage(f"--weight {change} has no number: write it like {name}=2") from None
        if weights[name] and not LEAST_WEIGHT <= weights[name] <= MOST_WEIGHT:
            raise Usage(f"--weight {change} is out of range: give 0, or {LEAST_WEIGHT} to {MOST_WEIGHT}")
    if not any(weights.values()):
        raise Usage("all weights are 0: nothing would be worth seeing")
    return weights


def _must(text: str, paths: Sequence[Path]) -> Must:
    """The stretch, and the place of its video among `paths`. Raises Usage."""
    name, equals, when = text.rpartition("=")
    named = [place for place, path in enumerate(paths) if not equals or Path(name) in (path, Path(path.name))]
    if len(named) != 1:
        which = f"{name!r} is none of the videos" if equals and not named else "it does not say of which video"
        raise Usage(f"--must {text}: {which}; write it like {paths[0].name}=12:30-12:45")
    return Must(named[0], *stretch(when))


def _recalled(
    work: Work, looked: Sequence[Looked], names: Mapping[str, str], unsearched: Sequence[str]
) -> tuple[list[Timeline], list[str]]:
    """The timelines of what could be read, and sentences on all that could not. Raises Failed where nothing could."""
    tracks = recorders(work.graph, work.settings)
    timelines, failures = [], [*unsearched]
    for look in looked:
        failures += look.notes
        if look.sha256:
            try:
                timelines.append(recall(look.path, look.sha256, work.store(look.sha256), tracks, names))
            except Failed as error:
                failures += [] if look.notes else [str(error)]
    if not timelines:
        raise Failed("; ".join(failures) or "there is nothing to see")
    return timelines, failures


def _place(work: Work, path: Path, timelines: Sequence[Timeline]) -> int:
    """Where the video, or the one with the same content, is among the `timelines`. Raises Failed."""
    sha256 = Hashes(work.folder).sha256(path, State.of(path))
    for place, timeline in enumerate(timelines):
        if timeline.video.sha256 == sha256:
            return place
    raise Failed(f"{path} could not be read, and --must asks for it: copy or export it again")


def _check_person(name: str, timelines: Sequence[Timeline]) -> None:
    if name and not any(name in timeline.known and timeline.known[name].any() for timeline in timelines):
        seen = sorted({known for timeline in timelines for known, when in timeline.known.items() if when.any()})
        raise Failed(
            f"{name} is not recognized anywhere in it: "
            + (f"recognized are {', '.join(seen)}" if seen else "nobody enrolled is; enroll them first")
        )


def _tell(console: Console, reel: Reel, files: Sequence[Path]) -> None:
    table = Table("at", "video", "from", "to", "score", "why", box=None)
    at = 0
    for moment in reel.moments:
        name = Path(reel.timelines[moment.video].video.path).name
        why = "asked for" if moment.must else _why(moment)
        row = clock(at), Text(name), clock(moment.start_ns), clock(moment.end_ns), f"{moment.score:.2f}", why
        table.add_row(*row)
        at += moment.end_ns - moment.start_ns
    console.print(table)
    count = len(reel.moments)
    console.print(f"{at / SECOND:.1f} s in {count} moment{'' if count == 1 else 's'}", soft_wrap=True)
    for path in files:
        console.print(Text(str(path)), soft_wrap=True)


def _why(moment: Moment) -> str:
    return ", ".join(f"{says} {part:.2f}" for says, part in parts(moment)[:3])
