"""What the page shows and does, out of gallery, events, calibration and health: blocking, so called from a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.act import doors
from stages.act.act import claim
from stages.enrolment.commands import DIGITS
from stages.enrolment.forgetting import forgotten
from stages.enrolment.portable import Exported, exported, taken_in
from stages.enrolment.rules import check_dates, watched
from stages.events import clips
from stages.events.ledger import Ledger
from stages.events.records import Event
from stages.gallery.enrol import Enrol, EnrolConfig, decoded
from stages.gallery.guidance import SIDES, advice
from stages.gallery.people import Access, Person, Portrait, checked_name
from stages.gallery.poses import Poses
from stages.gallery.store import Store
from stages.gate import calibration
from stages.gate.calibration import Calibration
from stages.gate.health import health
from stages.gate.mistaken import Mistaken, mistaken
from stages.gate.out import left
from stages.show.web.bodies import (
    Advice,
    AtDoor,
    Called,
    Door,
    Enrolled,
    Enrolment,
    Gate,
    Known,
    KnownRules,
    NewName,
    Receipt,
    Rules,
)


class Data:
    """One place for it. Each call opens the gallery anew; the events stay open, for one call at a time."""

    def __init__(self, enrolment: EnrolConfig, doors: Mapping[str, tuple[str, ...]], badge_seconds: float) -> None:
        """`doors` are the names with their cameras, () for all."""
        self._enrolment, self._doors, self._badge_ns = enrolment, doors, int(badge_seconds * 1e9)
        self._enrol: Enrol | None = None
        self._looking = threading.Lock()  # the networks, and the one picture they look at, are for one thread
        self._events: Ledger | None = None
        self._reading = threading.Lock()

    def events(self, before: int | None, limit: int) -> list[Event]:
        """The newest first."""
        with self._ledger() as ledger:
            return ledger.events(before, limit)

    def newer(self, after: int, limit: int) -> list[Event]:
        """The newest `limit` of what has come after number `after`, the oldest first."""
        with self._ledger() as ledger:
            return ledger.events(limit=limit, after=after)[::-1]

    def snapshot(self, seq: int) -> bytes | None:
        """JPEG."""
        with self._ledger() as ledger:
            return ledger.snapshot(seq)

    def clip(self, seq: int) -> bytes | None:
        """MP4."""
        with self._ledger() as ledger:
            found = clips.get(ledger, seq)
            return found.mp4 if found else None

    def people(self) -> list[Known]:
        """Everybody, by name."""
        return [_known(person) for person in _store().people()]

    def portrait(self, name: str) -> bytes | None:
        """The first of somebody's faces, PNG."""
        return next((portrait.image for portrait in _store().portraits(checked_name(name)).values()), None)

    def enroll(self, given: Enrolment) -> Enrolled:
        """Add photos of a person; all or none. Raises Failed and Usage."""
        name, store = checked_name(given.name), _store()
        if not given.photo and not given.picture:
            raise Usage("no photo was sent: choose one")
        photos, pictures = _decoded(given.photo, "photo"), _decoded(given.picture, "picture")
        with self._enrolling() as enrol:
            found = [enrol.of(list(photos.values()), list(photos))] if photos else []
            found += [_posed(enrol, pictures)] if pictures else []
            embeddings = np.concatenate([one for one, _ in found])
            portraits = [portrait for _, some in found for portrait in some]
            faces = dict(zip([*photos, *pictures], embeddings, strict=True))
            people = store.people()
            doubt = "" if given.force else enrol.doubt(people, name, faces)
        if doubt:
            raise Failed(doubt)
        access = watched(people, name) if given.watch else None
        photos_kept = store.add(name, enrol.identity, embeddings, portraits, access)
        return Enrolled(name, photos_kept, calibration.warning(home(), store.people))

    def look(self, pictures: Sequence[bytes]) -> Advice:
        """What somebody at a webcam should do before the last of `pictures` is as good as those before it."""
        *taken, last = _decoded(pictures, "picture").values()
        with self._enrolling() as enrol:
            words = advice(enrol.look(last), SIDES[len(taken)])
            # Most pictures end here: those taken are looked at again only when this one would do.
            return Advice(words or next(filter(None, map(Poses(enrol).see, [*taken, last])), ""))

    @contextmanager
    def _enrolling(self) -> Iterator[Enrol]:
        """What enrols, for one at a time; loaded when it is first needed."""
        with self._looking:
            if self._enrol is None:
                self._enrol = Enrol(self._enrolment)
            yield self._enrol

    def forget(self, name: str) -> Receipt:
        """Destroy all that is kept of a person; the receipt."""
        return Receipt(forgotten(_store(), checked_name(name))[0])

    def set_access(self, name: str, rules: Rules) -> Called:
        """Replace somebody's rules. Raises Usage."""
        name, store = checked_name(name), _store()
        store.set_access(name, _access(store, name, rules))
        return Called(name)

    def badge(self, door: str, number: str) -> AtDoor:
        """A badge was shown at a door. Raises Usage."""
        if door not in self._doors:
            raise Usage(f"there is no door {door!r}: there is {', '.join(self._doors)}")
        claim(door, number, self._badge_ns)
        return AtDoor(door)

    def mistaken(self, seq: int) -> Mistaken:
        """The face of a decision is not whom it was taken for. Raises Failed."""
        with self._enrolling() as enrol, self._ledger() as ledger:
            return mistaken(ledger, _store(), enrol, seq)

    def rename(self, name: str, given: NewName) -> Called:
        """Call somebody by another name, with other rules if there are any. Raises Failed and Usage."""
        name, new, store = checked_name(name), checked_name(given.name), _store()
        store.rename(name, new, _access(store, name, given.access) if given.access else None)
        return Called(new)

    def out(self, name: str) -> Called:
        """Somebody is out. Raises Failed and Usage."""
        with self._ledger() as ledger:
            left(_store(), ledger, name := checked_name(name))
        return Called(name)

    def exported(self, name: str) -> Exported:
        """What is kept of a person. Raises Failed and Usage."""
        return exported(_store(), name)

    def take_in(self, what: Exported, *, force: bool) -> Enrolled:
        """Enroll the person of an export. Raises Failed and Usage."""
        with self._enrolling() as enrol:
            done = taken_in(store := _store(), enrol, what, force=force)
        said = filter(None, (done.note, calibration.warning(home(), store.people)))
        return Enrolled(done.name, done.photos, "; ".join(said))

    def calibration(self) -> Calibration | None:
        """The numbers and the curve; None where nothing was calibrated."""
        return calibration.load(home())

    def state(self) -> Gate:
        """Doors and health."""
        found = [
            Door(**msgspec.structs.asdict(doors.state(door)), cameras=cameras) for door, cameras in self._doors.items()
        ]
        return Gate(found, health(home()))

    def close(self) -> None:
        """Let go of the events."""
        with self._reading:
            if self._events is not None:
                self._events.close()
                self._events = None

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """The events, for one at a time; opened once, as that reads all keys."""
        with self._reading:
            if self._events is None:
                self._events = Ledger(home(), keys(), create=True)
            yield self._events


