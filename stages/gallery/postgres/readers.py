"""Which running processes, on any host, hold the gallery in memory, and how new what they hold is.

Each has a row, and an advisory lock that its connection holds: the server lets go of it with the connection, however
the process ends.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from pipeline.errors import Failed
from stages.gallery.postgres.server import READ, WRITE, Server
from stages.gallery.postgres.session import Session

LOCKS = 0x66726170  # the class of the advisory locks: each is a reader's number
POLL_S = 0.1
LOST_S = 3.0  # a process whose connection is lost makes another when it looks for news the next time, each second
TABLES = (
    "CREATE TABLE readers(number INTEGER PRIMARY KEY, who TEXT NOT NULL, generation BIGINT NOT NULL)",
    "CREATE SEQUENCE reader_numbers AS INTEGER CYCLE",
)
BEHIND = (
    "SELECT number, who, EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    f" AND classid = {LOCKS}::oid AND objid = number::oid"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    " FROM readers WHERE generation < ? ORDER BY number"
)


class PostgresReader:
    """This process's row. What goes wrong is raised as Failed."""

    def __init__(self, server: Server, who: str) -> None:
        """Over the connection with which the gallery is read: while that is lost, nothing is read either."""
        self._server, self._who = server, f"{who} (process {os.getpid()} on {socket.gethostname()})"
        self._number, self._generation = 0, 0
        server.entering(self._enter)

    def hold(self, generation: int) -> None:
        """See Reader."""
        with self._server.transaction(WRITE) as rows:
            rows.execute("UPDATE readers SET generation = ? WHERE number = ?", (generation, self._number))
        self._generation = generation

    def close(self) -> None:
        """See Reader."""
        with suppress(Failed), self._server.transaction(WRITE) as rows:  # it is gone without a connection, too
            rows.execute("DELETE FROM readers WHERE number = ?", (self._number,))
        self._server.close()

    def _enter(self, session: Session) -> None:
        """Take a new number; the lock first, as whoever has a row and no lock is taken for dead."""
        number: int = session.execute("SELECT nextval('reader_numbers')::integer").fetchall()[0][0]
        session.execute("SELECT pg_advisory_lock(?, ?)", (LOCKS, number))
        session.execute(
            "WITH before AS (DELETE FROM readers WHERE number = ?) INSERT INTO readers VALUES (?, ?, ?)",
            (self._number, number, self._who, self._generation),
        )
        self._number = number


def wait_for(server: Server, generation: int, seconds: float) -> list[str]:
    """Wait until all running processes hold `generation` or a newer one; who does not in time.

    Those whose connection was lost are waited for as long as it takes to make another; then their rows are deleted.
    """
    ends = time.monotonic() + seconds
    lost: dict[int, float] = {}  # number -> until when it is waited for
    while True:
        now = time.monotonic()
        with server.transaction(READ) as rows:
            found = rows.execute(BEHIND, (generation,)).fetchall() if server.has(rows, "readers") else []
        for number, _, lives in found:
            if not lives:
                lost.setdefault(number, now + LOST_S)
        dead = [number for number, _, lives in found if not lives and now >= lost[number]]
        if dead:
            with server.transaction(WRITE) as rows:
                rows.execute("DELETE FROM readers WHERE number = ANY(?)", (dead,))
        late = [(who, lives) for number, who, lives in found if number not in dead]
        if not late or (now >= ends and all(lives for _, lives in late)):
            return [who for who, _ in late]
        time.sleep(POLL_S)
