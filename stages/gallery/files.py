"""A gallery in files: rows in HOME/gallery.sqlite, keys in KEYS/gallery-ID.keys, readers in HOME/readers."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Failed
from stages.gallery.database import Connection
from stages.gallery.keyfile import Keys, check_apart
from stages.gallery.master import Master
from stages.gallery.migrate import keep_rows, migrate, remove_copies
from stages.gallery.people import TAGS
from stages.gallery.readers import Reader, wait_for
from stages.gallery.rows import SCHEMA, Rows

log = logging.getLogger(__name__)


class Files:
    """A `Database`. Any number of processes may read while one writes."""

    beyond = ("backups of the key database and of the master key (destroy those from before today)",)
    presence = None

    def __init__(self, home: Path, folder: Path) -> None:
        """`folder` has the key files. Raises Usage where it lies inside of `home`."""
        check_apart(folder, home)
        self._home, self._folder = home, folder
        self._rows = Rows(home / "gallery.sqlite")
        self._keys: Keys | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """See Database."""
        if not self._rows.exists():
            yield None
            return
        with self._rows.transaction("DEFERRED") as rows:
            version = self._rows.version(rows)
            if version in (0, SCHEMA):
                yield rows if version else None
                return
        with self.writing() as rows:  # an older one is brought up to date, which is to write
            yield rows

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """See Database."""
        self._make_room()
        with self._rows.transaction("IMMEDIATE") as rows:
            version = self._rows.version(rows)
            if not version:
                self._rows.create(rows, gallery := secrets.token_bytes(8))
                Keys(self._key_file(gallery), Master.load(self._home, create=True)).new(TAGS)
            elif version == 1:
                migrate(self._rows, rows, self._folder, Master.load(self._home, create=True))
            elif version < SCHEMA:
                copy = keep_rows(self._rows.path, version)
                self._rows.extend(rows)
                log.warning("the gallery was brought up to date; a copy from before is %s, until the next forget", copy)
            yield rows

    def keys(self, rows: Connection) -> Keys:
        """See Database."""
        if self._keys is None:
            gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
            self._keys = Keys(self._key_file(gallery), Master.load(self._home))
        return self._keys

    def mark(self, rows: Connection, person: bytes, digest: bytes) -> None:
        """See Database."""
        rows.execute("INSERT OR IGNORE INTO forgotten SELECT ?, generation FROM gallery", (digest,))

    def marks(self, rows: Connection, since: int) -> set[bytes]:
        """See Database."""
        found = rows.execute("SELECT digest FROM forgotten WHERE generation > ?", (since,)).fetchall()
        return {digest for (digest,) in found}

    def scrub(self) -> list[str]:
        """See Database; deleted rows are zeros already, but for the log."""
        try:
            self._rows.truncate_log()
        except Failed as error:  # the rows are deleted, and that is to be told
            return [str(error)]
        return []

    def remove_copies(self, rows: Connection) -> list[Path]:
        """See Database."""
        gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
        return remove_copies(self._rows.path, self._key_file(gallery))

    def reader(self, who: str) -> Reader:
        """See Database."""
        return Reader(self._home, who)

    def wait_for(self, generation: int, seconds: float) -> list[str]:
        """See Database."""
        return wait_for(self._home, generation, seconds)

    def damaged(self, how: str) -> Failed:
        """See Database."""
        return self._rows.damaged(how)

    def _key_file(self, gallery: bytes) -> Path:
        return self._folder / f"gallery-{gallery.hex()}.keys"

    def _make_room(self) -> None:
        try:
            for folder in (self._home, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rows.path.touch(mode=0o600)
        except OSError as error:
            raise Failed(f"cannot write {error.filename}: {error.strerror}") from error
