"""One person's data, out and in again, readable by whoever has it.

Not in it: the pictures and clips of decisions, and whether the person is inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.enrolment.rules import check_dates
from stages.events import clips, snapshots
from stages.events.chain import Row
from stages.events.ledger import Ledger
from stages.events.records import Decision
from stages.gallery.enrol import Enrol, decoded
from stages.gallery.people import LONGEST, Access, Person, Portrait, checked_name
from stages.gallery.store import Store

ABOUT = "SELECT chain.* FROM sealed JOIN chain USING (seq) WHERE owner = ? ORDER BY seq DESC"
BADGE = re.compile(r"[0-9a-f]{64}")  # as Store.badge gives it
NO_BADGE = "\0"  # no badge has this number: what a gallery keeps of it tells that gallery from others


class Seen(msgspec.Struct, frozen=True):
    """A decision about somebody else, in whose snapshot or clip the person is to be seen."""

    event: int
    at_ns: int  # wall clock, ns since the epoch
    camera: str


class Exported(msgspec.Struct, frozen=True):
    """A person; without the pictures and clips of decisions, and whether they are inside."""

    name: str
    access: Access
    photos: tuple[Portrait, ...]
    embeddings: tuple[tuple[str, datetime, tuple[float, ...]], ...]  # model, when, and the numbers
    decisions: tuple[Decision, ...]  # of the gate, about this person, the newest first
    seen: tuple[Seen, ...] = ()  # in pictures that are others', and stay
    negatives: tuple[Portrait, ...] = ()  # faces of others who were taken for this person
    gallery: str = ""  # whose badges these are: each gallery keeps them under a key of its own


def exported(store: Store, name: str) -> Exported:
    """What is kept of `name`. Raises Failed where nobody is called so."""
    person = next((one for one in store.people() if one.name == checked_name(name)), None)
    if person is None:
        raise Failed(f"nobody called {name!r} is enrolled: `people` lists who is")
    return Exported(
        name=person.name,
        access=person.access,
        photos=tuple(store.portraits(person.name).values()),
        embeddings=tuple((t.model, t.enrolled_at, tuple(t.embedding.tolist())) for t in person.templates),
        decisions=tuple(_decisions(person)),
        seen=tuple(_seen(person)),
        negatives=tuple(store.portraits(person.name, negative=True).values()),
        gallery=store.badge(NO_BADGE) or "",
    )


class TakenIn(NamedTuple):
    """Who was enrolled out of an export."""

    name: str
    photos: int
    note: str  # one sentence on what was left out, or ""


def taken_in(store: Store, enrol: Enrol, what: Exported, *, force: bool) -> TakenIn:
    """Enroll the person of an export, from the photos, with their rules, but not with badges of another gallery.

    An export may come from anywhere: raises Failed and Usage for what cannot have been kept of somebody, and Failed
    where it may be somebody else, unless `force` takes that.
    """
    name = checked_name(what.name)
    if not what.photos:
        raise Failed(f"no photo of {name} is in this export: enroll one in place of it")
    for called, photos in (("photo", what.photos), ("negative", what.negatives)):
        for number, photo in enumerate(photos, 1):
            _check(photo, f"{called} {number}")
    check_dates(what.access.valid_from, what.access.valid_until)
    if not all(BADGE.fullmatch(badge) for badge in what.access.badges):
        raise Failed("a badge of this export is none that is kept (64 hexadecimal digits): export it again")
    people = store.people()
    if any(person.name == name for person in people):
        raise Failed(f"{name} is enrolled already: forget them first, or enroll the photos")
    embeddings, others = enrol.embed(what.photos), enrol.embed(what.negatives)
    faces = {f"photo {number}": face for number, face in enumerate(embeddings, 1)}
    if not force and (doubt := enrol.doubt(people, name, faces)):
        raise Failed(f"{doubt} With force it is taken anyway")
    negatives = list(zip(others, what.negatives, strict=True))
    access, note = _rules(store, what)
    return TakenIn(name, store.add(name, enrol.identity, embeddings, what.photos, access, negatives), note)


def _rules(store: Store, what: Exported) -> tuple[Access, str]:
    """The rules of an export as they hold here, and what to say of them."""
    if not what.access.badges or what.gallery == store.badge(NO_BADGE):
        return what.access, ""
    note = "the badges are of another gallery, and their numbers are not known: set them again (gallery access --badge)"
    return structs.replace(what.access, badges=()), note


def _check(photo: Portrait, called: str) -> None:
    points = np.array(photo.points)
    decoded(photo.image, called)
    if points.shape != (5, 2) or np.abs(points).max() > 2 * LONGEST or np.ptp(points, axis=0).max() < 1:
        raise Failed(f"{called} of this export does not say where eyes, nose and mouth are: export it again")


def _decisions(person: Person) -> Iterator[Decision]:
    """What the gate has decided about somebody, the newest first."""
    if not (home() / "gate.sqlite").exists():
        return
    with closing(Ledger(home(), keys())) as ledger:
        for row in ledger.all(ABOUT, (person.id,)):
            if decision := ledger.event(Row(*row)).decision:
                yield decision


def _seen(person: Person) -> Iterator[Seen]:
    """Where somebody is to be seen in pictures that are not about them, the oldest first."""
    if not (home() / "gate.sqlite").exists():
        return
    with closing(Ledger(home(), keys())) as ledger:
        for seq in sorted({*snapshots.showing(ledger, person.id), *clips.showing(ledger, person.id)}):
            for at_ns, camera in ledger.all("SELECT at_ns, camera FROM chain WHERE seq = ?", (seq,)):
                yield Seen(seq, at_ns, camera)
