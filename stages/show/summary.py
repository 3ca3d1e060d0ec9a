"""The page that sums a run up: what came, how fast, who was there, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from stages.show.journal import Journal


class Seen(msgspec.Struct):
    """One person's presence in one source."""

    first: float  # pts, s
    last: float
    frames: int = 0
    best: float = float("nan")  # the highest similarity, -1..1


class Survey(msgspec.Struct, frozen=True):
    """One source, summed up."""

    source: str
    frames: int
    drops: int  # frames of the source without a result
    seconds: float  # of the stream
    fps: float  # results a second, as they came; NaN for less than two
    ages_ms: tuple[float, float, float]  # p50, p95, p99, capture to result
    people: dict[str, Seen]
    strangers: int  # frames with somebody who is compared and not known


class _Line(msgspec.Struct):
    """The fields of a Result that the page needs."""

    pts: float
    names: list[str]
    similarities: list[float | None]


def survey(source: str, journal: Journal, lines: Path) -> Survey:
    """Read what was recorded of `source`, a line at a time."""
    table = journal.table()
    people, strangers = _people(lines)
    if not len(table):
        return Survey(source, 0, 0, 0.0, float("nan"), (float("nan"),) * 3, people, strangers)
    took = (table["done_ns"][-1] - table["done_ns"][0]) / 1e9
    ages = np.percentile((table["done_ns"] - table["captured_ns"]) / 1e6, (50, 95, 99))
    return Survey(
        source=source,
        frames=len(table),
        drops=int(table["seq"][-1]) + 1 - len(table),
        seconds=int(table["ticks"][-1] - table["ticks"][0]) / 90_000,
        fps=float((len(table) - 1) / took) if took > 0 else float("nan"),
        ages_ms=(float(ages[0]), float(ages[1]), float(ages[2])),
        people=people,
        strangers=strangers,
    )


def _people(lines: Path) -> tuple[dict[str, Seen], int]:
    """Who was seen when, and in how many frames somebody unknown was."""
    decoder = msgspec.json.Decoder(_Line)
    people: dict[str, Seen] = {}
    strangers = 0
    with lines.open("rb") as file:
        for line in map(decoder.decode, file):
            likes = dict(zip(reversed(line.names), reversed(line.similarities), strict=True))  # the surest of a name
            strangers += any(
                not name and like is not None for name, like in zip(line.names, line.similarities, strict=True)
            )
            for name, like in likes.items():
                if name:
                    seen = people.setdefault(name, Seen(line.pts, line.pts))
                    seen.first, seen.last = min(seen.first, line.pts), max(seen.last, line.pts)
                    seen.frames += 1
                    seen.best = float(np.fmax(seen.best, np.nan if like is None else like))
    return people, strangers


def page(surveys: Sequence[Survey], out: Path, run: str) -> str:
    """The page, in Markdown."""
    frames = sum(one.frames for one in surveys)
    parts = ["# framewire: what was seen"]
    if not frames:
        parts.append("No frame arrived, so there is no video.")
    parts += [_section(one, out) for one in surveys]
    parts.append(f"run {run}")
    return "\n\n".join(parts) + "\n"


def _section(one: Survey, out: Path) -> str:
    rows = [("frames", f"{one.frames}"), ("results", f"`{out / one.source}.jsonl`")]
    if one.frames:
        p50, p95, p99 = one.ages_ms
        rows = [
            ("frames", f"{one.frames} ({clock(one.seconds)} of the stream)"),
            ("speed", f"{one.fps:.1f} frames a second"),
            ("dropped", f"{one.drops}"),
            ("age, capture to result", f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"),
            ("frames with somebody unknown", f"{one.strangers}"),
            ("video", f"`{out / one.source}.mp4`"),
            ("results", f"`{out / one.source}.jsonl`"),
        ]
    table = _table(("", ""), rows)
    return f"## {one.source}\n\n{table}\n\n{_present(one)}"


def _present(one: Survey) -> str:
    """Who was there, in the order of coming."""
    if not one.people:
        return "Nobody known was seen."
    rows = [
        (_cell(name), clock(seen.first), clock(seen.last), f"{seen.frames}", f"{seen.best:.2f}")
        for name, seen in sorted(one.people.items(), key=lambda item: item[1].first)
    ]
    return _table(("who", "first seen", "last seen", "frames", "best similarity"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A user's text as it may stand in a table: one line, and nothing in it is markup."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return "".join(f"\\{letter}" if letter in "\\|`*_[]<>#&" else letter for letter in plain)


def clock(seconds: float) -> str:
    """Seconds as M:SS.mmm, or H:MM:SS.mmm."""
    millis = round(abs(seconds) * 1000)
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 else ""
    long = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{long}:{rest // 1000:02}.{rest % 1000:03}"
