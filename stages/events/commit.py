"""One transaction of the ledger: what is decided, and what follows from it, becomes true together."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stages.events.chain import Row, link
from stages.events.records import Command, Decision, Housekeeping, Kept, Order
from stages.gallery.keyfile import Keys
from stages.gallery.sealing import seal


class Commit:
    """What may be written. A key that is new is on the disk before the row that it seals."""

    def __init__(self, rows: sqlite3.Connection, keys: Keys, signer: Ed25519PrivateKey, boot: str) -> None:
        self._rows, self._keys, self._signer, self._boot = rows, keys, signer, boot
        self.let_go: list[bytes] = []  # owners whose keys seal nothing any more once this is committed

    def decide(self, decision: Decision, snapshot: bytes, outputs: Sequence[str], orders: Sequence[Order] = ()) -> int:
        """Write a decision, what each of `outputs` is to be told, and the doors' orders; the row's number.

        It is sealed under the key of the person that it is about; a stranger's under the passage's own.
        """
        owner = bytes.fromhex(decision.person or decision.passage)
        key = self._keys.get(owner) or self._keys.new(owner)
        row = self._last()
        number = (row.seq if row else 0) + 1
        at = number.to_bytes(8, "big")
        body = seal(key, msgspec.json.encode(decision), b"event", at)
        seq = self._append(row, decision.at_ns, decision.camera, decision.outcome, body)
        picture = seal(key, snapshot, b"snapshot", at) if snapshot else None
        self._rows.execute("INSERT INTO sealed VALUES (?, ?, ?, ?)", (seq, owner, body, picture))
        for output in outputs:
            self._rows.execute("INSERT INTO outbox(output, seq) VALUES (?, ?)", (output, seq))
        for order in orders:
            expires_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + order.within_ns
            values = (secrets.token_hex(16), order.door, seq, self._boot, expires_ns, order.seconds, "given")
            self._rows.execute(
                "INSERT INTO commands(id, door, seq, boot, expires_ns, seconds, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        return seq

    def note(self, kind: Housekeeping, camera: str = "", **said: object) -> int:
        """Write a row about the gate itself; what is `said` is public, and names nobody."""
        text = msgspec.json.encode(said)
        seq = self._append(self._last(), time.time_ns(), camera, kind, text)
        self._rows.execute("INSERT INTO notes VALUES (?, ?)", (seq, text.decode()))
        return seq

    def keep(self, passage: Kept) -> None:
        """Write or replace an open passage; its evidence is sealed under a key of its own."""
        id_ = bytes.fromhex(passage.id)
        key = self._keys.get(id_) or self._keys.new(id_)
        sealed = seal(key, msgspec.msgpack.encode((passage.person, passage.evidence)), b"passage", id_)
        p = passage
        self._rows.execute(
            "INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (id_, p.camera, p.decided, p.first_ns, p.seen_ns, p.at_ns, self._boot, sealed),
        )

    def drop(self, passage: str) -> None:
        """Forget a passage; its key, too, unless a stranger's decision is sealed under it."""
        id_ = bytes.fromhex(passage)
        self._rows.execute("DELETE FROM passages WHERE id = ?", (id_,))
        if not self._rows.execute("SELECT 1 FROM sealed WHERE owner = ?", (id_,)).fetchone():
            self.let_go.append(id_)

    def finish(self, command: Command, state: Literal["done", "failed", "unknown"], detail: str) -> None:
        """What came of a door command; into the chain, too, where it is not what the decision said."""
        self._rows.execute("UPDATE commands SET state = ?, detail = ? WHERE id = ?", (state, detail, command.id))
        if state != "done":
            self.note("command", door=command.door, decision=command.seq, state=state, detail=detail)

    def claim(self, door: str, badge: str, expires_ns: int) -> None:
        """Keep that a badge (its HMAC) was shown at a door, in place of the one before."""
        self._rows.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (door, badge, self._boot, expires_ns))

    def spend(self, door: str) -> None:
        """The badge that was shown at a door has had its decision."""
        self._rows.execute("DELETE FROM claims WHERE door = ?", (door,))

    def move(self, person: str, inside: bool, at_ns: int) -> None:
        """Somebody (by id) was let in, or out, at wall time `at_ns`."""
        values = (bytes.fromhex(person), inside, at_ns)
        self._rows.execute("INSERT OR REPLACE INTO presence VALUES (?, ?, ?)", values)

    def erase(self, owners: Sequence[bytes], passages: Sequence[bytes], people: Sequence[bytes]) -> list[int]:
        """Delete what is sealed under keys that are destroyed, and say in the chain which rows; these."""
        seqs: list[int] = []
        for owner in owners:
            seqs += [seq for (seq,) in self._rows.execute("SELECT seq FROM sealed WHERE owner = ?", (owner,))]
            self._rows.execute("DELETE FROM sealed WHERE owner = ?", (owner,))
        for id_ in passages:
            self._rows.execute("DELETE FROM passages WHERE id = ?", (id_,))
        for person in people:
            self._rows.execute("DELETE FROM presence WHERE person = ?", (person,))
        if seqs:
            self.note("tombstone", erased=sorted(seqs))
        return sorted(seqs)

    def cut(self, seq: int) -> int:
        """Remove the rows up to `seq` and say so in a checkpoint, which names the hash that the rest follows."""
        row = self._rows.execute("SELECT hash FROM chain WHERE seq = ?", (seq,)).fetchone()
        owners = [owner for (owner,) in self._rows.execute("SELECT DISTINCT owner FROM sealed WHERE seq <= ?", (seq,))]
        for table in ("sealed", "notes", "chain"):
            self._rows.execute(f"DELETE FROM {table} WHERE seq <= ?", (seq,))
        self._rows.execute("DELETE FROM outbox WHERE seq <= ?", (seq,))
        self._rows.execute("DELETE FROM commands WHERE seq <= ?", (seq,))
        query = "SELECT (SELECT 1 FROM sealed WHERE owner = ?1) OR (SELECT 1 FROM passages WHERE id = ?1)"
        query += " OR (SELECT 1 FROM presence WHERE person = ?1)"
        self.let_go += [owner for owner in owners if not self._rows.execute(query, (owner,)).fetchone()[0]]
        return self.note("checkpoint", cut=seq, hash=row[0].hex())

    def forget_snapshots(self, before_ns: int) -> int:
        """Remove the snapshots of decisions before wall time `before_ns`; how many."""
        query = (
            "UPDATE sealed SET snapshot = NULL WHERE snapshot IS NOT NULL"
            " AND seq IN (SELECT seq FROM chain WHERE at_ns < ?)"
        )
        return self._rows.execute(query, (before_ns,)).rowcount

    def _last(self) -> Row | None:
        row = self._rows.execute("SELECT * FROM chain ORDER BY seq DESC LIMIT 1").fetchone()
        return Row(*row) if row else None

    def _append(self, last: Row | None, at_ns: int, camera: str, kind: str, content: bytes) -> int:
        row = link(self._signer, last, at_ns, camera, kind, hashlib.sha256(content).digest())
        self._rows.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return row.seq
