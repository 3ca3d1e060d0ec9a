"""The reel's MP4: its chapters, its index in front, and there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av import FFmpegError
from av.container import OutputContainer

from pipeline.errors import Failed, Usage
from pipeline.files import whole_file
from stages.highlight.timeline import SECOND, Moment, Reel
from stages.highlight.times import clock
from stages.highlight.words import plain, reasons
from stages.show.video import TICKS, TIME_BASE

if TYPE_CHECKING:
    from av.container.core import Chapter  # only its stub has it


@contextmanager
def reel_file(out: Path, reel: Reel) -> Iterator[OutputContainer]:
    """An MP4 to add streams to and to mux into, with a chapter a moment of `reel`, which has one at least.

    Raises Usage where `out` is one of the videos, Failed where it cannot be written; then nothing of it is left.
    """
    if out.resolve() in [Path(timeline.video.path).resolve() for timeline in reel.timelines]:
        raise Usage(f"{out} is one of the videos: give the reel another name")
    try:
        # The prefix keeps ffmpeg from taking a file's name for an address.
        with whole_file(out) as part, av.open(f"file:{part}", "w", "mp4", {"movflags": "faststart"}) as mp4:
            mp4.set_chapters(chapters(reel))
            yield mp4
    except (FFmpegError, OSError) as error:
        raise Failed(
            f"{out} cannot be written ({error.strerror}): check the folder, its rights and the space"
        ) from error


def begins_ns(moments: Sequence[Moment]) -> list[int]:
    """Where in the reel each of its M moments begins, and where the last one ends: M + 1 times, ns."""
    return list(accumulate((moment.end_ns - moment.start_ns for moment in moments), initial=0))


def in_ticks(at_ns: int) -> int:
    """The nearest tick of MPEG's clock, 1/90000 s."""
    return (at_ns * TICKS + SECOND // 2) // SECOND


def chapters(reel: Reel) -> list[Chapter]:
    """One a moment, as PyAV takes them."""
    edges = [in_ticks(at_ns) for at_ns in begins_ns(reel.moments)]
    return [
        {"id": i, "start": begin, "end": end, "time_base": TIME_BASE, "metadata": {"title": title(reel, moment)}}
        for i, (moment, begin, end) in enumerate(zip(reel.moments, edges, edges[1:], strict=False))
    ]


def title(reel: Reel, moment: Moment) -> str:
    """What a person calls it: "clip.mp4 0:12 people are in the picture, something moves"."""
    name = plain(Path(reel.timelines[moment.video].video.path).name)
    return f"{name} {clock(moment.start_ns)} {', '.join(reasons(moment))}".rstrip()
