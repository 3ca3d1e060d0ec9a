"""Somebody was taken for another person: the face in a decision's snapshot is kept as not that person's."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from pipeline.errors import Failed
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol
from stages.gallery.index import Gallery
from stages.gallery.store import Store


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
    pixels = np.asarray(cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    faces, people = enrol.faces(pixels), store.people()
    before = Gallery(people, enrol.identity).similarity(decision.person, faces)
    name = next((person.name for person in people if person.id.hex() == decision.person), "")
    if not len(faces) or not name:
        raise Failed(f"the face of event {event} cannot be found again, or the person is not enrolled any more")
    face = faces[int(before.argmax())]
    store.add_negative(name, enrol.identity, face)
    after = Gallery(store.people(), enrol.identity).similarity(decision.person, face[None])[0]
    return Mistaken(name, float(before.max()), float(after))
