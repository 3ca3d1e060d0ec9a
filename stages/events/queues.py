"""What is still to do: notices, delivered at least once and in order, and door commands, carried out at most once."""

from __future__ import annotations

import time
from collections.abc import Collection

from stages.events.chain import Row
from stages.events.ledger import Ledger
from stages.events.records import Command, Delivery, Head, Notice

LONGEST_S = 60.0  # until the next attempt; what is due later than that is due now: the clock was set back


class Outbox:
    """The notices for one output. A notice is made when it is delivered: of an erased person there is none.

    Of a damaged decision only what its row of the chain says is told, with the reason "damaged": no head is left out.
    """

    def __init__(self, ledger: Ledger, output: str) -> None:
        self._ledger, self._output = ledger, output

    def next(self) -> Delivery | None:
        """The oldest notice that is not delivered, if it is due; the later ones wait for it."""
        while True:
            query = "SELECT id, seq, attempts, due_ns FROM outbox WHERE output = ? ORDER BY id LIMIT 1"
            found = self._ledger.one(query, (self._output,))
            if found is None or 0 < found[3] - time.time_ns() <= LONGEST_S * 1e9:
                return None
            notice = self._notice(found[0], found[1])
            if notice is not None:
                return Delivery(found[0], found[2], notice)
            self.done(found[0])

    def done(self, id_: int) -> None:
        """It was delivered."""
        with self._ledger.transaction() as rows:
            rows.execute("DELETE FROM outbox WHERE id = ?", (id_,))

    def failed(self, id_: int, error: str, retry_seconds: float) -> None:
        """It was not: try it again after so many seconds, `LONGEST_S` at most."""
        with self._ledger.transaction() as rows:
            due_ns = time.time_ns() + int(retry_seconds * 1e9)
            rows.execute(
                "UPDATE outbox SET attempts = attempts + 1, error = ?, due_ns = ? WHERE id = ?", (error, due_ns, id_)
            )

    def waiting(self) -> tuple[int, str]:
        """How many wait, and why the first of them does."""
        (count,) = self._ledger.one("SELECT count(*) FROM outbox WHERE output = ?", (self._output,)) or (0,)
        first = self._ledger.one("SELECT error FROM outbox WHERE output = ? ORDER BY id LIMIT 1", (self._output,))
        return count, first[0] if first else ""

    def _notice(self, id_: int, seq: int) -> Notice | None:
        found = self._ledger.one("SELECT * FROM chain WHERE seq = ?", (seq,))
        if found is None:
            return None
        row = Row(*found)
        event, head = self._ledger.event(row), Head(seq, row.hash.hex(), row.signature.hex())
        key, d = f"{head.hash[:16]}-{id_}", event.decision
        if d:
            return Notice(key, seq, d.at_ns, d.camera, d.door, d.outcome, d.reason, d.name, head)
        return Notice(key, seq, row.at_ns, row.camera, "", row.kind, "damaged", "", head) if event.damaged else None


def stranded(ledger: Ledger, outputs: Collection[str]) -> dict[str, int]:
    """How many notices wait for outputs that are none of `outputs`; they go out if it comes back, or get too old."""
    waiting = ledger.all("SELECT output, count(*) FROM outbox GROUP BY output ORDER BY output")
    return {output: count for output, count in waiting if output not in outputs}


class Commands:
    """The commands for one door. What it took it never takes again, whatever the database says of it.

    After a restart it goes by the database: who can write there, and sets an order that was carried out back to
    `given`, has it carried out again if that is within the two seconds in which it expires.
    """

    def __init__(self, ledger: Ledger, door: str) -> None:
        self._ledger, self._door = ledger, door
        self._taken = 0  # decisions order a door once each, and rise

    def take(self) -> Command | None:
        """The next command that has not expired. From now on it counts as carried out, whatever comes of it."""
        if self._ledger.one("SELECT 1 FROM commands WHERE door = ? AND state = 'given'", (self._door,)) is None:
            return None
        with self._ledger.commit() as commit:
            command = commit.take(self._door, self._taken)
        if command:
            self._taken = command.seq
        return command

    def finish(self, command: Command, error: str = "") -> None:
        """What came of it. A failure is written into the chain: a decision said that the door opens, and it did not."""
        with self._ledger.commit() as commit:
            commit.finish(command, "failed" if error else "done", error)

    def recover(self) -> list[Command]:
        """After a crash: what had been taken has an unknown outcome and is never repeated; these."""
        query = "SELECT id, seq, seconds FROM commands WHERE door = ? AND state = 'taken'"
        found = [
            Command(id_, self._door, seq, seconds, 0) for id_, seq, seconds in self._ledger.all(query, (self._door,))
        ]
        with self._ledger.commit() as commit:
            for command in found:
                commit.finish(command, "unknown", "the process ended before it was told what came of it")
        return found
