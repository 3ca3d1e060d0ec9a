"""The map of framewire: the graphs of the applications, and the command line."""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to finish: what follows takes a second

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console

from pipeline import catalogue, cuda, libraries
from pipeline.briefing import EngineConfig
from pipeline.config import Config, load
from pipeline.doctor import doctor
from pipeline.errors import Failed, Usage
from pipeline.graph import Process, Source, every, fuse, head, latest, packets, spread
from pipeline.home import home
from pipeline.logs import log_to
from pipeline.model import Provider
from pipeline.supervise import Supervisor
from pipeline.terminal import guarded
from pipeline.view import Snapshot, View
from pipeline.watch import follow, heard

try:
    from stages.act.act import Act
    from stages.act.gpio import shut
    from stages.capture import Capture, CaptureConfig, check_name, from_environment, masked, parse_sources
    from stages.clips.clips import Clips
    from stages.crop import Crop, CropConfig
    from stages.detect import Detect, DetectConfig
    from stages.draw import Draw, DrawConfig
    from stages.enrolment import management
    from stages.enrolment.commands import enroll, forget, people
    from stages.events import schema
    from stages.gate import commands as gate_commands
    from stages.gate.gate import Gate
    from stages.gate.settings import GateSettings, completed
    from stages.highlight import commands as highlights
    from stages.highlight.faces import FacesSeen, Recognize
    from stages.highlight.look import Look
    from stages.highlight.motion import Motion
    from stages.highlight.people import DetectPeople, People
    from stages.highlight.sample import Sample
    from stages.highlight.shots import Shots
    from stages.highlight.sound import Sound
    from stages.highlight.text import Text
    from stages.liveness import Liveness
    from stages.match import Match, MatchConfig
    from stages.nms import Nms, NmsConfig
    from stages.pick import Pick
    from stages.record import SUMMARY, Record, RecordConfig, is_complete
    from stages.show.web.show import Show
    from stages.track import Track
except ImportError as error:
    print(f"framewire: {libraries.explained(error)}", file=sys.stderr)  # noqa: T201
    raise SystemExit(1) from None

# From a source to a picture with names. `head` is `latest` for live sources and `every` for recorded ones.
LIVE_VIEW = [
    Process("capture", (Capture,), per_source=True),
    Process("detect", (Detect, Nms, Crop), hears=(head("capture"),)),
    Process("match", (Match,), hears=(every("detect"),)),
    Process("show", (Draw, Record), hears=(every("match"),)),
]

# The same on a GPU: detect to match share one process, so that one CUDA context serves both networks.
LIVE_VIEW_ON_GPU = [
    Process("capture", (Capture,), per_source=True),
    Process("detect", (Detect, Nms, Crop, Match), hears=(head("capture"),)),
    Process("show", (Draw, Record), hears=(every("detect"),)),
]

AFTER_THE_SHOTS = 5  # nice(2): where cores are few, the longest branch has one to itself, and none stands still

# A file, each of whose frames reaches shots and motion, and some of them the rest. Nothing joins the branches: each
# writes what it measures into the file of that video's signals.
HIGHLIGHTS = [
    Process("capture", (Capture,), per_source=True),
    Process("sound", (Sound,), per_source=True),
    Process("shots", (Shots,), hears=(every("capture"),)),
    Process("motion", (Motion, Sample, Text, Look), hears=(every("capture"),), nice=AFTER_THE_SHOTS),
    Process("people", (DetectPeople, Nms, People), hears=(every("motion"),), nice=AFTER_THE_SHOTS),
    Process("faces", (Detect, Nms, Crop, Recognize, FacesSeen), hears=(every("motion"),), nice=AFTER_THE_SHOTS),
]

AFTER_THE_DOOR = 10  # nice(2) of what no decision waits for

