"""`highlights evaluate`: how near our scores are to what people find important, and to chance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from pipeline.errors import Usage
from stages.highlight import qvhighlights, summe, tvsum
from stages.highlight.measures import Figure, Report
from stages.highlight.scored import read

T = TypeVar("T")


def evaluate(
    scores: Annotated[list[Path], typer.Argument(help="JSON files that `highlights` wrote, of different videos.")],
    tvsum_: Annotated[Path | None, typer.Option("--tvsum", help="ydata-tvsum50-anno.tsv, or a file like it.")] = None,
    summe_: Annotated[Path | None, typer.Option("--summe", help="The folder GT of SumMe.")] = None,
    qvhighlights_: Annotated[
        Path | None, typer.Option("--qvhighlights", help="highlight_val_release.jsonl, or a file like it.")
    ] = None,
    shots: Annotated[bool, typer.Option("--shots", help="F1 of whole shots, in place of 2 seconds each.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Compare scores with those of people: rank correlation (TVSum), F1 beside chance (TVSum, SumMe), mAP and HIT@1.

    A video is found in a dataset by its file's name, without the suffix. Intervals are of 95 %: over the videos, and
    for random scores over 100 draws.

    [bold]Example[/bold]: python run_pipeline.py highlights evaluate scores.json --tvsum ydata-tvsum50-anno.tsv
    """
    if not (tvsum_ or summe_ or qvhighlights_):
        raise Usage("there is nothing to compare with: give --tvsum, --summe or --qvhighlights")
    videos = read(scores)
    reports = []
    if tvsum_:
        reports.append(tvsum.compared(tvsum_, videos, shots, _shown))
    if summe_:
        reports.append(summe.compared(summe_, videos, shots, _shown))
    if qvhighlights_:
        reports.append(qvhighlights.compared(qvhighlights_, videos, _shown))
    if as_json:
        typer.echo(msgspec.json.encode({"reports": reports}))
        return
    console = Console()
    for report in reports:
        console.print(Text(_title(report)), soft_wrap=True)
        console.print(_table(report))
        console.print(Text(report.note), soft_wrap=True)


def _shown(items: list[T]) -> Iterable[T]:
    """The items, with a progress bar on stderr: --json is for programs."""
    return track(items, "comparing", console=Console(stderr=True), transient=True)


def _title(report: Report) -> str:
    fewest, most = report.annotators
    annotators = str(most) if fewest == most else f"{fewest} to {most}"
    queries = f", {report.compared} queries" if report.compared != report.videos else ""
    return f"{report.dataset}: {report.videos} of {report.of} videos{queries}, {annotators} annotators each"


def _table(report: Report) -> Table:
    """The measures, for a terminal."""
    drawn = Table("", "ours", "random", "people", box=None, padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    for name, measure in report.measures.items():
        drawn.add_row(name, *(Text(_figure(one)) for one in (measure.ours, measure.random, measure.people)))
    return drawn


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:z.3f}" + ("" if figure.low is None else f" [{figure.low:z.3f}, {figure.high:z.3f}]")
