"""Curves and sheets of pictures as PNG."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from export.detector import Array, Image
from export.files import write_whole

INK, PALE = "#222222", "#dddddd"
COLOURS = ("#0b62a4", "#d1495b", "#2e8b57", "#8f5fbf", "#c77f1a", "#3aa6a6")
LINES = ("-", "--", "-.", ":")  # so that curves are told apart without colours, and where they lie on each other
TILE = 160  # px
COLUMNS = 8
Values = NDArray[np.floating]
Curves = Mapping[str, tuple[Values, Values]]  # x and y by name


@dataclass(frozen=True)
class Tile:
    """A part of a photo that shows something gone wrong."""

    picture: Image  # (TILE, TILE, 3) uint8 RGB
    caption: str
    weight: float  # the worst ones are shown


def save(figure: Figure, file: Path) -> None:
    """Write a figure, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130, bbox_inches="tight")
    write_whole(file, data.getvalue())


def axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot."""
    figure = Figure(figsize=(6.4, 4.8))
    plot = figure.add_subplot()
    plot.set_title(title, color=INK, fontsize=11)
    plot.set_xlabel(x)
    plot.set_ylabel(y)
    plot.grid(color=PALE, linewidth=0.7)
    plot.spines[["top", "right"]].set_visible(False)
    return figure, plot


def draw(plot: Axes, curves: Curves, *, steps: bool = False) -> None:
    """Curves with their names."""
    for index, (name, (x, y)) in enumerate(curves.items()):
        colour, line = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
        style = "steps-post" if steps else "default"
        plot.plot(x, y, label=name, linewidth=1.8, drawstyle=style, color=colour, linestyle=line)
    if len(curves) > 1:
        plot.legend(frameon=False, fontsize=9)


def precision_recall(curves: Curves, title: str, file: Path) -> None:
    """Precision over recall."""
    figure, plot = axes(title, "recall", "precision")
    draw(plot, curves)
    plot.set(xlim=(0, 1.01), ylim=(0, 1.02))
    save(figure, file)


def roc(curves: Curves, band: tuple[Values, Values, Values], title: str, file: Path) -> None:
    """True accepts over false ones, on a logarithmic axis; `band` is x, low and high of the interval."""
    figure, plot = axes(title, "false accept rate", "true accept rate")
    draw(plot, curves, steps=True)
    plot.fill_between(*band, color=COLOURS[0], alpha=0.15, linewidth=0, step="post", label="95% over people")
    plot.legend(frameon=False, fontsize=9, loc="lower right")
    plot.set_xscale("log")
    plot.set(xlim=(band[0][0], 1), ylim=(0, 1.02))
    save(figure, file)


def det(curves: Curves, least: tuple[float, float], title: str, x: str, y: str, file: Path) -> None:
    """One error over the other, both axes logarithmic; `least` is what one error in all trials is, along x and y.

    No error at all has no place on such an axis: it is drawn at half of the least.
    """
    figure, plot = axes(title, x, y)
    floor = [value / 2 for value in least]
    draw(
        plot, {name: (np.maximum(a, floor[0]), np.maximum(b, floor[1])) for name, (a, b) in curves.items()}, steps=True
    )
    plot.set_xscale("log")
    plot.set_yscale("log")
    plot.set(xlim=(floor[0] * 0.9, 1.1), ylim=(floor[1] * 0.9, 1.1))
    plot.axhspan(floor[1] * 0.9, least[1] * 0.99, color=PALE, alpha=0.4, linewidth=0)
    plot.axvspan(floor[0] * 0.9, least[0] * 0.99, color=PALE, alpha=0.4, linewidth=0)
    plot.text(0.99, 0.96, "grey: no error seen", transform=plot.transAxes, ha="right", fontsize=8, color=INK)
    save(figure, file)


def tile(image: Image, box: Array, caption: str, weight: float) -> Tile:
    """The part of a BGR photo around an xyxy box (4,), with the box drawn in; grey where the photo ends."""
    side = int(np.ceil(2.5 * float((box[2:] - box[:2]).max())))
    left, top = ((box[:2] + box[2:] - side) / 2).round().astype(int).tolist()
    part = np.full((side, side, 3), 96, np.uint8)
    seen = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side), ::-1]
    x, y = max(0, -left), max(0, -top)
    part[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    how = cv2.INTER_AREA if side > TILE else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(part, (TILE, TILE), interpolation=how), np.uint8)
    corners = ((box - [left, top, left, top]) * TILE / side).round().astype(int).tolist()
    cv2.rectangle(picture, tuple(corners[:2]), tuple(corners[2:]), (255, 210, 0), 1)
    return Tile(picture, caption, weight)


def sheet(sections: Mapping[str, Sequence[Tile]], title: str, file: Path, rows: int = 3) -> None:
    """The worst tiles of each section, at most `rows` rows of them, under its heading."""
    lines: list[tuple[str, list[Tile]]] = [(title, [])]  # a heading or a row of tiles
    for head, tiles in sections.items():
        worst = sorted(tiles, key=lambda one: -one.weight)[: rows * COLUMNS]
        shown = f"{len(worst)} of {len(tiles)}" if len(worst) < len(tiles) else str(len(tiles))
        lines.append((f"{head}: {shown if tiles else 'none'}", []))
        lines += [("", worst[start : start + COLUMNS]) for start in range(0, len(worst), COLUMNS)]
    heights = [1.0 if row else 0.28 for _, row in lines]
    figure = Figure(figsize=(COLUMNS * 1.35, sum(heights) * 1.5))
    grid = figure.add_gridspec(len(lines), COLUMNS, height_ratios=heights, hspace=0.25, wspace=0.05)
    for line, (head, row) in enumerate(lines):
        if head:
            plot = figure.add_subplot(grid[line, :])
            plot.axis("off")
            plot.text(0, 0.2, head, fontsize=9 if line else 11, color=INK)
        for column, one in enumerate(row):
            plot = figure.add_subplot(grid[line, column])
            plot.axis("off")
            plot.imshow(one.picture)
            plot.set_title(one.caption, fontsize=6, color=INK, pad=2)
    save(figure, file)
