"""Where the label of a box goes: over no other label and no face, as far as there is room."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

UNREADABLE = 1000.0  # what a covered label costs, in covered faces: never worth it where there is another place
STEP = 0.005  # of a face: what a label may cover more for each place that is liked better, so that it seldom jumps
HIDDEN = 0.1  # of a face: what the label of a stranger may cover

Priced = tuple[int, int, int, int, float]  # a place, and what covering a pixel of it costs


class Place(NamedTuple):
    """A rectangle in pixels: left and top inside, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int


class Room:
    """What is in a picture of `width` x `height` pixels: the faces, a first label, and each label that was fitted."""

    def __init__(self, width: int, height: int, faces: Sequence[Place], label: Place) -> None:
        self.width, self.height = width, height
        self.full = [_priced(face, 1.0) for face in faces]
        self.full.append(_priced(label, UNREADABLE))

    def fit(self, box: Place, widths: Sequence[int], height: int, needed: bool) -> Place | None:
        """Take the place at `box` for a label of one of `widths`, in order of liking, that covers the least.

        None where it hides a face or a label all the same, unless it is `needed`.
        """
        best, cost = None, math.inf
        near = self._near(box, max(widths), height)
        for rank, place in enumerate(self._around(box, widths, height)):
            if rank * STEP >= cost:
                break  # those that are left are liked less than the best one costs
            covered = _covered(place, near)
            if covered + rank * STEP < cost and (needed or covered <= HIDDEN):
                best, cost = place, covered + rank * STEP
        if best is not None:
            self.full.append(_priced(best, UNREADABLE))
        return best

    def _around(self, box: Place, widths: Sequence[int], height: int) -> Iterator[Place]:
        """The places of a label inside the picture, the best liked first.

        Above, below and beside the box; then a row further, where it may seem another's; then inside.
        """
        outside, inside = (box.top - height, box.bottom), (box.top, box.bottom - height)
        further = (outside[0] - height, outside[1] + height)
        for tops, beside in ((outside, inside), (further, ()), (inside, ())):
            for width in widths:
                lefts = (box.left, box.right - width, (box.left + box.right - width) // 2)
                corners = [(left, top) for top in tops for left in lefts]
                corners += [(left, top) for top in beside for left in (box.right, box.left - width)]
                for left, top in corners:
                    x, y = max(0, min(left, self.width - width)), max(0, min(top, self.height - height))
                    yield Place(x, y, x + width, y + height)

    def _near(self, box: Place, width: int, height: int) -> list[Priced]:
        """What a label at `box` could cover at all: a small part of a crowd."""
        left, right = box.left - width, box.right + width
        top, bottom = box.top - 2 * height, box.bottom + 2 * height
        return [one for one in self.full if one[0] < right and left < one[2] and one[1] < bottom and top < one[3]]


def _covered(place: Place, others: list[Priced]) -> float:
    """What `place` would cover of `others`, in faces."""
    left, top, right, bottom = place
    return sum(
        (min(right, x1) - max(left, x0)) * (min(bottom, y1) - max(top, y0)) * price
        for x0, y0, x1, y1, price in others
        if left < x1 and x0 < right and top < y1 and y0 < bottom
    )


def _priced(place: Place, whole: float) -> Priced:
    """`place`, and the price of each of its pixels where all of them cost `whole`."""
    return *place, whole / max(1, (place.right - place.left) * (place.bottom - place.top))
