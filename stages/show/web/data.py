"""What the page shows and does, out of gallery, events, calibration and health: blocking, so called from a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.act.act import claim
from stages.act.simulated import DoorState
from stages.events import clips
from stages.events.ledger import Ledger
from stages.gallery.commands import forgotten
from stages.gallery.enrol import Enrol, EnrolConfig, decoded
from stages.gallery.guidance import SIDES, advice
from stages.gallery.people import Access, Person, checked_name
from stages.gallery.store import Store
from stages.gate import calibration
from stages.gate.health import health
from stages.gate.rules import window


class Data:
    """One place for it. Each call opens the gallery anew; the events stay open, for one call at a time."""

    def __init__(self, enrolment: EnrolConfig, doors: Sequence[str], badge_seconds: float) -> None:
        self._enrolment, self._doors, self._badge_ns = enrolment, tuple(doors), int(badge_seconds * 1e9)
        self._enrol: Enrol | None = None
        self._looking = threading.Lock()  # the networks, and the one picture they look at, are for one thread
        self._events: Ledger | None = None
        self._reading = threading.Lock()

    def events(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        """The newest first."""
        with self._ledger() as ledger:
            return [msgspec.to_builtins(event) for event in ledger.events(before, limit)]

    def newer(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The newest `limit` of what has come after number `after`, the oldest first."""
        with self._ledger() as ledger:
            return [msgspec.to_builtins(event) for event in reversed(ledger.events(limit=limit, after=after))]

    def snapshot(self, seq: int) -> bytes | None:
        """JPEG."""
        with self._ledger() as ledger:
            return ledger.snapshot(seq)

    def clip(self, seq: int) -> bytes | None:
        """MP4."""
        with self._ledger() as ledger:
            found = clips.get(ledger, seq)
            return found.mp4 if found else None

    def people(self) -> list[dict[str, Any]]:
        """Everybody, by name."""
        return [_person(person) for person in _store().people()]

    def portrait(self, name: str) -> bytes | None:
        """The first of somebody's faces, PNG."""
        return next((portrait.image for portrait in _store().portraits(checked_name(name)).values()), None)

    def enroll(self, name: str, photos: list[bytes], force: bool, watch: bool) -> dict[str, Any]:
        """Add photos of a person; all or none. Raises Failed and Usage."""
        name, store = checked_name(name), _store()
        if not photos:
            raise Usage("no photo was sent: choose one")
        names = [f"photo {number}" for number in range(1, len(photos) + 1)]
        pictures = [decoded(content, called) for content, called in zip(photos, names, strict=True)]
        with self._enrolling() as enrol:
            embeddings, portraits = enrol.of(pictures, names)
            faces = dict(zip(names, embeddings, strict=True))
            doubt = "" if force else enrol.doubt(store.people(), name, faces)
        if doubt:
            raise Failed(doubt)
        access = Access(watch=True) if watch else None
        return {"name": name, "photos": store.add(name, enrol.identity, embeddings, portraits, access)}

    def look(self, content: bytes, taken: int) -> dict[str, Any]:
        """What somebody at a webcam, of whom `taken` pictures are taken, should do before the next; "" for nothing."""
        picture = decoded(content, "the picture")
        with self._enrolling() as enrol:
            return {"advice": advice(enrol.look(picture), SIDES[taken % len(SIDES)])}

    @contextmanager
    def _enrolling(self) -> Iterator[Enrol]:
        """What enrols, for one at a time; loaded when it is first needed."""
        with self._looking:
            if self._enrol is None:
                self._enrol = Enrol(self._enrolment)
            yield self._enrol

    def forget(self, name: str) -> dict[str, Any]:
        """Destroy all that is kept of a person; the receipt."""
        return {"receipt": forgotten(_store(), checked_name(name))[0]}

    def set_access(self, name: str, content: bytes) -> dict[str, Any]:
        """Replace somebody's rules, but their badges. Raises Usage."""
        name, store = checked_name(name), _store()
        try:
            rules = msgspec.json.decode(content, type=Access)
        except msgspec.DecodeError as error:
            raise Usage(f"these are no rules: {error}") from error
        for text in rules.windows:
            window(text)
        before = next((person.access for person in store.people() if person.name == name), None)
        store.set_access(name, msgspec.structs.replace(rules, badges=before.badges if before else ()))
        return {"name": name}

    def badge(self, door: str, number: str) -> dict[str, Any]:
        """A badge was shown at a door. Raises Usage."""
        if door not in self._doors:
            raise Usage(f"there is no door {door!r}: there is {', '.join(self._doors)}")
        if not 0 < len(number) <= 200:
            raise Usage("a badge's number has 1 to 200 characters")
        claim(door, number, self._badge_ns)
        return {"door": door}

    def calibration(self) -> dict[str, Any] | None:
        """The numbers and the curve; None where nothing was calibrated."""
        found = calibration.load(home())
        return msgspec.to_builtins(found) if found else None

    def state(self) -> dict[str, Any]:
        """Doors and health."""
        found = health(home())
        return {"doors": _doors(home() / "doors"), "health": msgspec.to_builtins(found) if found else None}

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


def _person(person: Person) -> dict[str, Any]:
    models = sorted({template.model[:12] for template in person.templates})
    access = msgspec.to_builtins(person.access)
    access["badges"] = len(person.access.badges)
    return {"name": person.name, "photos": len(person.templates), "models": models, "access": access}


def _doors(folder: Path) -> list[dict[str, Any]]:
    states = (msgspec.json.decode(path.read_bytes(), type=DoorState) for path in sorted(folder.glob("*.json")))
    return [msgspec.to_builtins(state) for state in states]
