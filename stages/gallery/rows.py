"""The gallery's database file: its tables hold ciphertext and pseudonyms only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline.errors import Failed
from stages.gallery.database import Connection

SCHEMA = 3
BUSY_S = 10.0  # how long to wait for another writer
TABLES = (
    "CREATE TABLE gallery(id BLOB NOT NULL, generation INTEGER NOT NULL) STRICT",
    # tag: HMAC of the name, under a key of the key database, to find a person without opening everybody
    "CREATE TABLE people(id BLOB PRIMARY KEY, tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE portraits(id BLOB PRIMARY KEY, person BLOB NOT NULL REFERENCES people, sealed BLOB NOT NULL) STRICT",
    "CREATE TABLE templates(id BLOB PRIMARY KEY, person BLOB NOT NULL REFERENCES people, model TEXT NOT NULL,"
    " sealed BLOB NOT NULL) STRICT",
    "CREATE INDEX portraits_of_person ON portraits(person)",
    "CREATE INDEX templates_of_person ON templates(person)",
)
FORGOTTEN = (  # since schema 3
    "CREATE TABLE forgotten(digest BLOB PRIMARY KEY, generation INTEGER NOT NULL) STRICT, WITHOUT ROWID"
)


class Rows:
    """The file, opened anew for each transaction. Any number of processes may read while one writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether there is a gallery. Raises Failed where the folder may not be looked into."""
        try:
            return self.path.exists()
        except OSError as error:
            raise Failed(f"cannot look for {self.path}: {error.strerror}; set $FRAMEWIRE_HOME") from error

    def version(self, rows: sqlite3.Connection) -> int:
        """The schema of the file, 0 for an empty one. Raises Failed for one of the future."""
        version: int = rows.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise Failed(f"the gallery {self.path} was made by a newer framewire: update this one")
        return version

    def create(self, rows: sqlite3.Connection, gallery: bytes) -> None:
        """Make the tables of a gallery with this id."""
        for table in TABLES:
            rows.execute(table)
        rows.execute("INSERT INTO gallery VALUES (?, 0)", (gallery,))
        self.extend(rows)

    def extend(self, rows: sqlite3.Connection) -> None:
        """Make what schema 2 did not have."""
        rows.execute(FORGOTTEN)
        rows.execute(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        """A transaction, DEFERRED to read or IMMEDIATE to write. Raises Failed for what the file makes impossible."""
        # mode=rw for readers too: after a writer's crash, the first to come has to recover its log.
        try:
            with closing(
                sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", BUSY_S, 0, None, uri=True)
            ) as rows:
                rows.execute("PRAGMA synchronous = FULL")
                rows.execute("PRAGMA secure_delete = ON")  # deleted rows become zeros ...
                if not self.path.stat().st_size:
                    rows.execute("PRAGMA auto_vacuum = FULL")  # ... and no free page stays in the file
                write_ahead(rows)  # of a gallery of an older framewire, too
                with rows:
                    rows.execute(f"BEGIN {kind}")
                    yield rows
        except sqlite3.OperationalError as error:
            raise Failed(
                f"cannot use the gallery {self.path} ({error}): see that it can be written, try again"
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # of a damaged name that sqlite3 cannot tell
            raise self.damaged(str(error)) from error

    def truncate_log(self) -> None:
        """Bring what is committed into the file itself and leave nothing in the write-ahead log. Raises Failed."""
        ends = time.monotonic() + BUSY_S
        try:
            with closing(sqlite3.connect(self.path, BUSY_S, 0, None)) as rows:
                while rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # another is at it, or reads
                    if time.monotonic() > ends:
                        raise Failed(f"another process reads {self.path} without end: stop it and say this again")
                    time.sleep(0.01)
        except sqlite3.OperationalError as error:
            raise Failed(
                f"what was deleted is still in the log of {self.path} ({error}): stop who uses it, and say this again"
            ) from error

    def damaged(self, how: str) -> Failed:
        """What to say of a file that is not as it was left."""
        return Failed(f"the gallery {self.path} is damaged ({how}): put back a copy, or delete it and enroll again")


def write_ahead(rows: sqlite3.Connection) -> None:
    """Keep a write-ahead log. SQLite itself does not wait where several begin at once, as it does for a transaction."""
    ends = time.monotonic() + BUSY_S
    while True:
        try:
            rows.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
        time.sleep(0.01)


def delete_person(rows: Connection, person: bytes) -> dict[str, int]:
    """Delete all rows of a person; how many of which kind."""
    counts = {
        table: rows.execute(f"DELETE FROM {table} WHERE person = ?", (person,)).rowcount
        for table in ("templates", "portraits")
    }
    rows.execute("DELETE FROM people WHERE id = ?", (person,))
    return counts
