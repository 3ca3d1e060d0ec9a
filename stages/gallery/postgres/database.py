"""A gallery on a PostgreSQL server, for several doors: rows in one database, wrapped keys in another.

What is in the tables is what the files have: ciphertext and pseudonyms. Searching is each process's own, in memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Failed, Usage
from stages.gallery import database
from stages.gallery.database import Connection
from stages.gallery.master import Master
from stages.gallery.people import TAGS
from stages.gallery.postgres import presence, readers
from stages.gallery.postgres.address import parsed
from stages.gallery.postgres.keys import PostgresKeys
from stages.gallery.postgres.presence import Presence
from stages.gallery.postgres.readers import PostgresReader, wait_for
from stages.gallery.postgres.server import IDENTITY, READ, WRITE, Server
from stages.gallery.postgres.session import Session

VERSION = 1
LOCKS = 0x6672616D  # the class of the advisory lock of who writes
TABLES = (
    "CREATE TABLE gallery(id BYTEA NOT NULL, generation BIGINT NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE people(id BYTEA PRIMARY KEY, tag BYTEA NOT NULL UNIQUE, sealed BYTEA NOT NULL)",
    "CREATE TABLE portraits(id BYTEA PRIMARY KEY, person BYTEA NOT NULL REFERENCES people, sealed BYTEA NOT NULL)",
    # rowid: what SQLite has by itself, the order in which rows came
    "CREATE TABLE templates(id BYTEA PRIMARY KEY, person BYTEA NOT NULL REFERENCES people, model TEXT NOT NULL,"
    " sealed BYTEA NOT NULL, rowid BIGINT GENERATED ALWAYS AS IDENTITY)",
    "CREATE INDEX portraits_of_person ON portraits(person)",
    "CREATE INDEX templates_of_person ON templates(person)",
    "CREATE TABLE forgotten(digest BYTEA PRIMARY KEY, generation BIGINT NOT NULL)",
    *readers.TABLES,
    *presence.TABLES,
    # Statistics are copies of values: ids would stay in them after their rows.
    *(
        f"ALTER TABLE {table} {', '.join(f'ALTER {column} SET STATISTICS 0' for column in columns)}"
        for table, columns in (
            ("people", ("id", "tag", "sealed")),
            ("portraits", ("id", "person", "sealed")),
            ("templates", ("id", "person", "sealed")),
            ("presence", ("person",)),
        )
    ),
)


class Postgres:
    """A `Database`. Any number of processes may read while one writes, from any host."""

    beyond = (
        "backups of both databases and of the master key (destroy those from before today)",
        "replicas, write-ahead logs, logs of statements and freed blocks on the disks of the database servers",
        "the events of a gate that is stopped (it erases them when it starts)",
    )

    def __init__(self, home: Path, rows: str, keys: str) -> None:
        """The addresses out of the environment. Raises Usage; nothing is connected to yet."""
        self._home = home
        self._rows = Server(parsed(database.ROWS, rows))
        self._key_server = Server(parsed(database.KEYS, keys))
        self._keys: PostgresKeys | None = None
        self.presence = Presence(self._rows)

    @contextmanager
    def reading(self) -> Iterator[Session | None]:
        """See Database."""
        with self._rows.transaction(READ) as rows:
            yield rows if self._exists(rows) else None

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """See Database."""
        with self._rows.transaction(WRITE) as rows:
            rows.execute("SELECT pg_advisory_xact_lock(?, 0)", (LOCKS,))
            if not self._exists(rows):
                gallery = secrets.token_bytes(8)
                self._rows.create(rows, TABLES)
                rows.execute("INSERT INTO gallery VALUES (?, 0, ?)", (gallery, VERSION))
                self._keys_of(rows, gallery, Master.load(self._home, create=True)).new(TAGS)
            yield rows

    def keys(self, rows: Connection) -> PostgresKeys:
        """See Database."""
        if self._keys is None:
            gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
            self._keys = self._keys_of(rows, gallery, Master.load(self._home))
        return self._keys

    def mark(self, rows: Connection, person: bytes, digest: bytes) -> None:
        """See Database; from now on they are neither inside nor out."""
        rows.execute("DELETE FROM presence WHERE person = ?", (person,))
        rows.execute("INSERT INTO forgotten SELECT ?, generation FROM gallery ON CONFLICT DO NOTHING", (digest,))

    def marks(self, rows: Connection, since: int) -> set[bytes]:
        """See Database."""
        found = rows.execute("SELECT digest FROM forgotten WHERE generation > ?", (since,)).fetchall()
        return {digest for (digest,) in found}

    def scrub(self) -> list[str]:
        """See Database. Templates first: what a gate waits for takes moments, portraits longer."""
        return self._key_server.vacuum("keys") + self._rows.vacuum("templates", "people", "presence", "portraits")

    def remove_copies(self, rows: Connection) -> list[Path]:
        """See Database; no update has left any."""
        return []

    def reader(self, who: str) -> PostgresReader:
        """See Database."""
        return PostgresReader(self._rows, who)

    def wait_for(self, generation: int, seconds: float) -> list[str]:
        """See Database."""
        return wait_for(self._rows, generation, seconds)

    def damaged(self, how: str) -> Failed:
        """See Database."""
        return Failed(f"the gallery in {self._rows.where} is damaged ({how}): put back a copy, or enroll again")

    def _exists(self, rows: Session) -> bool:
        """Whether there is a gallery. Raises Failed for one of the future."""
        if not self._rows.has(rows, "gallery"):
            return False
        if rows.execute("SELECT version FROM gallery").fetchall() != [(VERSION,)]:
            raise Failed(f"the gallery in {self._rows.where} was made by a newer framewire: update this one")
        return True

    def _keys_of(self, rows: Connection, gallery: bytes, master: Master) -> PostgresKeys:
        """Raises Usage where rows and keys are in one database."""
        with self._key_server.transaction(READ) as keys:
            if keys.execute(IDENTITY).fetchall() == rows.execute(IDENTITY).fetchall():
                raise Usage(
                    f"${database.ROWS} and ${database.KEYS} name the same database, a copy of which would hold the "
                    "keys, too: put them into two, best on two servers"
                )
        return PostgresKeys(self._key_server, gallery, master)
