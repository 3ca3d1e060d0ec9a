"""Somebody was taken for another person: the face in a decision's snapshot is kept as not that person's."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from stages.events import snapshots
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol
from stages.gallery.index import Gallery
from stages.gallery.people import Portrait
from stages.gallery.store import Store
from stages.mosaic import Box


class Mistaken(msgspec.Struct, frozen=True):
    """Whose face it is not, and how much it is like theirs: cosine similarity, before and from now on."""

    name: str
    before: float
    after: float


def mistaken(ledger: Ledger, store: Store, enrol: Enrol, event: int) -> Mistaken:
    """Let the face of a decision, by its number, match less whom it was taken for. Raises Failed."""
    found = ledger.events(before=event + 1, limit=1)
    decision = found[0].decision if found and found[0].seq == event else None
    if decision is None or not decision.person:
        raise Failed(f"event {event} is no decision about somebody who is enrolled: see which is with gate --json")
    snapshot = ledger.snapshot(event)
    if snapshot is None:
        raise Failed(f"event {event} has no snapshot any more: nothing can be learned from it")
    people = store.people()
    name = next((person.name for person in people if person.id.hex() == decision.person), "")
    if not name:
        raise Failed(f"whom event {event} is about is not enrolled any more")
    pixels = np.asarray(cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    boxes, points, faces = enrol.faces(pixels)
    row = _row(boxes, None if decision.track is None else snapshots.box_of(ledger, event, decision.track), event)
    face = faces[row : row + 1]
    before = Gallery(people, enrol.identity).similarity(decision.person, face)[0]
    store.add_negative(name, enrol.identity, face[0], Portrait.of(pixels, boxes[row], points[row]))
    after = Gallery(store.people(), enrol.identity).similarity(decision.person, face)[0]
    return Mistaken(name, float(before), float(after))


def _row(boxes: NDArray[np.float32], place: Box | None, event: int) -> int:
    """Which of the faces of a snapshot, `boxes` (K, 4), is at `place`; of a decision that has none, the only one.

    Raises Failed: the person's own face, beside the one that was taken for theirs, would be marked as not theirs.
    """
    left, top, right, bottom = place or (-np.inf, -np.inf, np.inf, np.inf)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    rows = np.flatnonzero(((middles >= (left, top)) & (middles <= (right, bottom))).all(axis=1))
    if len(rows) > 1:
        raise Failed(f"{len(rows)} faces in the picture of event {event} may be meant: nothing can be learned from it")
    if not len(rows):
        raise Failed(f"the face of event {event} cannot be found again: nothing can be learned from it")
    return int(rows[0])
