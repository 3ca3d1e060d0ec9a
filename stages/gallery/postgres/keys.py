"""The key database of a gallery on PostgreSQL: id of the owner, wrapped key, which master wrapped it."""

from __future__ import annotations

from pipeline.errors import Failed
from stages.gallery.master import Master
from stages.gallery.people import TAGS
from stages.gallery.postgres.server import READ, WRITE, Server
from stages.gallery.postgres.session import Session
from stages.gallery.sealing import Unreadable, new_key

LOCKS = 0x6672616E  # the class of our advisory lock in a key database
TABLES = (
    # gallery: whose keys these are, as the name of a key file says
    "CREATE TABLE keys(gallery BYTEA NOT NULL, owner BYTEA NOT NULL, wrapped BYTEA NOT NULL, master BYTEA NOT NULL,"
    " PRIMARY KEY (gallery, owner))",
    # Statistics are copies of values: they would stay there after their rows.
    "ALTER TABLE keys ALTER gallery SET STATISTICS 0, ALTER owner SET STATISTICS 0, ALTER wrapped SET STATISTICS 0",
)


class PostgresKeys:
    """The `Keys` of one gallery. What goes wrong is raised as Failed."""

    def __init__(self, server: Server, gallery: bytes, master: Master) -> None:
        """`gallery` is its id."""
        self._server, self._gallery, self._master = server, gallery, master

    def read(self) -> dict[bytes, bytes]:
        """See Keys."""
        return {owner: self._key(owner, *slot) for owner, slot in self._slots().items()}

    def get(self, owner: bytes) -> bytes | None:
        """See Keys."""
        slot = self._slots(owner).get(owner)
        return self._key(owner, *slot) if slot else None

    def owners(self) -> set[bytes]:
        """See Keys."""
        return set(self._slots())

    def new(self, owner: bytes) -> bytes:
        """See Keys; it makes the table where there is none yet."""
        key = new_key()
        with self._server.transaction(WRITE) as rows:
            self._lock(rows)
            if not self._server.has(rows, "keys"):
                self._server.create(rows, TABLES)
            wrapped = self._master.wrap(key, *self._bound(owner))
            rows.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?)", (self._gallery, owner, wrapped, self._master.fingerprint)
            )
        return key

    def destroy(self, *owners: bytes) -> int:
        """See Keys; `Postgres.scrub` takes them from the disk."""
        with self._server.transaction(WRITE) as rows:
            self._lock(rows)
            query = "DELETE FROM keys WHERE gallery = ? AND owner = ANY(?)"
            return rows.execute(query, (self._gallery, list(owners))).rowcount

    def rewrap(self, new: Master) -> int:
        """See Keys. Raises Failed, too, where what the old master key opens has to stay on the disk for now."""
        count = 0
        with self._server.transaction(WRITE) as rows:
            self._lock(rows)
            for owner, (wrapped, master) in self._found(rows).items():
                if master != new.fingerprint:
                    again = new.wrap(self._key(owner, wrapped, master), *self._bound(owner))
                    query = "UPDATE keys SET wrapped = ?, master = ? WHERE gallery = ? AND owner = ?"
                    rows.execute(query, (again, new.fingerprint, self._gallery, owner))
                    count += 1
        for sentence in self._server.vacuum("keys"):
            raise Failed(sentence)
        return count

    def _slots(self, *owners: bytes) -> dict[bytes, tuple[bytes, bytes]]:
        """Owner -> wrapped key and fingerprint of its master; of all where no `owners` are asked for."""
        with self._server.transaction(READ) as rows:
            found = self._found(rows, *owners) if self._server.has(rows, "keys") else {}
        if TAGS not in found:  # every gallery has it: with the keys of another, all people would look forgotten
            raise Failed(
                f"the keys of this gallery are not in {self._server.where}: "
                "set $FRAMEWIRE_GALLERY_KEYS to the database that has them, or put back a copy"
            )
        return found

    def _found(self, rows: Session, *owners: bytes) -> dict[bytes, tuple[bytes, bytes]]:
        query, values = "SELECT owner, wrapped, master FROM keys WHERE gallery = ?", [self._gallery]
        if owners:
            found = rows.execute(f"{query} AND owner = ANY(?)", (*values, [*owners, TAGS])).fetchall()
        else:
            found = rows.execute(query, values).fetchall()
        return {owner: (wrapped, master) for owner, wrapped, master in found}

    def _key(self, owner: bytes, wrapped: bytes, master: bytes) -> bytes:
        where = self._server.where
        if master != self._master.fingerprint:
            raise Failed(
                f"the keys in {where} are wrapped by another master key: copy the one of the other doors here, "
                "or finish `gallery rotate`"
            )
        try:
            return self._master.unwrap(wrapped, *self._bound(owner))
        except Unreadable as error:
            raise Failed(f"the keys in {where} are damaged: put back a copy") from error

    def _bound(self, owner: bytes) -> tuple[bytes, ...]:
        return f"gallery-{self._gallery.hex()}.keys".encode(), owner

    def _lock(self, rows: Session) -> None:
        rows.execute("SELECT pg_advisory_xact_lock(?, 0)", (LOCKS,))
