"""The rows of the gallery: names and templates, encrypted, each person under a data key of their own.

The rows are in HOME/gallery.sqlite, the keys in KEYS/gallery-ID.keys, so a copy of either one alone reveals nobody.
To forget a person is to destroy the key, then the rows. A crash between the two leaves rows that nobody can read; the
next change sweeps them out. AES-256-GCM (NIST SP 800-38D), a random nonce each time; the person's id and the
model are authenticated with each template, so that no row can pass for another's.
"""

from __future__ import annotations

import secrets
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from stages.gallery.keyfile import ID_BYTES, KeyFile

NAME_LENGTH = 100  # characters
NAME_BYTES = 4 * NAME_LENGTH  # every name is padded to this, so that its length does not show
NONCE_BYTES = 12
SCHEMA = 1
TABLES = (
    "CREATE TABLE gallery(id BLOB NOT NULL) STRICT",
    "CREATE TABLE people(id BLOB PRIMARY KEY, name BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE templates(person BLOB NOT NULL REFERENCES people, model TEXT NOT NULL, enrolled_at TEXT NOT NULL,"
    " embedding BLOB NOT NULL) STRICT",
    "CREATE INDEX templates_of_person ON templates(person)",
)


class Template(msgspec.Struct, frozen=True):
    """One photo of a person, as an embedder saw it."""

    model: str  # identity of the embedder: templates of two models cannot be compared
    enrolled_at: datetime  # UTC
    embedding: NDArray[np.float32]  # (D,) of unit length


class Person(msgspec.Struct, frozen=True):
    """Somebody who is enrolled."""

    name: str
    templates: tuple[Template, ...]


