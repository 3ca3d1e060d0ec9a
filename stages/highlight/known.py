"""Who is to be seen in the videos: the tracks of known people, and how somebody is forgotten in all of them."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Failed
from stages.gallery.people import Person
from stages.gallery.rows import Rows
from stages.gallery.store import Store as Gallery
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


def here(folder: Path) -> Path:
    """Where this machine keeps what its Ray tasks are at: no other one may open it, as where the folder is shared."""
    return folder / f"ray-{socket.gethostname()}"


class Known:
    """The people of all videos, for who follows a gallery from which somebody may be forgotten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def owners(self) -> set[bytes]:
        """Ids. Raises Failed."""
        return {person for file in self._files() for person in _owners(file)}

    def erase(self, *owners: bytes) -> int:
        """Forget some of them; in how many videos each was, together. Raises Failed where a file is damaged.

        In the others they are forgotten then.
        """
        videos, damaged = 0, []
        for file in self._files():
            try:
                videos += _forget(file, owners)
            except Failed as error:
                damaged.append(str(error))
        if damaged:
            raise Failed("; ".join(damaged))
        return videos

    def _files(self) -> list[Path]:
        return sorted([*self._folder.glob("*.sqlite"), *here(self._folder).glob("*.sqlite")])


def forget_again(file: Path, gallery: Gallery) -> None:
    """Forget in a video's file who was forgotten while it was on another machine. Raises Failed."""
    if gone := gallery.forgotten(-1, _owners(file)):
        _forget(file, gone)


def _owners(file: Path) -> list[bytes]:
    with _opened(file) as store:
        found = store.rows.execute("SELECT DISTINCT name FROM track WHERE name GLOB ?", (f"{KNOWN}*",)).fetchall()
    return [bytes.fromhex(name.removeprefix(KNOWN)) for (name,) in found]


def _forget(file: Path, people: Iterable[bytes]) -> int:
    """Delete their tracks; how many of them were there.

    Nothing stays in the file's log either, also of what was deleted before: that may have been stopped half-way.
    """
    found = 0
    with _opened(file) as store:
        with store.transaction():
            for name in (KNOWN + person.hex() for person in people):
                theirs = "SELECT id FROM track WHERE name = ?"
                store.rows.execute(f"DELETE FROM sample WHERE track IN ({theirs})", (name,))
                found += store.rows.execute("DELETE FROM track WHERE name = ?", (name,)).rowcount > 0
        Rows(file).truncate_log()
    return found


@contextmanager
def _opened(file: Path) -> Iterator[Store]:
    try:
        with Store(file) as store:
            yield store
    except sqlite3.Error as error:
        raise Failed(
            f"cannot look for who is to be forgotten in {file} ({error}): delete the file, and say this again"
        ) from error
