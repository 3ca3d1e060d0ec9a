"""The reel and all that lies beside it: chapters are in it; the rest says why, to people, programs and editors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import Failed, Usage
from pipeline.files import OUTPUT, replace_file
from stages.highlight.document import document
from stages.highlight.editors import write_edl, write_otio
from stages.highlight.page import write_page
from stages.highlight.progress import Bars
from stages.highlight.remux import copy
from stages.highlight.render import render
from stages.highlight.sheet import write_sheet
from stages.highlight.thumbs import thumbs
from stages.highlight.timeline import Reel
from stages.highlight.videos import BESIDE
from stages.sources.address import check_name

FULL = (errno.ENOSPC, errno.EDQUOT)


def check(out: Path, videos: Sequence[Path]) -> None:
    """Raises Usage where the reel, or what lies beside it, may not be put there."""
    check_name(str(out))
    if out.suffix.lower() != ".mp4":
        raise Usage(f"the reel is an MP4: give -o a name like {out.with_suffix('.mp4').name}")
    if not os.path.isdir(out.parent):  # os.path: pathlib raises for what may not be searched
        raise Usage(f"there is no folder {out.parent}: make it, or give -o another")
    if not os.access(out.parent, os.W_OK):
        raise Usage(f"{out.parent} may not be written by this user: give -o another place")
    for path in (out, *(out.with_suffix(end) for end in BESIDE)):
        if os.path.isdir(path):
            raise Usage(f"{path} is a folder, and a result goes there: give -o another name")
        if any(os.path.exists(path) and os.path.exists(video) and path.samefile(video) for video in videos):
            raise Usage(f"the results would replace {path}: give -o another name")


def write(reel: Reel, out: Path, *, copied: bool, vertical: bool, bars: Bars) -> list[Path]:
    """Write all files, each whole or not at all, the reel first; where they are.

    Raises Usage where it cannot be copied, Failed; where the reel fails, nothing else is written.
    """
    bar = bars.begin(out.name, 1)

    def progress(done: float) -> None:
        bars.show(bar, done)

    pictures = thumbs(reel)
    beside: dict[str, Callable[[Path], None]] = {
        ".json": lambda path: replace_file(path, document(reel), synced=True, mode=OUTPUT),
        ".html": lambda path: write_page(reel, path, pictures),
        ".jpg": lambda path: write_sheet(reel, path, pictures),
        ".otio": lambda path: write_otio(reel, path),
        ".edl": lambda path: write_edl(reel, path),
    }
    if copied:
        copy(reel, out, progress)
    else:
        render(reel, out, vertical=vertical, progress=progress)
    try:
        for end, make in beside.items():
            make(out.with_suffix(end))
    except OSError as error:
        reason = "the disk is full" if error.errno in FULL else f"cannot write beside {out}: {error.strerror}"
        raise Failed(f"{reason}; choose another place with -o") from error
    bars.end(bar)
    return [out, *(out.with_suffix(end) for end in BESIDE)]