class Store:
    """Who is enrolled, on disk. Any number of processes may read while one writes."""

    def __init__(self, home: Path, keys: Path) -> None:
        if keys.resolve().is_relative_to(home.resolve()):
            raise Usage(f"the keys ({keys}) may not lie inside of the data they protect ({home}): set $FRAMEWIRE_KEYS")
        self._path = home / "gallery.sqlite"
        self._keys = keys

    def people(self) -> list[Person]:
        """Everybody, by name; nobody where no gallery has been made yet."""
        if not self._exists():
            return []
        with self._rows("DEFERRED") as rows:
            if not _has_schema(rows):
                return []
            templates: dict[bytes, list[tuple[str, str, bytes]]] = {}
            for person, *row in rows.execute("SELECT * FROM templates ORDER BY rowid"):
                templates.setdefault(person, []).append((row[0], row[1], row[2]))
            people = [
                Person(name, tuple(self._template(person, key, *row) for row in templates.get(person, ())))
                for person, name, key in self._named(rows)
            ]
        return sorted(people, key=lambda person: person.name)

    def add(self, name: str, model: str, embeddings: NDArray[np.float32]) -> int:
        """Keep `embeddings` (N, D) of unit length for `name`; returns how many templates that name has for `model`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing() as rows:
            person, key = self._find(rows, name) or self._new(rows, name)
            for embedding in embeddings.astype("<f4"):
                sealed = _seal(key, person, _template_context(model), embedding.tobytes())
                rows.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", (person, model, now, sealed))
            kept = rows.execute("SELECT count(*) FROM templates WHERE person = ? AND model = ?", (person, model))
            return int(kept.fetchone()[0])

    def forget(self, name: str) -> None:
        """Destroy the key and the rows of `name`; raises Failed where nobody has that name."""
        nobody = Failed(f"nobody called {name!r} is enrolled: `people` lists who is")
        if not self._exists():
            raise nobody
        with self._writing() as rows:
            found = self._find(rows, name)
            if found is None:
                raise nobody
            person, _ = found
            self._key_file(rows).destroy(person)
            _delete(rows, person)

    def _exists(self) -> bool:
        try:
            return self._path.exists()
        except OSError as error:
            raise Failed(f"cannot look for {self._path}: {error.strerror}; set $FRAMEWIRE_HOME") from error

    def _find(self, rows: sqlite3.Connection, name: str) -> tuple[bytes, bytes] | None:
        found = (named for named in self._named(rows) if named[1] == name)
        return next(((person, key) for person, _, key in found), None)

    def _new(self, rows: sqlite3.Connection, name: str) -> tuple[bytes, bytes]:
        person, key = secrets.token_bytes(ID_BYTES), AESGCM.generate_key(256)
        sealed = _seal(key, person, b"name", name.encode().ljust(NAME_BYTES, b"\0"))
        rows.execute("INSERT INTO people VALUES (?, ?)", (person, sealed))
        self._key_file(rows).add(person, key)
        return person, key

    def _named(self, rows: sqlite3.Connection) -> list[tuple[bytes, str, bytes]]:
        """(id, name, key) of everybody who still has a key."""
        sealed = rows.execute("SELECT id, name FROM people").fetchall()
        keys = self._key_file(rows).read() if sealed else {}
        return [
            (person, self._open(keys[person], person, b"name", name).rstrip(b"\0").decode(), keys[person])
            for person, name in sealed
            if person in keys
        ]

    def _template(self, person: bytes, key: bytes, model: str, enrolled_at: str, sealed: bytes) -> Template:
        embedding = np.frombuffer(self._open(key, person, _template_context(model), sealed), "<f4")
        return Template(model, datetime.fromisoformat(enrolled_at), embedding.astype(np.float32))

    def _key_file(self, rows: sqlite3.Connection) -> KeyFile:
        gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
        return KeyFile(self._keys / f"gallery-{gallery.hex()}.keys")

    def _open(self, key: bytes, person: bytes, context: bytes, sealed: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], person + context)
        except InvalidTag as error:
            raise self._damaged("it does not decrypt") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            for folder in (self._path.parent, self._keys):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise Failed(f"cannot write {error.filename}: {error.strerror}") from error
        with self._rows("IMMEDIATE") as rows:
            if not _has_schema(rows):
                for table in TABLES:
                    rows.execute(table)
                rows.execute("INSERT INTO gallery VALUES (?)", (secrets.token_bytes(8),))
                rows.execute(f"PRAGMA user_version = {SCHEMA}")
            kept = {person for person, _, _ in self._named(rows)}
            for (person,) in rows.execute("SELECT id FROM people").fetchall():
                if person not in kept:  # forgotten, but a crash came before the rows were deleted
                    _delete(rows, person)
            yield rows

    @contextmanager
    def _rows(self, transaction: str) -> Iterator[sqlite3.Connection]:
        # mode=rw for readers too: after a writer's crash, the first to come has to roll its journal back.
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", 10, 0, None, uri=True)) as rows:
                rows.execute("PRAGMA synchronous = EXTRA")
                rows.execute("PRAGMA secure_delete = ON")  # deleted rows become zeros ...
                if not self._path.stat().st_size:
                    rows.execute("PRAGMA auto_vacuum = FULL")  # ... and no free page stays in the file
                with rows:
                    rows.execute(f"BEGIN {transaction}")
                    yield rows
        except sqlite3.OperationalError as error:
            raise Failed(
                f"cannot use the gallery {self._path} ({error}): see that it can be written, try again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, how: str) -> Failed:
        return Failed(f"the gallery {self._path} is damaged ({how}): put back a copy, or delete it and enroll again")


def checked_name(name: str) -> str:
    """`name` in its composed form (Unicode NFC), found again however it is typed; raises Usage if it is no name."""
    name = unicodedata.normalize("NFC", name).strip()
    if not (0 < len(name) <= NAME_LENGTH and name.isprintable()):
        raise Usage(f"{name[:NAME_LENGTH]!r} is no name: a name has 1 to {NAME_LENGTH} printable characters")
    return name


def _has_schema(rows: sqlite3.Connection) -> bool:
    version: int = rows.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA):
        raise Failed("the gallery was made by a newer framewire: update this one")
    return version == SCHEMA


def _delete(rows: sqlite3.Connection, person: bytes) -> None:
    rows.execute("DELETE FROM templates WHERE person = ?", (person,))
    rows.execute("DELETE FROM people WHERE id = ?", (person,))


def _template_context(model: str) -> bytes:
    return b"template\0" + model.encode()


def _seal(key: bytes, person: bytes, context: bytes, plain: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, person + context)
