"""Who is inside, for doors on several hosts: each host's log has what it saw itself, this table the last of all.

The last is what the host that saw it says is the latest, by its clock; but what a host sees after it has heard of a
movement comes after that, however late its clock is. So clocks count only between hosts that had not heard of each
other: for half a second, or after a crash. Of two such movements the one of the host whose clock is ahead counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from stages.gallery.postgres.server import READ, WRITE, Server

LOCKS = 0x70617373  # the class of the advisory lock under which numbers are given in the order of commits
TABLES = (
    "CREATE SEQUENCE movements",
    "CREATE TABLE presence(person BYTEA PRIMARY KEY REFERENCES people ON DELETE CASCADE, inside BOOLEAN NOT NULL,"
    " at_ns BIGINT NOT NULL, number BIGINT NOT NULL UNIQUE)",
)
# Nobody who was forgotten meanwhile comes back by it. What is older changes nothing, but is answered with what counts.
GIVE = (
    "INSERT INTO presence SELECT id, ?, ?, nextval('movements') FROM people WHERE id = ?"
    " ON CONFLICT (person) DO UPDATE SET number = excluded.number, at_ns = greatest(excluded.at_ns, presence.at_ns),"
    " inside = CASE WHEN excluded.at_ns > presence.at_ns THEN excluded.inside ELSE presence.inside END"
)
TAKE = "SELECT person, inside, at_ns, number FROM presence WHERE number > ? ORDER BY number"
Movement = tuple[bytes, bool, int]  # a person's id, whether they came in or went out, and when, by the wall clock in ns


class Moves(Protocol):
    """What a host knows of who came in and went out."""

    def own_moves(self) -> list[Movement]:
        """Those seen here that the other hosts were not given yet."""

    def follow_moves(self, given: Sequence[Movement], taken: Sequence[Movement]) -> None:
        """Keep that `given` were given, and what was `taken` from all hosts, in place of what was known."""


class Presence:
    """The table, for one thread. Raises Failed."""

    def __init__(self, rows: Server) -> None:
        self._rows = rows
        self._seen = 0

    def exchange(self, moves: Moves, forgotten: Callable[[Iterable[bytes]], Collection[bytes]]) -> None:
        """Give what this host has seen, take what any has; nothing of those who are `forgotten`, of some ids.

        They are asked for after the table is read: who is marked later is erased when this host follows the gallery.
        """
        own = moves.own_moves()
        if own:
            with self._rows.transaction(WRITE) as rows:
                rows.execute("SELECT pg_advisory_xact_lock(?, 0)", (LOCKS,))
                for person, inside, at_ns in own:
                    rows.execute(GIVE, (inside, at_ns, person))
        with self._rows.transaction(READ) as rows:
            found = rows.execute(TAKE, (self._seen,)).fetchall()
        if own or found:
            gone = forgotten(person for person, *_ in found)
            moves.follow_moves(
                own, [(person, inside, at_ns) for person, inside, at_ns, _ in found if person not in gone]
            )
        self._seen = max((number for *_, number in found), default=self._seen)
