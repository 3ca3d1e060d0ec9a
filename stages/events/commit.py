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

from stages.events.boxes import open_box, sealed_box
from stages.events.chain import Row, link, order_bytes, signed
from stages.events.records import Command, Decision, Face, Housekeeping, Kept, Order, Since
from stages.gallery.keyfile import Keys
from stages.gallery.sealing import Unreadable, seal

GIVEN = (
    "SELECT id, commands.seq, seconds, boot, expires_ns, commands.signature, hash FROM commands"
    " LEFT JOIN chain ON chain.seq = commands.seq AND kind = 'opened'"
    " WHERE door = ? AND state = 'given' ORDER BY commands.seq"
)

MOVE = (
    "INSERT INTO presence(person, inside, at_ns, seq, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " was = inside, was_since = since, inside = excluded.inside, since = excluded.since,"
    " at_ns = max(excluded.at_ns, at_ns + 1), seq = excluded.seq, given = 0"
)


def clip_name(seq: int, digest: bytes) -> str:
    """What the file of a decision's clip is called. Raises sqlite3.DatabaseError for what a damaged row has."""
    if not isinstance(digest, bytes):
        raise sqlite3.DatabaseError(f"the clip of row {seq} has no digest")
    return f"{seq}-{digest.hex()[:16]}.clip"


