"""The processes of HIGHLIGHTS alone, one after the other in one. `python -m bench.branches VIDEO OUT THREADS PIECE`

For each line on standard input, PIECE frames are captured, and what each process sends goes through those that hear it.
Prints the seconds that each process took and the number of frames, as JSON. The sound is listened to at the start, all
at once: of its time, each piece gets its share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bench.bare import Bare, Builder
from bench.turns import say_in_turn
from pipeline.graph import Source
from run_pipeline import HIGHLIGHTS
from stages.highlight.analyse import placed
from stages.highlight.settings import SOURCE, HighlightSettings
from stages.highlight.videos import facts


def measure(video: Path, out: Path, threads: int, piece: int) -> Iterator[Bare]:
    """Have every process do one more piece of the video, each on `threads` threads."""
    settings = placed(HighlightSettings().by_stage([]), out / "signals.sqlite")
    built = Builder(Source(SOURCE, str(video), live=False), settings, threads, piece + 1)
    chains = {process.name: [built(stage) for stage in process.stages] for process in HIGHLIGHTS}
    heard = {process.name: process.hears[0].sender for process in HIGHLIGHTS if process.hears}
    frames, sound = (iter(chains.pop(name)[0]) for name in ("capture", "sound"))
    began = time.perf_counter()
    for _ in sound:
        pass
    sound_s = (time.perf_counter() - began) / facts(video).frames
    while True:
        began = time.perf_counter()
        tickets = list(islice(frames, piece))
        seconds = {"capture": time.perf_counter() - began, "sound": sound_s * len(tickets)}
        if not tickets:
            return
        sent = {"capture": tickets}
        for name, stages in chains.items():
            began = time.perf_counter()
            results = [_through(stages, message) for message in sent[heard[name]]]
            seconds[name] = time.perf_counter() - began
            sent[name] = [result for result in results if result is not None]
        yield Bare(len(tickets), seconds)


def _through(stages: Sequence[Any], message: Any) -> Any:
    """As a process calls them: until one of them has nothing to say."""
    for stage in stages:
        if message is not None:
            message = stage([message])[0] if hasattr(stage, "batch") else stage(message)
    return message


if __name__ == "__main__":
    say_in_turn(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
