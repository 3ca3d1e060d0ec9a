"""Who is to be seen in the videos: the tracks of known people, and how somebody is forgotten in all of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Failed
from stages.gallery.people import Person
from stages.gallery.rows import Rows
from stages.highlight.store import KNOWN, Store

FOLDER = "highlights"  # in the data directory


def enrolled(people: Iterable[Person]) -> str:
    """Hex digits that change with who is enrolled and with their faces: what was known before has to be looked at anew.

    From them nobody can be told.
    """
    faces = (
        person.id + b"".join(face.embedding.tobytes() for face in (*person.templates, *person.negatives))
        for person in people
    )
    return hashlib.sha256(b"".join(sorted(faces))).hexdigest()


def forget_person(folder: Path, person: str) -> int:
    """Delete somebody's tracks, by id in hex, in the files of all videos; in how many they were. Raises Failed.

    Nothing stays in the files' logs either, also of what was deleted before: that may have been stopped half-way.
    """
    videos = 0
    for file in _files(folder):
        with _opened(file) as store, store.transaction():
            theirs = "SELECT id FROM track WHERE name = ?"
            store.rows.execute(f"DELETE FROM sample WHERE track IN ({theirs})", (KNOWN + person,))
            deleted = store.rows.execute("DELETE FROM track WHERE name = ?", (KNOWN + person,)).rowcount
        Rows(file).truncate_log()
        videos += deleted > 0
    return videos


class Known:
    """The people of all videos, for who follows a gallery from which somebody may be forgotten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def owners(self) -> set[bytes]:
        """Ids. Raises Failed."""
        names: set[str] = set()
        for file in _files(self._folder):
            with _opened(file) as store:
                found = store.rows.execute("SELECT name FROM track WHERE name GLOB ?", (f"{KNOWN}*",))
                names.update(name for (name,) in found)
        return {bytes.fromhex(name.removeprefix(KNOWN)) for name in names}

    def erase(self, *owners: bytes) -> int:
        """Forget some of them; in how many videos each was, together. Raises Failed."""
        return sum(forget_person(self._folder, person.hex()) for person in owners)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sqlite"))


@contextmanager
def _opened(file: Path) -> Iterator[Store]:
    try:
        with Store(file) as store:
            yield store
    except sqlite3.Error as error:
        raise Failed(
            f"cannot look for who is to be forgotten in {file} ({error}): delete the file, and say this again"
        ) from error
