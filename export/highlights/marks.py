"""marks.csv: what a person thinks of a video. Lines of start,end,score; what is not marked is worth nothing.

Times are seconds, M:SS or H:MM:SS; scores are 0..1, or 1..5 where one of the file is larger than 1.
"""

import csv
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from export.detector import Array
from export.files import lines_of
from export.packages import Failed

HEADER = ["start", "end", "score"]
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):(?=[0-5]\d(?:\.|$)))?(\d+(?:\.\d+)?)")
STARS = 5


class Mark(NamedTuple):
    """A line of the file."""

    line: int
    start: float  # seconds; [start, end)
    end: float
    score: float  # as it stands there


def read_marks(file: Path, seconds: int) -> Array:
    """(seconds,) float32 0..1: the highest score of the marks that touch each second of a video so long.

    Failed, with the line, where the file is not as it has to be.
    """
    marks = _parsed(file, seconds)
    stars = any(mark.score > 1 for mark in marks)
    worth = np.zeros(seconds, np.float32)
    for mark in marks:
        if stars and mark.score < 1:
            raise _wrong(
                file, mark.line, f"the score {mark.score:g} is below 1, and others are above: use 0..1 or 1..5"
            )
        covered = slice(math.floor(mark.start), math.ceil(mark.end))
        worth[covered] = np.maximum(worth[covered], (mark.score - 1) / (STARS - 1) if stars else mark.score)
    return worth


def _parsed(file: Path, seconds: int) -> list[Mark]:
    rows = csv.reader(line.lstrip("\ufeff") for line in lines_of(file))  # spreadsheets put a byte order mark in front
    try:
        if [name.strip().lower() for name in next(rows, [])] != HEADER:
            raise _wrong(file, 1, f"the header has to be {','.join(HEADER)}")
        return [_mark(file, rows.line_num, row, seconds) for row in rows if any(map(str.strip, row))]
    except csv.Error as error:
        raise _wrong(file, rows.line_num, f"it is no CSV ({error})") from error


def _mark(file: Path, line: int, row: list[str], seconds: int) -> Mark:
    if len(row) != len(HEADER):
        raise _wrong(file, line, f"{len(row)} values in place of 3; a comma parts values, decimals have a point")
    start, end = (_seconds(file, line, text.strip()) for text in row[:2])
    if end <= start:
        raise _wrong(file, line, f"the end {row[1].strip()} is not after the start {row[0].strip()}")
    if end > seconds:
        raise _wrong(file, line, f"the end {row[1].strip()} is behind the video, which has {seconds} seconds")
    try:
        score = float(row[2])
    except ValueError:
        score = math.nan
    if not 0 <= score <= STARS:
        raise _wrong(file, line, f"the score {row[2].strip()!r} is none; use 0..1 or 1..5")
    return Mark(line, start, end, score)


def _seconds(file: Path, line: int, text: str) -> float:
    found = TIME.fullmatch(text)
    if not found:
        raise _wrong(file, line, f"{text!r} is no time; write seconds, M:SS or H:MM:SS")
    hours, minutes, rest = found.groups()
    if hours and int(minutes) > 59:
        raise _wrong(file, line, f"{text!r} is no time; an hour has 60 minutes")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)


def _wrong(file: Path, line: int, what: str) -> Failed:
    return Failed(f"{file}, line {line}: {what}")
