"""People's side of an evaluation: what the readers of all formats have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import Usage
from stages.highlight.scored import Scored

SLOWEST, FASTEST = 5, 130  # frames a second of a video


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not empty, each after the place that a complaint names. Raises Usage."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number}", line.rstrip("\r\n")
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Usage(f"{path} is not UTF-8 text") from error


def check_frames(where: str, frames: int, video: Scored) -> None:
    """Raises Usage where so many scores cannot be one a frame of the video."""
    if not SLOWEST <= frames / video.duration <= FASTEST:
        counted = f"{frames} scores for the {video.duration:g} seconds of {video.path}"
        raise Usage(f"{where}: {counted}: there is to be one a frame, and it is to be the same video")