class Commit:
    """What may be written. A key that is new is on the disk before the row that it seals."""

    def __init__(
        self, rows: sqlite3.Connection, keys: Keys, signer: Ed25519PrivateKey, boot: str, begun_ns: int
    ) -> None:
        """`begun_ns` (boot clock) is from before the wait for other writers: a door's order runs from then on."""
        self._rows, self._keys, self._signer, self._boot, self._begun_ns = rows, keys, signer, boot, begun_ns
        self.gone: list[str] = []  # files of clips that go once this is committed
        self.let_go: list[bytes] = []  # owners whose keys are destroyed once this is committed, if they seal nothing

    def decide(
        self,
        decision: Decision,
        snapshot: bytes,
        outputs: Sequence[str],
        orders: Sequence[Order] = (),
        faces: Sequence[Face] = (),
    ) -> int:
        """Write a decision, what each of `outputs` is to be told, the doors' orders, whom the snapshot shows; the row.

        It is sealed under the key of the person that it is about; a stranger's under the passage's own.
        """
        owner = bytes.fromhex(decision.person or decision.passage)
        key = self._keys.get(owner) or self._keys.new(owner)
        row = self._last()
        number = (row.seq if row else 0) + 1
        at = number.to_bytes(8, "big")
        body = seal(key, msgspec.json.encode(decision), b"event", at)
        row = self._append(row, decision.at_ns, decision.camera, decision.outcome, body)
        picture = seal(key, snapshot, b"snapshot", at) if snapshot else None
        self._rows.execute("INSERT INTO sealed VALUES (?, ?, ?, ?)", (row.seq, owner, body, picture))
        self._rows.executemany(
            "INSERT INTO faces VALUES (?, ?, ?, ?)",
            [(row.seq, face.track, bytes.fromhex(face.person), sealed_box(key, row.seq, face)) for face in faces],
        )
        for output in outputs:
            self._rows.execute("INSERT INTO outbox(output, seq) VALUES (?, ?)", (output, row.seq))
        for order in orders:
            self._order(row, order)
        return row.seq

    def _order(self, row: Row, order: Order) -> None:
        """Signed with the decision's row: whoever can only write into the database orders nothing."""
        id_, expires_ns, seconds = secrets.token_hex(16), self._begun_ns + order.within_ns, float(order.seconds)
        signature = self._signer.sign(order_bytes(row.hash, id_, order.door, self._boot, expires_ns, seconds))
        self._rows.execute(
            "INSERT INTO commands(id, door, seq, boot, expires_ns, seconds, state, signature)"
            " VALUES (?, ?, ?, ?, ?, ?, 'given', ?)",
            (id_, order.door, row.seq, self._boot, expires_ns, seconds, signature),
        )

    def note(self, kind: Housekeeping, camera: str = "", **said: object) -> int:
        """Write a row about the gate itself; what is `said` is public, and names nobody."""
        text = msgspec.json.encode(said)
        row = self._append(self._last(), time.time_ns(), camera, kind, text)
        self._rows.execute("INSERT INTO notes VALUES (?, ?)", (row.seq, text.decode()))
        return row.seq

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
        self.let_go.append(id_)

    def keep_clip(self, seq: int, owner: bytes, digest: bytes, people: Sequence[bytes]) -> None:
        """Name the file of a decision's clip, in place of the one before, and who is to be seen in it."""
        self._drop_clips("seq = ?", seq)
        self._rows.execute("INSERT INTO clips VALUES (?, ?, ?)", (seq, owner, digest))
        self._rows.executemany("INSERT INTO shown VALUES (?, ?)", [(person, seq) for person in people])
        self.note("clip", of=seq, sha256=digest.hex())

    def recognize(self, track: int, person: str) -> None:
        """Somebody on a track turned out to be a person (by id): in all snapshots that it is in."""
        query = "SELECT seq, owner, box FROM faces JOIN sealed USING (seq) WHERE track = ? AND person = x''"
        for seq, owner, box in self._rows.execute(query, (track,)).fetchall():
            values = (seq, track, bytes.fromhex(person), self._bound_to(person, seq, owner, track, box))
            self._rows.execute("INSERT OR IGNORE INTO faces VALUES (?, ?, ?, ?)", values)

    def _bound_to(self, person: str, seq: int, owner: bytes, track: int, box: bytes) -> bytes:
        """The box of a face that is nobody's yet, sealed as that of a person; what does not open stays as it is.

        That it does not is found when it is to be covered, and by an audit.
        """
        key = self._keys.get(owner)
        try:
            return sealed_box(key, seq, Face(track, open_box(key, seq, track, b"", box), person)) if key else box
        except Unreadable:
            return box

    def cover(self, seq: int, person: bytes, tracks: Sequence[int], before: bytes, after: bytes) -> bool:
        """Put in place of a sealed snapshot the one in which somebody is covered, and say so in the chain.

        False where it is not as `before` any more.
        """
        query = "UPDATE sealed SET snapshot = ? WHERE seq = ? AND snapshot = ?"
        if not self._rows.execute(query, (after, seq, before)).rowcount:
            return False
        rows = [(seq, track, person) for track in tracks]
        self._rows.executemany("DELETE FROM faces WHERE seq = ? AND track = ? AND person = ?", rows)
        self.note("snapshot", of=seq, sha256=hashlib.sha256(after).hexdigest())
        return True

    def remove_snapshots(self, seqs: Sequence[int]) -> None:
        """Remove the snapshots of some rows, and say so in the chain."""
        if self._drop_snapshots("seq = ?", *seqs):
            self.note("tombstone", snapshots=sorted(seqs))

    def forget_snapshots(self, seq: int) -> None:
        """Remove the snapshots of the rows up to `seq`, and say so in the chain."""
        if self._drop_snapshots("seq <= ?", seq):
            self.note("tombstone", snapshots_to=seq)

    def forget_clips(self, seq: int) -> None:
        """Remove the clips of the rows up to `seq`, and say so in the chain."""
        if self._drop_clips("seq <= ?", seq):
            self.note("tombstone", clips_to=seq)

    def remove_clips(self, seqs: Sequence[int]) -> None:
        """Remove the clips of some rows, and say so in the chain."""
        if self._drop_clips("seq = ?", *seqs):
            self.note("tombstone", clips=sorted(seqs))

    def _drop_snapshots(self, where: str, *values: object) -> bool:
        """Those for which `where` holds with one of `values`; whether there were any."""
        dropped = 0
        for value in values:
            self._rows.execute(f"DELETE FROM faces WHERE {where}", (value,))
            query = f"UPDATE sealed SET snapshot = NULL WHERE snapshot IS NOT NULL AND {where}"
            dropped += self._rows.execute(query, (value,)).rowcount
        return dropped > 0

    def _drop_clips(self, where: str, *values: object) -> bool:
        """The same, with what is kept of them."""
        before = len(self.gone)
        for value in values:
            found = self._rows.execute(f"DELETE FROM clips WHERE {where} RETURNING seq, digest", (value,)).fetchall()
            self._rows.executemany("DELETE FROM shown WHERE seq = ?", [(seq,) for seq, _ in found])
            self.gone += [clip_name(seq, digest) for seq, digest in found]
        return len(self.gone) > before

    def take(self, door: str, after: int) -> Command | None:
        """The next command for a door that has not expired; it counts as carried out from now on.

        One that the gate has not signed, or of a decision up to `after`, the last that was carried out, moves nothing,
        and the chain says so.
        """
        public = self._signer.public_key().public_bytes_raw()
        for id_, seq, seconds, boot, expires_ns, signature, decided in self._rows.execute(GIVEN, (door,)).fetchall():
            order = order_bytes(decided or b"", id_, door, boot, expires_ns, seconds)
            genuine = signed(public, order, signature)
            if seq <= after or not genuine:
                detail = "it was carried out before" if genuine else "this gate did not give it"
                self._rows.execute("UPDATE commands SET state = 'forged' WHERE id = ?", (id_,))
                self.note("command", door=door, decision=seq, state="forged", detail=detail)
                continue
            left_ns = expires_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            command = Command(id_, door, seq, seconds, time.time_ns() + left_ns)
            if boot == self._boot and left_ns >= 0:
                self._rows.execute("UPDATE commands SET state = 'taken' WHERE id = ?", (id_,))
                return command
            self.finish(command, "expired", "nobody carried it out in time")
        return None

    def finish(self, command: Command, state: Literal["done", "failed", "unknown", "expired"], detail: str) -> None:
        """What came of a door command; into the chain, too, where it is not what the decision said.

        Where the door did not open nobody went through it; where that is unknown, they may have.
        """
        self._rows.execute("UPDATE commands SET state = ?, detail = ? WHERE id = ?", (state, detail, command.id))
        if state != "done":
            self.note("command", door=command.door, decision=command.seq, state=state, detail=detail)
        if state in ("failed", "expired"):
            query = "UPDATE presence SET inside = was, since = was_since, at_ns = at_ns + 1, given = 0 WHERE seq = ?"
            self._rows.execute(query, (command.seq,))

    def claim(self, door: str, badge: str, expires_ns: int) -> None:
        """Keep that a badge (its HMAC) was shown at a door, in place of the one before."""
        self._rows.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (door, badge, self._boot, expires_ns))

    def spend(self, door: str, badge: str) -> None:
        """A badge that was shown at a door has had its decision; not one that was shown there since."""
        self._rows.execute("DELETE FROM claims WHERE door = ? AND badge = ?", (door, badge))

    def spend_all(self) -> None:
        """No badge that was shown counts any more."""
        self._rows.execute("DELETE FROM claims")

    def move(self, person: str, inside: bool, at_ns: int, seq: int | None) -> None:
        """Somebody (by id) was let in, or out, at wall time `at_ns` by decision `seq`; None: an operator says so.

        It counts as later than what was known, whatever the clocks of this host and the others say.
        """
        since = msgspec.msgpack.encode(Since(at_ns, self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        self._rows.execute(MOVE, (bytes.fromhex(person), inside, at_ns, seq, since))

    def forget_moves(self, before_ns: int) -> None:
        """Forget who went in or out before that (wall clock) where no decision says so: else they go with its row."""
        self._rows.execute("DELETE FROM presence WHERE seq IS NULL AND at_ns < ?", (before_ns,))

    def drop_claims(self) -> None:
        """Forget badges that were shown and do not count any more."""
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._rows.execute("DELETE FROM claims WHERE boot != ? OR expires_ns <= ?", (self._boot, now_ns))

    def erase(self, owners: Sequence[bytes]) -> list[int]:
        """Delete what belongs to some owners, and say in the chain which rows; these. Their keys go afterwards."""
        seqs: list[int] = []
        for owner in owners:
            seqs += [seq for (seq,) in self._rows.execute("SELECT seq FROM sealed WHERE owner = ?", (owner,))]
            self._drop_clips("owner = ?", owner)
            self._rows.execute("DELETE FROM faces WHERE seq IN (SELECT seq FROM sealed WHERE owner = ?)", (owner,))
            for table, column in (("sealed", "owner"), ("passages", "id"), ("presence", "person")):
                self._rows.execute(f"DELETE FROM {table} WHERE {column} = ?", (owner,))
        self.let_go += owners
        if seqs:
            self.note("tombstone", erased=sorted(seqs))
        return sorted(seqs)

    def cut(self, seq: int) -> int:
        """Remove the rows up to `seq` and say so in a checkpoint, which names the hash that the rest follows."""
        row = self._rows.execute("SELECT hash FROM chain WHERE seq = ?", (seq,)).fetchone()
        owners = [owner for (owner,) in self._rows.execute("SELECT DISTINCT owner FROM sealed WHERE seq <= ?", (seq,))]
        self._drop_clips("seq <= ?", seq)
        for table in ("sealed", "faces", "notes", "chain", "outbox", "commands", "presence"):
            self._rows.execute(f"DELETE FROM {table} WHERE seq <= ?", (seq,))
        self.let_go += owners
        return self.note("checkpoint", cut=seq, hash=row[0].hex())

    def _last(self) -> Row | None:
        row = self._rows.execute("SELECT * FROM chain ORDER BY seq DESC LIMIT 1").fetchone()
        return Row(*row) if row else None

    def _append(self, last: Row | None, at_ns: int, camera: str, kind: str, content: bytes) -> Row:
        row = link(self._signer, last, at_ns, camera, kind, hashlib.sha256(content).digest())
        self._rows.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return row
