"""The one place where decisions are written: a decision, its row of the chain and all that follows from it at once.

Everything about a decision but time, camera and outcome is sealed: under the key of the person that it is about, or,
for a stranger, under that of the passage. So erasing a person leaves the chain whole.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.errors import Failed, Usage
from stages.events import schema
from stages.events.chain import Row
from stages.events.commit import Commit
from stages.events.records import Decision, Event, Head, Kept
from stages.gallery.keyfile import Keys
from stages.gallery.master import Master
from stages.gallery.sealing import Unreadable, unseal

SIGNER = b"signs the chain."  # the owner whose key is the Ed25519 seed; 16 bytes, as all owners


class Ledger:
    """The event database and its keys, for one thread. Any number may be open; they take turns to write."""

    def __init__(self, home: Path, folder: Path, *, create: bool = False) -> None:
        """`folder` has the key database. With `create` an empty ledger is made where there is none; else Failed."""
        if folder.resolve().is_relative_to(home.resolve()):
            raise Usage(
                f"the keys ({folder}) may not lie inside of the data they protect ({home}): set $FRAMEWIRE_KEYS"
            )
        self.path = home / "gate.sqlite"
        if not create and not self.path.exists():
            raise Failed(f"there are no events in {home}: run the gate first, or set $FRAMEWIRE_HOME")
        self._rows = schema.connect(self.path)
        self._folder, self._home = folder, home
        with schema.told(self.path):
            if self._rows.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._create()
            (id_,) = self._rows.execute("SELECT id FROM ledger").fetchone()
        self.keys = Keys(folder / f"events-{id_.hex()}.keys", Master.load(home))
        seed = self.keys.get(SIGNER)
        if seed is None:
            raise Failed("the key that signs the events is missing: put back a copy of the key database")
        self._signer = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._signer.public_key().public_bytes_raw()
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()

    @contextmanager
    def commit(self) -> Iterator[Commit]:
        """A transaction: all of it is on the disk when the block ends, or nothing of it. Raises Failed."""
        with self.transaction() as rows:
            commit = Commit(rows, self.keys, self._signer, self.boot)
            yield commit
        self.keys.destroy(*commit.let_go)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The rows themselves, for what is in this package. Raises Failed."""
        with schema.told(self.path):
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")

    def head(self) -> Head | None:
        """The newest row's."""
        row = self.one("SELECT seq, hash, signature FROM chain ORDER BY seq DESC LIMIT 1")
        return Head(row[0], row[1].hex(), row[2].hex()) if row else None

    def newest_ns(self) -> int:
        """The wall time of the newest row; 0 where there is none."""
        row = self.one("SELECT at_ns FROM chain ORDER BY seq DESC LIMIT 1")
        return int(row[0]) if row else 0

    def events(self, before: int | None = None, limit: int = 50, after: int = 0) -> list[Event]:
        """Rows older than `before` and newer than `after`, the newest first."""
        rows = self.all(
            "SELECT * FROM chain WHERE seq < ? AND seq > ? ORDER BY seq DESC LIMIT ?",
            (before if before is not None else 1 << 62, after, limit),
        )
        return [self.event(Row(*row)) for row in rows]

    def event(self, row: Row) -> Event:
        """A row with what can be read of it."""
        found = self.one("SELECT owner, body, snapshot IS NOT NULL FROM sealed WHERE seq = ?", (row.seq,))
        note = self.one("SELECT body FROM notes WHERE seq = ?", (row.seq,))
        decision = self._opened(row.seq, found[0], found[1]) if found else None
        erased = decision is None and note is None
        has_snapshot = bool(found and found[2]) and not erased
        return Event(row.seq, row.at_ns, row.camera, row.kind, decision, note[0] if note else "", erased, has_snapshot)

    def snapshot(self, seq: int) -> bytes | None:
        """The JPEG of a decision; None where there is none, or none any more. Raises Failed for a damaged one."""
        found = self.one("SELECT owner, snapshot FROM sealed WHERE seq = ?", (seq,))
        key = self.keys.get(found[0]) if found and found[1] else None
        if found is None or key is None:
            return None
        try:
            return unseal(key, found[1], b"snapshot", seq.to_bytes(8, "big"))
        except Unreadable as error:
            raise Failed(f"the snapshot of event {seq} is damaged: run `gate audit`") from error

    def passages(self) -> list[Kept]:
        """The open passages; those whose key is gone are left out."""
        found = []
        query = "SELECT id, camera, decided, first_ns, seen_ns, at_ns, boot, sealed FROM passages ORDER BY first_ns"
        for id_, camera, decided, first_ns, seen_ns, at_ns, boot, sealed in self.all(query):
            key = self.keys.get(id_)
            try:
                evidence = unseal(key, sealed, b"passage", id_) if key else None
            except Unreadable:
                evidence = None
            if evidence is not None:
                kept = msgspec.msgpack.decode(evidence, type=tuple[str, bytes])
                found.append(Kept(id_.hex(), camera, kept[0], bool(decided), first_ns, seen_ns, at_ns, boot, kept[1]))
        return found

    def claim(self, door: str, badge: str, expires_ns: int) -> None:
        """Keep that a badge (its HMAC) was shown at a door, in place of the one before; by the boot clock."""
        with self.commit() as commit:
            commit.claim(door, badge, expires_ns)

    def claimed(self, door: str, now_ns: int) -> str | None:
        """The badge (its HMAC) that counts at a door at boot time `now_ns`."""
        row = self.one("SELECT badge, boot, expires_ns FROM claims WHERE door = ?", (door,))
        return row[0] if row and row[1] == self.boot and now_ns < row[2] else None

    def presence(self, person: str) -> tuple[bool, int] | None:
        """Whether somebody (by id) came in last, and when by the wall clock; None where they have done neither."""
        row = self.one("SELECT inside, at_ns FROM presence WHERE person = ?", (bytes.fromhex(person),))
        return (bool(row[0]), row[1]) if row else None

    def erase(self, *owners: bytes) -> list[int]:
        """Destroy what is known of some owners (people's ids, or passages'), and say so in the chain; which rows.

        The keys are destroyed first: what a crash leaves behind nobody can read, and `sweep` clears it away.
        """
        self.keys.destroy(*owners)
        return self.sweep()

    def sweep(self) -> list[int]:
        """Clear away what has lost its key; which rows."""
        kept = self.keys.owners()
        gone = [owner for (owner,) in self.all("SELECT DISTINCT owner FROM sealed") if owner not in kept]
        rest = [id_ for (id_,) in self.all("SELECT id FROM passages") if id_ not in kept]
        absent = [person for (person,) in self.all("SELECT person FROM presence") if person not in kept]
        if not (gone or rest or absent):
            return []
        with self.commit() as commit:
            seqs = commit.erase(gone, rest, absent)
        with schema.told(self.path):
            self._rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return seqs

    def tidy(self) -> None:
        """Destroy keys that seal nothing: a crash came before the rows. For the gate alone, which makes such keys."""
        queries = ("SELECT owner FROM sealed", "SELECT id FROM passages", "SELECT person FROM presence")
        needed = {owner for query in queries for (owner,) in self.all(query)}
        self.keys.destroy(*(self.keys.owners() - needed - {SIGNER}))

    def _create(self) -> None:
        id_, seed = secrets.token_bytes(8), secrets.token_bytes(32)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        Keys(self._folder / f"events-{id_.hex()}.keys", Master.load(self._home, create=True)).add(SIGNER, seed)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._rows.execute("BEGIN IMMEDIATE")
        if self._rows.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was faster
            for table in schema.TABLES:
                self._rows.execute(table)
            self._rows.execute("INSERT INTO ledger VALUES (?, ?)", (id_, public))
            self._rows.execute(f"PRAGMA user_version = {schema.SCHEMA}")
        self._rows.execute("COMMIT")

    def _opened(self, seq: int, owner: bytes, body: bytes) -> Decision | None:
        key = self.keys.get(owner)
        try:
            text = unseal(key, body, b"event", seq.to_bytes(8, "big")) if key else None
        except Unreadable as error:
            raise Failed(f"event {seq} is damaged: run `gate audit`") from error
        return msgspec.json.decode(text, type=Decision) if text is not None else None

    def one(self, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row that a query finds. Raises Failed."""
        with schema.told(self.path):
            found: tuple[Any, ...] | None = self._rows.execute(query, values).fetchone()
            return found

    def all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows that a query finds. Raises Failed."""
        with schema.told(self.path):
            return self._rows.execute(query, values).fetchall()
