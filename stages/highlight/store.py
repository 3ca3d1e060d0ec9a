"""What was measured in one video: HOME/highlights/SHA256.sqlite, named after the file's content.

A track holds what one stage measured, under a key that changes with its network and its settings: so nothing is
measured twice, and what another network measured is not taken for it. Each frame is a transaction: a process killed
at any moment goes on behind the last frame that is here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from stages.gallery.rows import write_ahead

SCHEMA = 1
KNOWN = "known:"  # and a person's id: a track of the frames in which they were recognized
BUSY_S = 30.0  # how long to wait for the other stages of this video
TABLES = (
    "CREATE TABLE IF NOT EXISTS track(id INTEGER PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL,"
    " whole INTEGER NOT NULL DEFAULT 0, UNIQUE(name, key)) STRICT",
    # a float32 array each
    "CREATE TABLE IF NOT EXISTS sample(track INTEGER NOT NULL REFERENCES track, seq INTEGER NOT NULL,"
    " pts_ns INTEGER NOT NULL, measured BLOB NOT NULL, PRIMARY KEY(track, seq)) STRICT, WITHOUT ROWID",
    # what was wrong with the video
    "CREATE TABLE IF NOT EXISTS note(sentence TEXT NOT NULL UNIQUE) STRICT",
    # what a stage needs of past frames to go on with the next
    "CREATE TABLE IF NOT EXISTS kept(track INTEGER NOT NULL REFERENCES track, seq INTEGER NOT NULL,"
    " pts_ns INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(track, seq)) STRICT",
)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What SQLite finds wrong with the file at `path` is a Failed."""
    try:
        yield
    except sqlite3.Error as error:
        raise Failed(f"the signals in {path} cannot be used ({error}): delete the file, and say this again") from error


class Store:
    """One video's file. Raises Failed where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.rows = sqlite3.connect(path, BUSY_S, isolation_level=None)
            self.rows.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is measured again
            self.rows.execute("PRAGMA secure_delete = ON")  # else a page that was split keeps rows that are deleted
            self.rows.execute("PRAGMA foreign_keys = ON")  # no row outlives its track, to be the next one's
            write_ahead(self.rows)
            with self.transaction():
                if self.rows.execute("PRAGMA user_version").fetchone()[0] > SCHEMA:
                    raise Failed(f"the signals in {path} were written by a newer framewire: update this one")
                for table in TABLES:
                    self.rows.execute(table)
                self.rows.execute(f"PRAGMA user_version = {SCHEMA}")
        except (OSError, sqlite3.Error) as error:
            raise Failed(f"cannot keep signals in {path} ({error}): delete the file, or set $FRAMEWIRE_HOME") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written in it, or nothing."""
        self.rows.execute("BEGIN IMMEDIATE")
        with self.rows:
            yield

    def track(self, name: str, key: str) -> Track:
        """The track of that name and key, made where there is none."""
        self.rows.execute("INSERT OR IGNORE INTO track(name, key) VALUES (?, ?)", (name, key))
        (number,) = self.rows.execute("SELECT id FROM track WHERE name = ? AND key = ?", (name, key)).fetchone()
        return Track(self, number)

    def known(self, key: str) -> list[str]:
        """The ids of the people who were recognized, by the tracks of that key."""
        found = self.rows.execute(
            "SELECT name FROM track WHERE key = ? AND name GLOB ? ORDER BY name", (key, f"{KNOWN}*")
        )
        return [name.removeprefix(KNOWN) for (name,) in found]

    def finish(self, tracks: Iterable[Track], notes: Iterable[str]) -> None:
        """These tracks reach to the end of the video: nothing more comes. `notes` say what was wrong with it.

        What was measured with other settings, by the same stages, is deleted, and what was noted before.
        """
        with self.transaction():
            for track in tracks:
                self.rows.execute("UPDATE track SET whole = 1 WHERE id = ?", (track.number,))
                self.rows.execute("DELETE FROM kept WHERE track = ?", (track.number,))
                self._replace(track)
            self.rows.execute("DELETE FROM note")
            self.rows.executemany("INSERT OR IGNORE INTO note VALUES (?)", [(note,) for note in notes])

    def _replace(self, track: Track) -> None:
        """Delete the tracks of this one's name and of another key."""
        others = "SELECT old.id FROM track AS new JOIN track AS old USING(name) WHERE new.id = ? AND new.key <> old.key"
        for (number,) in self.rows.execute(others, (track.number,)).fetchall():
            self._delete(number)

    def drop(self, tracks: Iterable[Track]) -> None:
        """Delete tracks and all that is in them."""
        with self.transaction():
            for track in tracks:
                self._delete(track.number)

    def _delete(self, number: int) -> None:
        """A track, and those of who was recognized by it."""
        its = (
            "SELECT one.id FROM track AS this JOIN track AS one USING (key)"
            f" WHERE this.id = ? AND (one.id = this.id OR one.name GLOB '{KNOWN}*')"
        )
        for one in self.rows.execute(its, (number,)).fetchall():
            for table in ("sample", "kept"):
                self.rows.execute(f"DELETE FROM {table} WHERE track = ?", one)
            self.rows.execute("DELETE FROM track WHERE id = ?", one)

    def notes(self) -> list[str]:
        """What was wrong with the video, a sentence each."""
        return [sentence for (sentence,) in self.rows.execute("SELECT sentence FROM note ORDER BY rowid")]

    def snapshot(self) -> bytes:
        """All of it, as a file for another machine."""
        with closing(sqlite3.connect(":memory:")) as copy:
            self.rows.backup(copy)
            return copy.serialize()

    def take_over(self, snapshot: bytes) -> None:
        """Hold what another machine's store held, in place of what is here."""
        with closing(sqlite3.connect(":memory:")) as copy:
            # The file's versions to write and to read: 2 means a write-ahead log, which there is none of in memory.
            copy.deserialize(snapshot[:18] + b"\1\1" + snapshot[20:])
            copy.backup(self.rows)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.rows.close()


