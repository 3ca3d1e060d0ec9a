"""The event database: HOME/gate.sqlite, and who may open it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pipeline.errors import Failed
from pipeline.files import sync
from stages.gallery.rows import write_ahead

SCHEMA = 3
BUSY_S = 10.0  # how long to wait for another writer
TABLES = (
    "CREATE TABLE IF NOT EXISTS ledger(id BLOB NOT NULL, public_key BLOB NOT NULL) STRICT",
    "CREATE TABLE chain(seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, camera TEXT NOT NULL, kind TEXT NOT NULL,"
    " digest BLOB NOT NULL, hash BLOB NOT NULL, signature BLOB NOT NULL) STRICT",
    # owner: whose key opens it, a person's id or a passage's
    "CREATE TABLE sealed(seq INTEGER PRIMARY KEY, owner BLOB NOT NULL, body BLOB NOT NULL, snapshot BLOB) STRICT",
    "CREATE INDEX sealed_of_owner ON sealed(owner)",
    "CREATE TABLE notes(seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT",
    "CREATE TABLE passages(id BLOB PRIMARY KEY, camera TEXT NOT NULL, decided INTEGER NOT NULL,"
    " first_ns INTEGER NOT NULL, seen_ns INTEGER NOT NULL, at_ns INTEGER NOT NULL, boot TEXT NOT NULL,"
    " sealed BLOB NOT NULL) STRICT, WITHOUT ROWID",
    # badge: HMAC
    "CREATE TABLE claims(door TEXT PRIMARY KEY, badge TEXT NOT NULL, boot TEXT NOT NULL, expires_ns INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE presence(person BLOB PRIMARY KEY, inside INTEGER NOT NULL, at_ns INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE outbox(id INTEGER PRIMARY KEY AUTOINCREMENT, output TEXT NOT NULL, seq INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0, due_ns INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '') STRICT",
    "CREATE INDEX outbox_of_output ON outbox(output, id)",
    "CREATE TABLE commands(id TEXT PRIMARY KEY, door TEXT NOT NULL, seq INTEGER NOT NULL, boot TEXT NOT NULL,"
    " expires_ns INTEGER NOT NULL, seconds REAL NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '') STRICT",
    "CREATE INDEX commands_of_door ON commands(door, state)",
)
SINCE_2 = (
    # digest: SHA-256 of the file, which is named after it
    "CREATE TABLE clips(seq INTEGER PRIMARY KEY, owner BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    "CREATE INDEX clips_of_owner ON clips(owner)",
    # who is to be seen in whose clip
    "CREATE TABLE shown(person BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(person, seq)) STRICT, WITHOUT ROWID",
    # whether the other hosts were given it
    "ALTER TABLE presence ADD COLUMN given INTEGER NOT NULL DEFAULT 0",
    # the decision that says so, for a door that does not open; NULL where another host or a person says it
    "ALTER TABLE presence ADD COLUMN seq INTEGER",
    # what was known before that decision
    "ALTER TABLE presence ADD COLUMN was INTEGER NOT NULL DEFAULT 0",
    # who stands where in whose snapshot; person: empty in one row of each face, for who is recognized later
    "CREATE TABLE faces(seq INTEGER NOT NULL, track INTEGER NOT NULL, person BLOB NOT NULL, box BLOB NOT NULL,"
    " PRIMARY KEY(seq, track, person)) STRICT, WITHOUT ROWID",
    "CREATE INDEX faces_of_track ON faces(track)",
    "CREATE INDEX faces_of_person ON faces(person)",
    # by the gate's key; orders from before had none, and are over
    "DELETE FROM commands",
    "ALTER TABLE commands ADD COLUMN signature BLOB NOT NULL DEFAULT x''",
)
SINCE_3 = (
    # owners whose keys are to be destroyed, until they are
    "CREATE TABLE let_go(owner BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
    # when they came in or went out, as `Since`; empty where only `at_ns` tells. And what was known before that decision
    "ALTER TABLE presence ADD COLUMN since BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE presence ADD COLUMN was_since BLOB NOT NULL DEFAULT x''",
)
COLUMNS = "SELECT made.name, held.name FROM sqlite_schema AS made, pragma_table_info(made.name) AS held"

log = logging.getLogger(__name__)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, for one thread at a time; it stays open. Raises Failed."""
    with told(path):
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        rows = sqlite3.connect(path, BUSY_S, 0, None, check_same_thread=False)
        rows.text_factory = _text
        rows.execute("PRAGMA synchronous = FULL")  # a decision that was told is on the disk
        rows.execute("PRAGMA secure_delete = ON")
        if not path.stat().st_size:
            rows.execute("PRAGMA auto_vacuum = FULL")
        write_ahead(rows)
        version: int = rows.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise Failed(f"the events in {path} were written by a newer framewire: update this one")
        if version == SCHEMA and not _complete(rows):
            raise Failed(f"the events in {path} were written by a version in development: move the file away")
    return rows


