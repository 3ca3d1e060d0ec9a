"""`highlights` beside its own limit; stopped and gone on; and another choice. `python -m bench.highlights [VIDEO]`

The whole graph (bench/looking.py) and its processes alone (bench/branches.py) take turns, PIECE frames each, and stand
still while it is not their turn: so both see the same machine. The first piece of each is not counted.
limit = min(rate of the slowest process alone, cores / sum of the times of all of them alone).
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench import long_clip
from bench.bare import Bare
from bench.looking import Looked
from bench.table import Row, report
from bench.turns import Program
from pipeline.limits import cores
from run_pipeline import HIGHLIGHTS
from stages.highlight.analyse import analyse, recorders
from stages.highlight.gather import recall
from stages.highlight.score import PRESETS, weigh
from stages.highlight.select import candidates, select
from stages.highlight.settings import HighlightEngineConfig, HighlightSettings
from stages.highlight.store import Store
from stages.highlight.timeline import SECOND
from stages.highlight.videos import State, facts

PIECE = 250  # frames: five windows of Shots
LONG_S = 36_000
REEL_NS = 60 * SECOND
PRESET = "event"
NOTES = (
    "A process alone: its stages, called one after the other in a process that does nothing else, on the graph's "
    "number of threads.",
    "A rate: frames / seconds of its turns, from the second piece on: start, filling and closing are left out.",
    "Stopped at half: when half of the frames were done, and called again. Its seconds have two starts in them; the "
    "second run decodes the first half again.",
    "Time of the processor: of all processes together, so that others on this machine do not count.",
    "Choosing again: what was measured is read, scored, divided into moments and chosen from; nothing is decoded. The "
    "long video is what was measured of this one again and again.",
)


class Speed(NamedTuple):
    """What the turns came to."""

    alone_s: dict[str, float]  # process -> seconds a frame
    graph: float  # frames a second
    first_s: float  # until the first frame was done

    @property
    def limit(self) -> float:
        """Frames a second that no placement on these cores can pass."""
        return min(1 / max(self.alone_s.values()), cores() / sum(self.alone_s.values()))


def speed(video: Path) -> Speed:
    """Once through the video for each."""
    threads = str(max(1, cores() // len(HIGHLIGHTS)))
    limited = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    piece = str(PIECE)
    with (
        Program("bench.branches", Bare, limited, str(video), threads, piece) as alone,
        Program("bench.looking", Looked, dict(os.environ), str(video), piece) as graph,
    ):
        alone.advance()
        begun = graph.advance()
        alone_s: dict[str, float] = defaultdict(float)
        frames, done, seconds = 0, 0, 0.0
        while (bare := alone.advance()) and (looked := graph.advance()):
            frames, done, seconds = frames + bare.frames, done + looked.frames, seconds + looked.seconds
            for name, spent in bare.seconds.items():
                alone_s[name] += spent
    if not begun or not done:
        raise SystemExit(f"{video} is too short: it takes {3 * PIECE} frames")
    return Speed({name: spent / frames for name, spent in alone_s.items()}, done / seconds, begun.first_s)


class Spent(NamedTuple):
    """Seconds, and seconds of the processor."""

    wall: float
    processor: float


def look(video: Path, folder: Path, *goes_on: Callable[[int], bool]) -> Spent:
    """Look at the video in so many runs."""
    began, before = time.perf_counter(), _processor()
    settings, engine = HighlightSettings().by_stage([]), HighlightEngineConfig()
    for run in goes_on:
        analyse(HIGHLIGHTS, video, folder / "signals", settings, engine, folder / "log", State.of(video), run)
    return Spent(time.perf_counter() - began, _processor() - before)


def choose(video: Path, store: Path) -> float:
    """Seconds until moments of a video that was looked at are chosen."""
    keys = recorders(HIGHLIGHTS, HighlightSettings().by_stage([]))
    began = time.perf_counter()
    timelines = [recall(video, "", store, keys, {})]
    scores = [weigh(timeline, PRESETS[PRESET]) for timeline in timelines]
    select(candidates(timelines, scores), [], timelines, scores, REEL_NS)
    return time.perf_counter() - began


def lengthen(video: Path, store: Path) -> None:
    """Have what was measured in it again and again, until it is LONG_S long."""
    keys = recorders(HIGHLIGHTS, HighlightSettings().by_stage([]))
    one = recall(video, "", store, keys, {}).video
    times = {"frames": one.frames, "length": one.duration_ns, "last": LONG_S * SECOND // one.duration_ns - 1}
    with Store(store) as kept:
        kept.rows.execute(
            "WITH RECURSIVE again(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM again WHERE n < :last) "
            "INSERT INTO sample SELECT track, seq + n * :frames, pts_ns + n * :length, measured FROM again, sample",
            times,
        )


def rows(video: Path) -> list[Row]:
    """The table."""
    found = speed(video)
    half = facts(video).frames // 2
    with TemporaryDirectory() as whole, TemporaryDirectory() as parts:
        unbroken = look(video, Path(whole), lambda _: True)
        broken = look(video, Path(parts), lambda done: done < half, lambda _: True)
        again = choose(video, Path(whole) / "signals")
        lengthen(video, Path(whole) / "signals")
        long = choose(video, Path(whole) / "signals")
    return [
        *(Row(f"{name}, alone", 1e3 * spent, "ms") for name, spent in found.alone_s.items()),
        Row("all of them", 1e3 * sum(found.alone_s.values()), "ms"),
        Row("limit", found.limit, "frames/s"),
        Row("graph", found.graph, "frames/s"),
        Row("graph / limit", found.graph / found.limit, "times", ">= 0.85"),
        Row("until the first frame is done", found.first_s, "s"),
        Row("a whole run", unbroken.wall, "s"),
        Row("a whole run, processor", unbroken.processor, "s"),
        Row("stopped at half and gone on", broken.wall, "s"),
        Row("stopped at half and gone on, processor", broken.processor, "s"),
        Row("choosing again", again, "s", "<= 5"),
        Row(f"choosing again, {LONG_S / 3600:.0f} h", long, "s", "<= 30"),
    ]


def _processor() -> float:
    spent = getrusage(RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    """Measure it all; 1 when a gate fails."""
    with TemporaryDirectory() as home, TemporaryDirectory() as keys, TemporaryDirectory() as folder:
        os.environ |= {"FRAMEWIRE_HOME": home, "FRAMEWIRE_KEYS": keys}
        video = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "clip.mp4"
        if len(sys.argv) == 1:
            long_clip.make(video)
        looked = facts(video)
        about = f"{video.name}: {looked.frames} frames of {looked.width}x{looked.height}; nobody is enrolled."
        return report(
            "highlights", rows(video), versions=("onnxruntime-gpu", "opencv-python", "av"), notes=[*NOTES, about]
        )


if __name__ == "__main__":
    sys.exit(main())
