"""The one place where decisions are written: a decision, its row of the chain and all that follows from it at once.

Everything about a decision but time, camera and outcome is sealed: under the key of the person that it is about, or,
for a stranger, under that of the passage. So erasing a person leaves the chain whole.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.errors import Failed
from pipeline.files import shred
from stages.events import schema
from stages.events.chain import Row
from stages.events.commit import Commit
from stages.events.records import Decision, Event, Head, Kept, Since
from stages.gallery.keyfile import Keys, check_apart
from stages.gallery.master import Master
from stages.gallery.rows import Rows
from stages.gallery.sealing import Unreadable, unseal

SIGNER = b"signs the chain."  # the owner whose key is the Ed25519 seed; 16 bytes, as all owners
SEALS = (
    "SELECT EXISTS (SELECT 1 FROM sealed WHERE owner = ?1) OR EXISTS (SELECT 1 FROM passages WHERE id = ?1)"
    " OR EXISTS (SELECT 1 FROM presence WHERE person = ?1)"
)
NAMED = (  # outside of what keys seal; whoever is not recognized yet is x''
    "SELECT person FROM presence UNION SELECT person FROM shown UNION SELECT person FROM faces WHERE person != x''"
)
TAKEN = (
    "INSERT INTO presence(person, inside, at_ns, given) VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE"
    " SET inside = excluded.inside, at_ns = excluded.at_ns, since = x'', seq = NULL"
    " WHERE given AND (inside, at_ns) != (excluded.inside, excluded.at_ns)"
)


class Ledger:
    """The event database and its keys, for one thread at a time. Any number may be open; they take turns to write."""

    def __init__(self, home: Path, folder: Path, *, create: bool = False) -> None:
        """`folder` has the key database. With `create` an empty ledger is made where there is none; else Failed."""
        check_apart(folder, home)
        self.path, self.clips = home / "gate.sqlite", home / "clips"
        if not create and not self.path.exists():
            raise Failed(f"there are no events in {home}: run the gate first, or set $FRAMEWIRE_HOME")
        self._rows = schema.connect(self.path)
        self._folder, self._home = folder, home
        if self._version() < schema.SCHEMA:
            self._create()
        ids = self.all("SELECT id FROM ledger")
        if len(ids) != 1:
            raise Failed(f"the events in {self.path} are damaged: move the file away, as evidence, and put back a copy")
        self._id = ids[0][0].hex()
        self.keys = Keys(folder / _key_file(self._id), Master.load(home))
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
        """A transaction: all of it is on the disk when the block ends, or nothing of it. Raises Failed.

        Keys that seal nothing afterwards are destroyed then; what a crash leaves of them `tidy` destroys.
        """
        begun_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        with self.transaction() as rows:
            commit = Commit(rows, self.keys, self._signer, self.boot, begun_ns)
            yield commit
            rows.executemany("INSERT OR IGNORE INTO let_go VALUES (?)", [(owner,) for owner in commit.let_go])
        if commit.let_go:
            self.tidy()
        with schema.told(self.clips):
            for name in commit.gone:
                shred(self.clips / name)

    @contextmanager
    def transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """The rows themselves, for what is in this package; DEFERRED to read them as of one moment. Raises Failed."""
        with schema.told(self.path):
            self._rows.execute(f"BEGIN {kind}")
            try:
                yield self._rows
                self._rows.execute("COMMIT")
            finally:
                if self._rows.in_transaction:  # SQLite itself has rolled back where the disk was full
                    self._rows.execute("ROLLBACK")

    def head(self) -> Head | None:
        """The newest row's."""
        row = self.one("SELECT seq, hash, signature FROM chain ORDER BY seq DESC LIMIT 1")
        return Head(row[0], row[1].hex(), row[2].hex()) if row else None

    def clock_ns(self) -> tuple[int, int]:
        """The latest wall time of any row since the clock jumped, and that of the row that says so; 0 for none.

        The latest, not that of the newest row: a start with a clock that is behind writes rows, too.
        """
        seq, jumped_ns = self.one("SELECT seq, at_ns FROM chain WHERE kind = 'clock' ORDER BY seq DESC LIMIT 1") or (
            0,
            0,
        )
        ((latest_ns,),) = self.all("SELECT ifnull(max(at_ns), 0) FROM chain WHERE seq >= ?", (seq,))
        return latest_ns, jumped_ns

    def events(self, before: int | None = None, limit: int = 50, after: int = 0) -> list[Event]:
        """Rows older than `before` and newer than `after`, the newest first."""
        rows = self.all(
            "SELECT * FROM chain WHERE seq < ? AND seq > ? ORDER BY seq DESC LIMIT ?",
            (before if before is not None else 1 << 62, after, limit),
        )
        return [self.event(Row(*row)) for row in rows]

    def follow(self, after: int, limit: int = 50) -> list[Event]:
        """The rows that come next after number `after`, the oldest first: who goes on from the last misses none."""
        rows = self.all("SELECT * FROM chain WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [self.event(Row(*row)) for row in rows]

    def event(self, row: Row) -> Event:
        """A row with what can be read of it."""
        found = self.one("SELECT owner, body, snapshot IS NOT NULL FROM sealed WHERE seq = ?", (row.seq,))
        note = self.one("SELECT body FROM notes WHERE seq = ?", (row.seq,))
        clip = self.one("SELECT 1 FROM clips WHERE seq = ?", (row.seq,))
        decision = self._opened(row.seq, found[0], found[1]) if found else None
        return Event(
            *(row.seq, row.at_ns, row.camera, row.kind),
            decision=decision,
            note=note[0] if note else "",
            erased=found is None and note is None,
            has_snapshot=bool(found and decision and found[2]),
            has_clip=bool(decision and clip),
            damaged=found is not None and decision is None,
        )

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

    def stayed_ns(self, person: str) -> int | None:
        """How long ago somebody (by id) came in or went out, ns; None where they have done neither.

        By the clock of this boot, if it was in it and seen here: the one on the wall may have been set meanwhile.
        """
        row = self.one("SELECT at_ns, since FROM presence WHERE person = ?", (bytes.fromhex(person),))
        if row is None:
            return None
        since = msgspec.msgpack.decode(row[1], type=Since) if row[1] else Since(row[0], "", 0)
        if since.boot == self.boot:
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - since.boot_ns
        return time.time_ns() - since.at_ns

    def own_moves(self) -> list[tuple[bytes, bool, int]]:
        """Who was let in or out here (id, in, wall time in ns) of what the other hosts were not given yet."""
        query = "SELECT person, inside, at_ns FROM presence WHERE NOT given"
        return [(person, bool(inside), at_ns) for person, inside, at_ns in self.all(query)]

    def follow_moves(self, given: Sequence[tuple[bytes, bool, int]], taken: Sequence[tuple[bytes, bool, int]]) -> None:
        """Keep that `given` were given, and in place of what was known what all hosts together know.

        What has been seen here meanwhile is newer than both, and stays.
        """
        with self.transaction() as rows:
            rows.executemany("UPDATE presence SET given = 1 WHERE (person, inside, at_ns) = (?, ?, ?)", given)
            rows.executemany(TAKEN, taken)

    def owners(self) -> set[bytes]:
        """The ids of all people and passages that something is kept of."""
        return (self.keys.owners() - {SIGNER}) | {person for (person,) in self.all(NAMED)}

    def erase(self, *owners: bytes) -> list[int]:
        """Delete what is known of some owners (people's ids), and say so in the chain; which rows.

        The tombstone and the deletion are one transaction; the keys are destroyed next, so that a key that was lost
        otherwise never looks like an erasure. Open passages that are nobody's yet go, too, as they may be theirs,
        and so do badges that were shown.
        """
        seqs: list[int] = []
        while True:
            with self.commit() as commit:
                seqs += commit.erase(owners)
                for passage in self.passages():
                    if not passage.person or bytes.fromhex(passage.person) in owners:
                        commit.drop(passage.id)
                commit.spend_all()
            if not self.keys.owners() & set(owners):  # else somebody decided about them meanwhile
                break
        self.scrub()
        return seqs

    def scrub(self) -> None:
        """Leave nothing in the log of SQLite of what was deleted, which is zeros in the file itself."""
        with schema.told(self.path):
            Rows(self.path).truncate_log()

    def other_key_files(self) -> list[str]:
        """The names of key files of other ledgers, beside this one's."""
        own, found = _key_file(self._id), self._folder.glob(_key_file("*"))
        return sorted(path.name for path in found if path.name != own)

    def remove_copies(self, older_than_s: float = 0.0) -> list[Path]:
        """Remove what an update has left of what was there before, as nothing is erased in it; which files."""
        return schema.remove_copies(self.path, older_than_s)

    def sweep(self) -> None:
        """Delete open passages that cannot be read any more."""
        with self.commit() as commit:
            readable = {passage.id for passage in self.passages()}
            for (id_,) in self.all("SELECT id FROM passages"):
                if id_.hex() not in readable:
                    commit.drop(id_.hex())

    def tidy(self) -> None:
        """Destroy the keys that were let go of and seal nothing; those, too, between which and the rows a crash came.

        No others: what is not in this log may be in a newer one, in whose place an older copy was put.
        Nobody else makes or needs a key meanwhile: that takes a transaction.
        """
        with self.transaction() as rows:
            owners = [owner for (owner,) in rows.execute("SELECT owner FROM let_go")]
            if owners:
                self.keys.destroy(*(owner for owner in owners if not rows.execute(SEALS, (owner,)).fetchone()[0]))
                rows.execute("DELETE FROM let_go")

    def _version(self) -> int:
        return int(self.all("PRAGMA user_version")[0][0])

    def _create(self) -> None:
        """Make the tables, and the key that signs; of an older framewire's database, keep a copy beside."""
        master = Master.load(self._home, create=True)
        if self._version():
            schema.copy(self.path)
        with self.transaction() as rows:
            schema.begin(rows)
        with self.transaction() as rows:
            if self._version():  # an older one, or another process was faster
                schema.create(rows)
                return
            ((id_,),) = rows.execute("SELECT id FROM ledger")
            path = self._folder / _key_file(id_.hex())
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            keys = Keys(path, master)
            seed = (keys.get(SIGNER) if path.exists() else None) or keys.new(SIGNER)
            public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            schema.create(rows)
            rows.execute("UPDATE ledger SET public_key = ?", (public,))

    def _opened(self, seq: int, owner: bytes, body: bytes) -> Decision | None:
        """The decision of a row; None where it has lost its key, or is damaged."""
        key = self.keys.get(owner)
        try:
            text = unseal(key, body, b"event", seq.to_bytes(8, "big")) if key else None
            return None if text is None else msgspec.json.decode(text, type=Decision)
        except (Unreadable, msgspec.DecodeError):
            return None

    def one(self, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row that a query finds. Raises Failed."""
        with schema.told(self.path):
            found: tuple[Any, ...] | None = self._rows.execute(query, values).fetchone()
            return found

    def all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows that a query finds. Raises Failed."""
        with schema.told(self.path):
            return self._rows.execute(query, values).fetchall()


def _key_file(ledger: str) -> str:
    return f"events-{ledger}.keys"
