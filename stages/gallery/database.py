"""Where a gallery lies: files of this machine, or two databases of PostgreSQL that several doors share.

`Store` knows what is kept and how it is sealed; a `Database` keeps rows and wrapped keys, and who has read them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import home as places
from pipeline.errors import Failed, Usage
from stages.gallery.master import Master

if TYPE_CHECKING:
    from stages.gallery.postgres.presence import Presence

ROWS, KEYS = "FRAMEWIRE_GALLERY", "FRAMEWIRE_GALLERY_KEYS"  # not options: an address may hold a password


class Cursor(Protocol):
    """What a statement has found, or changed."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next row, a tuple; None where there is none."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """A transaction's: SQL that both databases understand, with a `?` for each value."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""


class Keys(Protocol):
    """Data keys (32 bytes) by owner (16 bytes), wrapped by the master key. Everything raises Failed."""

    def read(self) -> dict[bytes, bytes]:
        """Owner -> key."""

    def get(self, owner: bytes) -> bytes | None:
        """The key of one owner; None where it has none, or none any more."""

    def owners(self) -> set[bytes]:
        """All who have a key."""

    def new(self, owner: bytes) -> bytes:
        """Make a random key for `owner` and keep it; it is on disk when this returns."""

    def destroy(self, *owners: bytes) -> int:
        """Destroy the keys of `owners`; how many there were."""

    def rewrap(self, new: Master) -> int:
        """Wrap by `new` all keys that are not yet; how many. After a crash, run it again."""


class Reader(Protocol):
    """This process, as one that holds the gallery in memory."""

    def hold(self, generation: int) -> None:
        """Say that it now holds the gallery of that generation."""

    def close(self) -> None:
        """Hold nothing any more."""


class Database(Protocol):
    """One gallery, for one thread. Everything raises Failed."""

    @property
    def beyond(self) -> Sequence[str]:
        """What of a forgotten person cannot be reached from here."""

    @property
    def presence(self) -> Presence | None:
        """Who is inside by what all hosts saw; None where there is one host, whose log knows."""

    def reading(self) -> AbstractContextManager[Connection | None]:
        """A view of the rows that does not change; None where there is no gallery yet. It writes nothing."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction, one at a time, all of it or nothing; it makes the gallery where there is none yet."""

    def keys(self, rows: Connection) -> Keys:
        """The keys of the gallery."""

    def mark(self, rows: Connection, person: bytes, digest: bytes) -> None:
        """Keep for all who follow that `person`, by `digest`, is forgotten as of the rows' generation."""

    def marks(self, rows: Connection, since: int) -> set[bytes]:
        """Who, by digest, was forgotten after generation `since`."""

    def scrub(self) -> list[str]:
        """Leave nothing on the disk of rows and keys that were deleted; sentences on what stays for now."""

    def remove_copies(self, rows: Connection) -> list[Path]:
        """Remove what an update has left of what was there before, for it holds everybody; which files."""

    def reader(self, who: str) -> Reader:
        """Register this process; `who` is what `forget` calls it where it does not follow."""

    def wait_for(self, generation: int, seconds: float) -> list[str]:
        """Wait until all running processes hold `generation` or a newer one; who does not in time."""

    def damaged(self, how: str) -> Failed:
        """What to say of rows that are not as they were left."""


def database(home: Path, keys: Path) -> Database:
    """The gallery of `home`: what $FRAMEWIRE_GALLERY names, or else its files. Raises Usage and Failed."""
    rows, wrapped = os.environ.get(ROWS), os.environ.get(KEYS)
    if not rows and not wrapped:
        from stages.gallery.files import Files

        return Files(home, keys)
    if not rows or not wrapped:
        raise Usage(f"${ROWS} and ${KEYS} go together: set both, to two databases")
    if home.resolve() != places.home().resolve():
        raise Usage(f"match.gallery names a folder and ${ROWS} a server: leave one of them out")
    try:
        from stages.gallery.postgres.database import Postgres
    except ImportError as error:
        raise Failed("PostgreSQL needs psycopg: pip install framewire[postgres]") from error
    return Postgres(home, rows, wrapped)