def create(rows: sqlite3.Connection) -> None:
    """Make the tables of an empty database, or bring them up to date, within the caller's transaction."""
    version = rows.execute("PRAGMA user_version").fetchone()[0]
    for since, statements in enumerate((TABLES, SINCE_2, SINCE_3), 1):
        for statement in statements if version < since else ():
            rows.execute(statement)
    rows.execute(f"PRAGMA user_version = {SCHEMA}")


def begin(rows: sqlite3.Connection) -> None:
    """Give an empty database its id: whoever is killed after the key file was made finds that again by it."""
    rows.execute(TABLES[0])
    rows.execute("INSERT INTO ledger SELECT randomblob(8), x'' WHERE NOT EXISTS (SELECT 1 FROM ledger)")


def _complete(rows: sqlite3.Connection) -> bool:
    """Whether all tables and columns are there that `create` makes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        create(made)
        return set(made.execute(COLUMNS)) <= set(rows.execute(COLUMNS))


def copy(path: Path) -> None:
    """Keep a copy beside a database that is about to be brought up to date, named after its version.

    Nothing is erased in it, so whoever erases or cuts off calls `remove_copies`.
    """
    with told(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
        kept = path.with_name(f"{path.name}.v{source.execute('PRAGMA user_version').fetchone()[0]}")
        if kept.exists():
            return
        beside = kept.with_name(f"{kept.name}.part")
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600)
        with closing(sqlite3.connect(beside)) as target:
            source.backup(target)
        sync(beside)
        beside.replace(kept)


def remove_copies(path: Path, older_than_s: float) -> list[Path]:
    """Remove the copies that are so old, or from the future; which files."""
    removed = []
    with told(path):
        for kept in path.parent.glob(f"{path.name}.v*"):
            with suppress(FileNotFoundError):  # another process was faster
                if abs(time.time() - kept.stat().st_mtime) >= older_than_s:
                    kept.unlink()
                    removed.append(kept)
    for kept in removed:
        log.warning("%s is removed: a copy from before an update, in which nothing is erased", kept)
    return removed


def lock(home: Path) -> int:
    """A descriptor that keeps a second gate away from the data of this one. Raises Failed."""
    with told(home / "gate.lock"):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(home / "gate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise Failed(
            f"another gate runs on the data in {home}: stop it, or give this one a $FRAMEWIRE_HOME and a "
            "$FRAMEWIRE_KEYS of its own"
        ) from error
    return file


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the database or the disk refuses is a sentence for the user."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Failed(
            f"cannot use the events in {path} ({error}): see that there is room and that it can be written"
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # of a damaged name that sqlite3 cannot tell
        raise Failed(
            f"the events in {path} are damaged ({error}): move the file away, as evidence, and put back a copy"
        ) from error
    except OSError as error:
        raise Failed(
            f"cannot use the events in {path}: {error.strerror}; see that there is room and that it can be written"
        ) from error


def _text(raw: bytes) -> str:
    """Text that somebody has damaged is read, too, so that an audit can say where it is."""
    return raw.decode(errors="replace")