# From a camera to a door. `latest` for files, too, which are played at their own speed: a late frame opens nothing.
GATE = [
    Process("capture", (Capture,), per_source=True),
    Process("detect", (Detect, Nms, Track, Pick, Liveness), hears=(latest("capture"),)),
    Process("match", (Match,), hears=(every("detect"),)),
    Process("gate", (Gate, Act), hears=(every("match"),)),
    Process("record", (Clips,), hears=(latest("gate"), packets("capture")), nice=AFTER_THE_DOOR),
    Process("show", (Show,), hears=(latest("gate"),), nice=AFTER_THE_DOOR),
]

SAMPLE = Path(__file__).parent / "samples" / "gate.mp4"
SOURCE_HELP = (
    "Camera index, file, folder of images, or rtsp/http address; several times for several. "
    "[default: the lines of $FRAMEWIRE_SOURCE, or the sample]"
)


class Settings(Config, frozen=True):
    """What a config file may set: a table for the engine and one for each stage."""

    engine: EngineConfig = EngineConfig()
    capture: CaptureConfig = CaptureConfig()
    detect: DetectConfig = DetectConfig()
    nms: NmsConfig = NmsConfig()
    crop: CropConfig = CropConfig()
    match: MatchConfig = MatchConfig()
    draw: DrawConfig = DrawConfig()
    record: RecordConfig = msgspec.field(default_factory=RecordConfig)

    def by_stage(self) -> dict[str, Config]:
        """The config of each stage under its class's name, as the supervisor wants it."""
        return {name.capitalize(): getattr(self, name) for name in self.__struct_fields__ if name != "engine"}


