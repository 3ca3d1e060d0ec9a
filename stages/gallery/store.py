"""Who is enrolled, on disk: names, rules, templates and portraits, encrypted, each person under a key of their own.

The rows are in HOME/gallery.sqlite, the keys in KEYS/gallery-ID.keys, wrapped by the master key, so a copy of either
alone reveals nobody. To forget a person is to destroy the key, then the rows. A crash between the two leaves rows that
nobody can read; the next change sweeps them out. Table, row, person and model are authenticated with each ciphertext,
so that no row can pass for another's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from stages.gallery.keyfile import ID_BYTES, Keys
from stages.gallery.master import Master
from stages.gallery.migrate import migrate
from stages.gallery.people import TAGS, Access, Person, Portrait, Profile, Sealed, Template, checked_name
from stages.gallery.rows import SCHEMA, Rows, delete_person
from stages.gallery.sealing import Unreadable, seal, unseal

__all__ = ["Access", "Person", "Portrait", "Store", "Template", "checked_name"]


class Store:
    """The gallery. Any number of processes may read while one writes."""

    def __init__(self, home: Path, keys: Path) -> None:
        if keys.resolve().is_relative_to(home.resolve()):
            raise Usage(f"the keys ({keys}) may not lie inside of the data they protect ({home}): set $FRAMEWIRE_KEYS")
        self.home = home
        self.rows = Rows(home / "gallery.sqlite")
        self._folder = keys
        self._keys: Keys | None = None

    def people(self) -> list[Person]:
        """Everybody, by name; nobody where no gallery has been made yet."""
        with self._reading() as rows:
            if rows is None:
                return []
            keys = self._key_file(rows).read() if _any(rows) else {}
            found = rows.execute("SELECT id, sealed FROM people").fetchall()
            people = [self._person(rows, person, keys[person], sealed) for person, sealed in found if person in keys]
        return sorted(people, key=lambda person: person.name)

    def generation(self) -> int:
        """A number that rises with every change; 0 where there is no gallery."""
        with self._reading() as rows:
            return int(rows.execute("SELECT generation FROM gallery").fetchone()[0]) if rows else 0

    def add(
        self,
        name: str,
        model: str,
        embeddings: NDArray[np.float32],
        portraits: Sequence[Portrait] = (),
        access: Access | None = None,
    ) -> int:
        """Keep `embeddings` (N, D) of unit length for `name`, and the portrait that each was made of.

        With `access` the rules are set at the same time: nobody comes in before they are.
        Returns how many templates that name has for `model`.
        """
        with self._writing() as rows:
            found = self._find(rows, name) or self._new(rows, name)
            if access is not None:
                self._set_access(rows, found, name, access)
            pictures = [self._keep_portrait(rows, found, portrait) for portrait in portraits] or [b""] * len(embeddings)
            for embedding, portrait in zip(embeddings, pictures, strict=True):
                self._keep_template(rows, found, model, embedding, portrait=portrait)
            kept = rows.execute("SELECT count(*) FROM templates WHERE person = ? AND model = ?", (found[0], model))
            return int(kept.fetchone()[0])

    def add_negative(self, name: str, model: str, embedding: NDArray[np.float32]) -> None:
        """Keep a face (D,) that was taken for `name` and is somebody else's."""
        with self._writing() as rows:
            self._keep_template(rows, self._known(rows, name), model, embedding, negative=True)

    def set_access(self, name: str, access: Access) -> None:
        """Replace the rules for `name`."""
        with self._writing() as rows:
            self._set_access(rows, self._known(rows, name), name, access)

    def rename(self, name: str, new: str) -> None:
        """Call `name` by another name. Raises Failed where somebody else has that one."""
        with self._writing() as rows:
            person, key = self._known(rows, name)
            if self._find(rows, new):
                raise Failed(f"somebody called {new!r} is enrolled already: choose another name")
            access = self._profile(rows, person, key).access
            change = (self._tag(rows, new), _profile(key, person, new, access), person)
            rows.execute("UPDATE people SET tag = ?, sealed = ? WHERE id = ?", change)

    def portraits(self, name: str) -> dict[bytes, Portrait]:
        """The portraits of `name` by their id."""
        with self._reading() as rows:
            if rows is None:
                return {}
            person, key = self._known(rows, name)
            found = rows.execute("SELECT id, sealed FROM portraits WHERE person = ?", (person,)).fetchall()
            return {
                portrait: msgspec.msgpack.decode(self._open(key, sealed, b"portraits", portrait, person), type=Portrait)
                for portrait, sealed in found
            }

    def re_embed(self, name: str, model: str, embeddings: dict[bytes, NDArray[np.float32]]) -> None:
        """Replace the templates of `name` for `model` by `embeddings`, (D,) of each portrait's id; all or nothing."""
        with self._writing() as rows:
            found = self._known(rows, name)
            rows.execute("DELETE FROM templates WHERE person = ? AND model = ?", (found[0], model))
            for portrait, embedding in embeddings.items():
                self._keep_template(rows, found, model, embedding, portrait=portrait)

    def badge(self, text: str) -> str | None:
        """What is kept of a badge's number: its HMAC, hexadecimal; None where nobody is enrolled who could hold it."""
        with self._reading() as rows:
            return self._hmac(rows, b"badge\0" + text.encode()).hex() if rows else None

    def forget(self, name: str) -> tuple[bytes, dict[str, int]]:
        """Destroy the key and the rows of `name`: their id, and how many rows of which kind there were.

        Raises Failed where nobody has that name.
        """
        if not self.rows.exists():
            raise _nobody(name)
        with self._writing() as rows:
            person, _ = self._known(rows, name)
            self._key_file(rows).destroy(person)
            counts = delete_person(rows, person)
        self.rows.truncate_log()
        return person, counts

    def key_file(self) -> Keys | None:
        """The keys of this gallery; None where there is none yet."""
        with self._reading() as rows:
            return self._key_file(rows) if rows else None

    def _person(self, rows: sqlite3.Connection, person: bytes, key: bytes, sealed: bytes) -> Person:
        profile = msgspec.json.decode(self._open(key, sealed, b"people", person), type=Profile)
        query = "SELECT id, model, sealed FROM templates WHERE person = ? ORDER BY rowid"
        kept = [
            (
                msgspec.msgpack.decode(self._open(key, raw, b"templates", row, person, model.encode()), type=Sealed),
                model,
            )
            for row, model, raw in rows.execute(query, (person,))
        ]
        faces = [tuple(one.template(model) for one, model in kept if one.negative is kind) for kind in (False, True)]
        return Person(person, profile.name, profile.access, *faces)

    def _profile(self, rows: sqlite3.Connection, person: bytes, key: bytes) -> Profile:
        sealed = rows.execute("SELECT sealed FROM people WHERE id = ?", (person,)).fetchone()[0]
        return msgspec.json.decode(self._open(key, sealed, b"people", person), type=Profile)

    def _set_access(self, rows: sqlite3.Connection, owner: tuple[bytes, bytes], name: str, access: Access) -> None:
        person, key = owner
        rows.execute("UPDATE people SET sealed = ? WHERE id = ?", (_profile(key, person, name, access), person))

    def _find(self, rows: sqlite3.Connection, name: str) -> tuple[bytes, bytes] | None:
        found = rows.execute("SELECT id FROM people WHERE tag = ?", (self._tag(rows, name),)).fetchone()
        key = self._key_file(rows).get(found[0]) if found else None
        return (found[0], key) if found and key else None

    def _known(self, rows: sqlite3.Connection, name: str) -> tuple[bytes, bytes]:
        found = self._find(rows, name)
        if found is None:
            raise _nobody(name)
        return found

    def _new(self, rows: sqlite3.Connection, name: str) -> tuple[bytes, bytes]:
        person = secrets.token_bytes(ID_BYTES)
        key = self._key_file(rows).new(person)
        rows.execute(
            "INSERT INTO people VALUES (?, ?, ?)",
            (person, self._tag(rows, name), _profile(key, person, name, Access())),
        )
        return person, key

    def _keep_portrait(self, rows: sqlite3.Connection, owner: tuple[bytes, bytes], portrait: Portrait) -> bytes:
        (person, key), row = owner, secrets.token_bytes(ID_BYTES)
        sealed = seal(key, msgspec.msgpack.encode(portrait), b"portraits", row, person)
        rows.execute("INSERT INTO portraits VALUES (?, ?, ?)", (row, person, sealed))
        return row

    def _keep_template(
        self,
        rows: sqlite3.Connection,
        owner: tuple[bytes, bytes],
        model: str,
        embedding: NDArray[np.float32],
        *,
        portrait: bytes = b"",
        negative: bool = False,
    ) -> None:
        (person, key), row = owner, secrets.token_bytes(ID_BYTES)
        now = datetime.now(UTC).replace(microsecond=0)
        kept = msgspec.msgpack.encode(Sealed(now, embedding.astype("<f4").tobytes(), negative, portrait))
        sealed = seal(key, kept, b"templates", row, person, model.encode())
        rows.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", (row, person, model, sealed))

    def _tag(self, rows: sqlite3.Connection, name: str) -> bytes:
        return self._hmac(rows, b"name\0" + name.encode())

    def _hmac(self, rows: sqlite3.Connection, text: bytes) -> bytes:
        keys = self._key_file(rows)
        key = keys.get(TAGS)
        if key is None:
            raise Failed("the key that names are found by is missing: put back a copy of the key file")
        return hmac.new(key, text, hashlib.sha256).digest()

    def _key_file(self, rows: sqlite3.Connection) -> Keys:
        if self._keys is None:
            gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
            self._keys = Keys(self._folder / f"gallery-{gallery.hex()}.keys", Master.load(self.home))
        return self._keys

    def _open(self, key: bytes, sealed: bytes, *bound: bytes) -> bytes:
        try:
            return unseal(key, sealed, *bound)
        except Unreadable as error:
            raise self.rows.damaged(str(error)) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A view of the gallery that does not change; None where there is no gallery yet."""
        if not self.rows.exists():
            yield None
            return
        with self.rows.transaction("DEFERRED") as rows:
            version = self.rows.version(rows)
            if version in (0, SCHEMA):
                yield rows if version else None
                return
        with self._writing() as rows:  # an older one is brought up to date, which is to write
            yield rows

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._make_room()
        with self.rows.transaction("IMMEDIATE") as rows:
            if not self.rows.version(rows):
                self.rows.create(rows, gallery := secrets.token_bytes(8))
                Keys(self._folder / f"gallery-{gallery.hex()}.keys", Master.load(self.home, create=True)).new(TAGS)
            elif self.rows.version(rows) < SCHEMA:
                migrate(self.rows, rows, self._folder, Master.load(self.home, create=True))
            rows.execute("UPDATE gallery SET generation = generation + 1")
            if _any(rows):
                self._sweep(rows)
            yield rows

    def _make_room(self) -> None:
        try:
            for folder in (self.home, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.rows.path.touch(mode=0o600)
        except OSError as error:
            raise Failed(f"cannot write {error.filename}: {error.strerror}") from error

    def _sweep(self, rows: sqlite3.Connection) -> None:
        """Delete the rows of those whose key is destroyed: a crash came before the rows were deleted."""
        kept = self._key_file(rows).owners()
        for (person,) in rows.execute("SELECT id FROM people").fetchall():
            if person not in kept:
                delete_person(rows, person)


def _any(rows: sqlite3.Connection) -> bool:
    return rows.execute("SELECT 1 FROM people LIMIT 1").fetchone() is not None


def _profile(key: bytes, person: bytes, name: str, access: Access) -> bytes:
    return seal(key, Profile(name, access).pack(), b"people", person)


def _nobody(name: str) -> Failed:
    return Failed(f"nobody called {name!r} is enrolled: `people` lists who is")