class Track:
    """What one stage measured, row by row."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self.number = store, number

    @property
    def last(self) -> tuple[int, int] | None:
        """seq and pts_ns of the last row; None where there is none."""
        found: tuple[int, int] | None = self._store.rows.execute(
            "SELECT seq, pts_ns FROM sample WHERE track = ? ORDER BY seq DESC LIMIT 1", (self.number,)
        ).fetchone()
        return found

    def before(self, seq: int) -> int | None:
        """pts_ns of the last row before that frame; None where there is none."""
        found = self._store.rows.execute(
            "SELECT pts_ns FROM sample WHERE track = ? AND seq < ? ORDER BY seq DESC LIMIT 1", (self.number, seq)
        ).fetchone()
        return found[0] if found else None

    @property
    def whole(self) -> bool:
        """Whether it reaches to the end of the video."""
        return bool(self._store.rows.execute("SELECT whole FROM track WHERE id = ?", (self.number,)).fetchone()[0])

    def transaction(self) -> AbstractContextManager[None]:
        """As the store's."""
        return self._store.transaction()

    def add(self, seq: int, pts_ns: int, measured: Sequence[float] | NDArray[np.float32]) -> None:
        """Write a row; one that is there is replaced."""
        row = self.number, seq, pts_ns, np.asarray(measured, np.float32).tobytes()
        self._store.rows.execute("INSERT OR REPLACE INTO sample VALUES (?, ?, ?, ?)", row)

    def drop(self, seq: int) -> None:
        """Delete the rows from `seq` on."""
        self._store.rows.execute("DELETE FROM sample WHERE track = ? AND seq >= ?", (self.number, seq))

    def keep(self, seq: int, pts_ns: int, data: bytes) -> None:
        """Keep data for the frames to come; of a frame that is there it is replaced."""
        self._store.rows.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (self.number, seq, pts_ns, data))

    def kept(self) -> list[tuple[int, int, bytes]]:
        """seq, pts_ns and data of all that is kept, ascending."""
        return self._store.rows.execute(
            "SELECT seq, pts_ns, data FROM kept WHERE track = ? ORDER BY seq", (self.number,)
        ).fetchall()

    def discard(self, seq: int) -> None:
        """Keep nothing of the frames before `seq` any more."""
        self._store.rows.execute("DELETE FROM kept WHERE track = ? AND seq < ?", (self.number, seq))

    def read(self, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(N,) pts_ns and (N, columns) float32 of all rows, in the order of the frames."""
        found = self._store.rows.execute(
            "SELECT pts_ns, measured FROM sample WHERE track = ? ORDER BY seq", (self.number,)
        ).fetchall()
        times = np.array([pts_ns for pts_ns, _ in found], np.int64)
        measured = np.frombuffer(b"".join(blob for _, blob in found), np.float32).reshape(len(found), columns)
        return times, measured
