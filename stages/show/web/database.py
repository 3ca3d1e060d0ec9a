"""HOME/web.sqlite: the accounts, their sessions, tokens and links, and who guesses at them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Failed
from stages.events import schema
from stages.show.web import guesses

SCHEMA = 2
TABLES = (
    "CREATE TABLE users(name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL) STRICT",
    "CREATE TABLE sessions(id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES users, csrf TEXT NOT NULL,"
    " began REAL NOT NULL, seen REAL NOT NULL) STRICT",
    "CREATE TABLE tokens(id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, made REAL NOT NULL) STRICT",
    "CREATE TABLE setup(id TEXT PRIMARY KEY, until REAL NOT NULL) STRICT",
)
# name: whose link it is, "" for the first admin's, who chooses one
SINCE_2 = (guesses.TABLE, "ALTER TABLE setup ADD COLUMN name TEXT NOT NULL DEFAULT ''")
UPDATE = (
    "ALTER TABLE users DROP COLUMN failures",
    "ALTER TABLE users DROP COLUMN locked_until",
    *SINCE_2,
)  # of schema 1


class Database:
    """The file. Calls may come from any thread."""

    def __init__(self, home: Path) -> None:
        """Raises Failed."""
        self._path, self._lock = home / "web.sqlite", threading.Lock()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}") from error
        with self.rows() as rows:
            version = rows.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise Failed(f"the accounts in {self._path} were made by a newer framewire: update this one")
            if version < SCHEMA:
                if version:
                    schema.copy(self._path)
                for statement in UPDATE if version else (*TABLES, *SINCE_2):
                    rows.execute(statement)
                rows.execute(f"PRAGMA user_version = {SCHEMA}")

    def remove_copies(self) -> None:
        """Those from before an update, in which nobody is removed. Raises Failed."""
        schema.remove_copies(self._path, 0)

    @contextmanager
    def rows(self) -> Iterator[sqlite3.Connection]:
        """A transaction. Raises Failed."""
        with self._lock:
            try:
                rows = sqlite3.connect(self._path, 10, 0, None)
                try:
                    rows.execute("PRAGMA secure_delete = ON")
                    rows.execute("BEGIN IMMEDIATE")
                    yield rows
                    rows.execute("COMMIT")
                finally:
                    rows.close()
            except sqlite3.OperationalError as error:
                wanted = "see that there is room and that it can be written"
                raise Failed(f"cannot use the accounts in {self._path} ({error}): {wanted}") from error
            except sqlite3.DatabaseError as error:
                raise Failed(f"the accounts in {self._path} cannot be used ({error}): put back a copy") from error
