"""Who is enrolled, on disk: names, rules, templates and portraits, encrypted, each person under a key of their own.

Rows and keys lie apart (database.py says where), the keys wrapped by the master key, so a copy of either alone reveals
nobody. To forget a person is to mark them as forgotten, from when on they are in the gallery of nobody who reads it;
then to destroy the key, then the rows. A crash in between leaves a name for which it can be said again, and, at worst,
rows that nobody can read; the next change sweeps them out. Who has no key and is not marked stays: an older copy of the
keys does not have them. Table, row, person and model are authenticated with each
ciphertext, so that no row can pass for another's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from stages.gallery import faces, profiles
from stages.gallery.database import Connection, Keys, database
from stages.gallery.faces import Owner
from stages.gallery.keyfile import ID_BYTES
from stages.gallery.people import TAGS, Access, Person, Portrait, Template, checked_name
from stages.gallery.rows import delete_person
from stages.gallery.sealing import Unreadable
from stages.gallery.windows import check

if TYPE_CHECKING:
    from stages.gallery.postgres.presence import Moves

__all__ = ["Access", "Person", "Portrait", "Store", "Template", "checked_name"]


NO_KEY = "no key in this copy of the keys: put back the newest copy, or forget them and enroll them again"


class Forgotten(NamedTuple):
    """What was destroyed."""

    person: bytes  # the id
    counts: dict[str, int]  # how many rows of which kind
    copies: list[Path]  # from before an update
    left: list[str]  # sentences on what stays on a disk for now


class Store:
    """The gallery, for one thread. Any number of processes may read while one writes."""

    def __init__(self, home: Path, keys: Path) -> None:
        """Of the data directory `home` and its key files in `keys`, or of a server. Raises Usage and Failed."""
        self._database = database(home, keys)
        self.beyond = self._database.beyond  # what of a forgotten person is out of reach
        self.reader, self.wait_for = self._database.reader, self._database.wait_for
        self.unread = ""  # one sentence on whom `people` could not read when it was called last, or ""

    def people(self) -> list[Person]:
        """Everybody, by name; nobody where no gallery has been made yet."""
        with self._database.reading() as rows:
            if rows is None:
                return []
            keys = self._database.keys(rows).read() if _any(rows) else {}
            marks = self._database.marks(rows, since=-1)
            tags = self._tags(rows) if marks else b""
            people = rows.execute("SELECT id, sealed FROM people").fetchall()
            templates = defaultdict(list)
            for person, *row in rows.execute(
                "SELECT person, id, model, sealed FROM templates ORDER BY rowid"
            ).fetchall():
                templates[person].append(row)
        with self._whole():
            found = [
                profiles.person((id_, keys[id_]), sealed, templates[id_])
                for id_, sealed in people
                if id_ in keys and not (marks and _mark(tags, id_) in marks)
            ]
        lost = {id_ for id_, _ in people} - keys.keys()
        lost -= set(self.forgotten(-1, lost) if lost else ())  # meanwhile, too
        self.unread = f"{len(lost)} of {len(people)} people have {NO_KEY}" if lost else ""
        return sorted(found, key=lambda person: person.name)

    def generation(self) -> int:
        """A number that rises with every change; 0 where there is no gallery."""
        with self._database.reading() as rows:
            return int(rows.execute("SELECT generation FROM gallery").fetchone()[0]) if rows else 0

    def add(
        self,
        name: str,
        model: str,
        embeddings: NDArray[np.float32],
        portraits: Sequence[Portrait] = (),
        access: Access | None = None,
        negatives: Sequence[tuple[NDArray[np.float32], Portrait]] = (),
    ) -> int:
        """Keep `embeddings` (N, D) of unit length for `name`, and the portrait that each was made of.

        With `access` the rules are set at the same time: nobody comes in before they are. `negatives` are what
        `add_negative` takes.
        Returns how many templates that name has for `model`. Raises Usage for rules that cannot be.
        """
        if access is not None:
            check(access)
        with self._writing() as rows:
            found = self._find(rows, name) or self._new(rows, name)
            if access is not None:
                profiles.set_access(rows, found, name, access)
            pictures = [faces.keep_portrait(rows, found, portrait) for portrait in portraits] or [b""] * len(embeddings)
            for embedding, portrait in zip(embeddings, pictures, strict=True):
                faces.keep_template(rows, found, model, embedding, portrait=portrait)
            for embedding, other in negatives:
                faces.keep_negative(rows, found, model, embedding, other)
            return sum(of == model and not kept.negative for of, kept in faces.templates(rows, found))

    def add_negative(self, name: str, model: str, embedding: NDArray[np.float32], portrait: Portrait) -> None:
        """Keep a face (D,) that was taken for `name` and is somebody else's, and the portrait that it was made of."""
        with self._writing() as rows:
            faces.keep_negative(rows, self._known(rows, name), model, embedding, portrait)

    def set_access(self, name: str, access: Access) -> None:
        """Replace the rules for `name`. Raises Usage for some that cannot be."""
        check(access)
        with self._writing() as rows:
            profiles.set_access(rows, self._known(rows, name), name, access)

    def rename(self, name: str, new: str, access: Access | None = None) -> None:
        """Call `name` by another name, and replace their rules by `access`, unless None: both or neither.

        Raises Failed where somebody else has that name, and Usage for rules that cannot be.
        """
        if access is not None:
            check(access)
        with self._writing() as rows:
            person, key = self._known(rows, name)
            if self._find(rows, new):
                raise Failed(f"somebody called {new!r} is enrolled already: choose another name")
            (sealed,) = rows.execute("SELECT sealed FROM people WHERE id = ?", (person,)).fetchone()
            access = access or profiles.opened((person, key), sealed).access
            change = (self._tag(rows, new), profiles.packed((person, key), new, access), person)
            rows.execute("UPDATE people SET tag = ?, sealed = ? WHERE id = ?", change)

    def portraits(self, name: str, *, negative: bool = False) -> dict[bytes, Portrait]:
        """The portraits of `name` by their id; if `negative`, those of others who were taken for them."""
        with self._whole(), self._database.reading() as rows:
            if rows is None:
                return {}
            found = self._known(rows, name)
            others = {kept.portrait for _, kept in faces.templates(rows, found) if kept.negative}
            return {id_: one for id_, one in faces.portraits(rows, found).items() if (id_ in others) is negative}

    def unembedded(self, name: str, model: str) -> dict[bytes, Portrait]:
        """The portraits of `name`, and of others taken for them, that have no template for `model`, by their id."""
        with self._whole(), self._database.reading() as rows:
            if rows is None:
                return {}
            found = self._known(rows, name)
            done = {kept.portrait for of, kept in faces.templates(rows, found) if of == model}
            return {id_: one for id_, one in faces.portraits(rows, found).items() if id_ not in done}

    def re_embed(self, name: str, model: str, embeddings: dict[bytes, NDArray[np.float32]]) -> None:
        """Keep templates for `model` by `embeddings`, (D,) of the id of each portrait that has none; all or nothing."""
        with self._writing() as rows:
            found = self._known(rows, name)
            kept = faces.templates(rows, found)
            negative = {one.portrait: one.negative for _, one in kept}  # of all portraits, as each was embedded once
            done = {one.portrait for of, one in kept if of == model}
            for id_, embedding in embeddings.items():
                if id_ in negative and id_ not in done:
                    faces.keep_template(rows, found, model, embedding, portrait=id_, negative=negative[id_])

    def badge(self, text: str) -> str | None:
        """What is kept of a badge's number: its HMAC, hexadecimal; None where nobody is enrolled who could hold it.

        Raises Usage for one that is blank; white space around it is none of it, as a reader may send a line.
        """
        number = text.strip()
        if not number:
            raise Usage("the number of a badge is blank: give the one that its reader sends")
        with self._database.reading() as rows:
            return self._hmac(rows, b"badge\0" + number.encode()).hex() if rows else None

    def disown(self, name: str) -> bytes:
        """Mark `name` as forgotten, for who reads the gallery; their id. Key and rows stay, for `forget` to destroy.

        Raises Failed where nobody has that name, and no `forget` of it was stopped half-way.
        """
        with self._database.reading() as rows:
            if rows is None:
                raise _nobody(name)
            person = self._id(rows, name)
            marked = person is not None and self._is_marked(rows, person)
        if person is None:
            self._database.scrub()  # for a crash that came before this
            raise _nobody(name)
        if not marked:
            with self._writing() as rows:
                self._database.mark(rows, person, _mark(self._tags(rows), person))
        return person

    def forget(self, name: str) -> Forgotten:
        """Destroy the key and the rows of `name`, also after a crash of this. Raises Failed as `disown` does."""
        person = self.disown(name)
        with self._database.writing() as rows:  # nobody who reads has to follow: the person was not there any more
            copies = self._database.remove_copies(rows)  # first: without the key this cannot be said again
            self._database.keys(rows).destroy(person)
            counts = delete_person(rows, person)
        return Forgotten(person, counts, copies, self._database.scrub())

    def forgotten(self, since: int, ids: Iterable[bytes]) -> list[bytes]:
        """Who of `ids` was forgotten after the gallery's generation `since`."""
        with self._database.reading() as rows:
            marks = self._database.marks(rows, since) if rows else set()
            tags = self._tags(rows) if rows and marks else b""
        return [id_ for id_ in ids if _mark(tags, id_) in marks] if marks else []

    def exchange(self, moves: Moves) -> None:
        """Give the other hosts who came in and went out here, and take what they saw; with files there are none."""
        if self._database.presence:
            self._database.presence.exchange(moves, lambda ids: self.forgotten(-1, ids))

    def key_file(self) -> Keys | None:
        """The keys of this gallery; None where there is none yet."""
        with self._database.reading() as rows:
            return self._database.keys(rows) if rows else None

    def _id(self, rows: Connection, name: str) -> bytes | None:
        found = rows.execute("SELECT id FROM people WHERE tag = ?", (self._tag(rows, name),)).fetchone()
        return found[0] if found else None

    def _is_marked(self, rows: Connection, person: bytes) -> bool:
        return _mark(self._tags(rows), person) in self._database.marks(rows, since=-1)

    def _find(self, rows: Connection, name: str) -> Owner | None:
        person = self._id(rows, name)
        if person is None:
            return None
        if self._is_marked(rows, person):
            raise Failed(f"a `forget` of {name!r} was stopped half-way: run it again first")
        key = self._database.keys(rows).get(person)
        if key is None:
            raise Failed(f"{name!r} has {NO_KEY}")
        return person, key

    def _known(self, rows: Connection, name: str) -> Owner:
        found = self._find(rows, name)
        if found is None:
            raise _nobody(name)
        return found

    def _new(self, rows: Connection, name: str) -> Owner:
        person = secrets.token_bytes(ID_BYTES)
        owner = person, self._database.keys(rows).new(person)
        row = (person, self._tag(rows, name), profiles.packed(owner, name, Access()))
        rows.execute("INSERT INTO people VALUES (?, ?, ?)", row)
        return owner

    def _tag(self, rows: Connection, name: str) -> bytes:
        return self._hmac(rows, b"name\0" + name.encode())

    def _hmac(self, rows: Connection, text: bytes) -> bytes:
        return hmac.new(self._tags(rows), text, hashlib.sha256).digest()

    def _tags(self, rows: Connection) -> bytes:
        key = self._database.keys(rows).get(TAGS)
        if key is None:
            raise Failed("the key that names are found by is missing: put back a copy of the keys")
        return key

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What does not open is a sentence for the user."""
        try:
            yield
        except Unreadable as error:
            raise self._database.damaged(str(error)) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._whole(), self._database.writing() as rows:
            rows.execute("UPDATE gallery SET generation = generation + 1")
            if _any(rows):
                self._sweep(rows)
            yield rows

    def _sweep(self, rows: Connection) -> None:
        """Delete the rows of who was forgotten and whose key is destroyed: a crash came before they were deleted."""
        keys, marks = self._database.keys(rows), self._database.marks(rows, since=-1)
        kept, tags = (keys.owners(), self._tags(rows)) if marks else (set(), b"")
        for (person,) in rows.execute("SELECT id FROM people").fetchall() if marks else ():
            if person not in kept and _mark(tags, person) in marks:
                delete_person(rows, person)


def _any(rows: Connection) -> bool:
    return rows.execute("SELECT 1 FROM people LIMIT 1").fetchone() is not None


def _mark(tags: bytes, person: bytes) -> bytes:
    """By what hosts know somebody who is forgotten: whoever does not have the id cannot tell whom."""
    return hmac.digest(tags, b"forgotten\0" + person, "sha256")


def _nobody(name: str) -> Failed:
    return Failed(f"nobody called {name!r} is enrolled: `people` lists who is")