app = typer.Typer(
    help="framewire: a camera, a stream or a file in; who is in it out.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def run(
    source: Annotated[list[str] | None, typer.Option(help=SOURCE_HELP)] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with tables engine, capture, detect, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the MP4s, JSONLs and the summary go. [default: out]")] = None,
    provider: Annotated[Provider | None, typer.Option(help="What the networks run on.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop reading so long after all has loaded.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Files at the speed of their own times.")] = False,
    fuse_: Annotated[bool, typer.Option("--fuse", help="All but capture in one process.")] = False,
    spread_: Annotated[bool, typer.Option("--spread", help="Every stage a process of its own.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="No live view; one JSON object at the end.")] = False,
) -> None:
    """Say who is in a video, a stream or a camera's picture.

    [bold]Example[/bold]: python run_pipeline.py run --source rtsp://camera/stream --source clip.mp4 --out out
    """
    if fuse_ and spread_:
        raise Usage("--fuse and --spread exclude each other: give one of them")
    sources = parse_sources(source or from_environment() or [str(SAMPLE)])
    settings = _settings(config, provider, out, realtime, sources)
    graph = (fuse if fuse_ else spread if spread_ else list)(_graph(settings))
    log = _prepare(Path(settings.record.out), sources)
    signals = heard()
    with (
        Supervisor(graph, sources, settings.by_stage(), settings.engine, log) as supervisor,
        View(Console(), quiet=as_json) as view,
    ):
        last = follow(supervisor, masked, view.show, seconds, signals)
    _report(settings.record, last, supervisor, as_json)


gate_app = typer.Typer(rich_markup_mode="rich", no_args_is_help=False)


@gate_app.callback(invoke_without_command=True)
def gate(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="TOML file with source and tables gate, act, match, ...")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Camera index, address, or a file, played as one.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop reading so long after all has loaded.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events and a summary as lines of JSON.")] = False,
) -> None:
    """Decide who may come in: one decision a passage, written down before the door moves.

    [bold]Example[/bold]: python run_pipeline.py gate --config gate.toml
    """
    if context.invoked_subcommand:
        return
    given = load(config, GateSettings) if config else GateSettings()
    sources = parse_sources(source or given.source or from_environment() or [str(SAMPLE)])
    settings = completed(given, [one.name for one in sources])
    _shut(settings)  # before anything that may fail or take its time
    log = home() / "gate.log"
    log_to(log, "supervisor")
    signals = heard()
    report = gate_commands.Announcer(settings, as_json)
    try:
        with Supervisor(GATE, sources, settings.by_stage(), settings.engine, log) as supervisor:
            follow(supervisor, masked, report.show, seconds, signals)
    finally:
        _shut(settings)
    report.end()
    for sentence in supervisor.failures:
        typer.echo(f"framewire: {sentence}", err=True)
    raise typer.Exit(supervisor.code)


for command in (enroll, people, forget, doctor):
    app.command()(command)
for name, command in gate_commands.COMMANDS.items():
    gate_app.command(name)(command)
app.add_typer(gate_app, name="gate")
app.add_typer(highlights.commands(HIGHLIGHTS), name="highlights", help="From videos to a reel of the best moments.")
app.add_typer(management.app, name="gallery")
app.add_typer(catalogue.app, name="models")


def _settings(
    config: Path | None, provider: Provider | None, out: Path | None, realtime: bool, sources: Sequence[Source]
) -> Settings:
    """The config file's settings, with what the command line says on top."""
    settings = load(config, Settings) if config else Settings()
    changes: dict[str, Config] = {
        "record": replace(
            settings.record,
            out=str(out or settings.record.out),
            sources=tuple(source.name for source in sources),
        ),
    }
    if realtime:
        changes["capture"] = replace(settings.capture, realtime=True)
    if provider:
        changes["detect"] = replace(settings.detect, provider=provider)
        changes["match"] = replace(settings.match, provider=provider)
    return replace(settings, **changes)


def _prepare(out: Path, sources: Sequence[Source]) -> Path:
    """Make the folder of results, where no result may replace a source; returns the log file in it."""
    check_name(str(out))
    recorded = [source.address for source in sources if not source.live]
    for result in (out / SUMMARY, *(out / f"{source.name}{end}" for source in sources for end in (".mp4", ".jsonl"))):
        if os.path.isdir(result):  # os.path: pathlib raises for what may not be searched
            raise Usage(f"{result} is a folder, and a result goes there: choose another folder with --out")
        for address in recorded:
            if os.path.exists(result) and result.samefile(address):
                raise Usage(f"the results would replace {address}: choose another folder with --out")
    log = out / "framewire.log"
    try:
        out.mkdir(parents=True, exist_ok=True)
        log_to(log, "supervisor")
    except OSError as error:
        raise Failed(f"cannot write into {out}: {error.strerror}; choose another folder with --out") from error
    return log


def _graph(settings: Settings) -> list[Process]:
    """The placement that is fastest where the networks run."""
    wanted = {settings.detect.provider, settings.match.provider}
    on_gpu = "cpu" not in wanted and ("auto" not in wanted or not cuda.missing())
    return LIVE_VIEW_ON_GPU if on_gpu else LIVE_VIEW


def _shut(settings: GateSettings) -> None:
    """Switch off the relays at pins, unless they are those of another gate that runs. Raises Failed."""
    lock = schema.lock(home())
    try:
        shut(settings.act.outputs)
    finally:
        os.close(lock)


def _report(record: RecordConfig, last: Snapshot, run: Supervisor, as_json: bool) -> None:
    """Say where the files are and what went wrong; exits with the run's code."""
    out = Path(record.out)
    made = [out / f"{name}{suffix}" for name in record.sources for suffix in (".mp4", ".jsonl")]
    files = [str(path) for path in [*made, out / SUMMARY] if path.exists()] if is_complete(record) else []
    if as_json:
        p50, p95, p99 = last.age_ms
        numbers = {"frames": last.frames, "seconds": round(last.elapsed_s, 2), "drops": last.drops}
        ages = {"age_ms": {"p50": p50, "p95": p95, "p99": p99}}
        typer.echo(msgspec.json.encode({**numbers, **ages, "files": files, "failures": run.failures}))
    elif files:
        typer.echo("\n".join(files))
    for sentence in run.failures:
        typer.echo(f"framewire: {sentence}", err=True)
    raise typer.Exit(run.code)


def main() -> None:
    """Run the command line."""
    guarded(app)


if __name__ == "__main__":
    main()