def _store() -> Store:
    return Store(home(), keys())


def _access(store: Store, name: str, rules: Rules) -> Access:
    """What is kept of the rules that somebody is given. Raises Usage."""
    check_dates(rules.valid_from, rules.valid_until)
    if rules.badges is None:
        badges = next((person.access.badges for person in store.people() if person.name == name), ())
    else:
        badges = tuple(filter(None, map(store.badge, rules.badges)))
    return Access(**msgspec.structs.asdict(rules) | {"badges": badges})


def _decoded(contents: Sequence[bytes], called: str) -> dict[str, NDArray[np.uint8]]:
    """What to call each -> pixels (H, W, 3) BGR. Raises Failed."""
    names = [f"{called} {number}" for number in range(1, len(contents) + 1)]
    return {name: decoded(content, name) for name, content in zip(names, contents, strict=True)}


def _posed(enrol: Enrol, pictures: Mapping[str, NDArray[np.uint8]]) -> tuple[NDArray[np.float32], list[Portrait]]:
    """(N, D) of unit length, and the faces, of a webcam's pictures. Raises Failed where they do not show one person."""
    poses = Poses(enrol)
    for name, pixels in pictures.items():
        if words := poses.see(pixels):
            raise Failed(f"{name} of the webcam: {words}")
    if not poses.done:
        raise Failed(f"{poses.taken} of {len(SIDES)} pictures of the webcam are taken: take the others, too")
    return poses.faces()


def _known(person: Person) -> Known:
    models = sorted({template.model[:DIGITS] for template in person.templates})
    rules = KnownRules(**msgspec.structs.asdict(person.access) | {"badges": len(person.access.badges)})
    return Known(person.name, len(person.templates), models, rules)
