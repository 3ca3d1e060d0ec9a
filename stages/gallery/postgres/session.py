"""One connection to PostgreSQL, on which nothing waits without end.

libpq gives up on a host that cannot be reached, `Connection` on a server that does not answer, and the server on a
client that is gone, on a lock and on a statement that takes too long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

SCHEMA = "framewire"  # all tables are in it, beside whatever else the database has
# For libpq. A host that is cut off from the server notices that (5 s) before the server lets go of its locks, and so of
# its place among the readers (SESSION: 11 s): `forget` overlooks no process that still decides.
CLIENT: dict[str, str | int | None] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,  # ms
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "target_session_attrs": "read-write",  # of several hosts the one that is no replica
    "application_name": "framewire",
}
SESSION = {
    "search_path": SCHEMA,
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
SILENT_S = 15.0  # how long a server may say nothing at all; more than `lock_timeout`
REWRITING_S = 600  # the same while it rewrites a table
T = TypeVar("T")


class Connection(psycopg.Connection[TupleRow]):
    """Gives up, and is closed, where the server has been silent for `silent_s`."""

    silent_s = SILENT_S

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """As psycopg's, through which every answer comes. Raises OperationalError."""
        return super().wait(self._heard(gen), *args, **kwargs)

    def _heard(self, gen: PQGen[T]) -> PQGen[T]:
        """The same steps of the protocol; psycopg goes on ten times a second where nothing has come."""
        since = time.monotonic()
        try:
            wants = next(gen)
            while True:
                ready = yield wants
                if ready:
                    since = time.monotonic()
                elif time.monotonic() - since > self.silent_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer in {self.silent_s:.0f} s")
                wants = gen.send(ready)
        except StopIteration as end:
            found: T = end.value
            return found


class Session:
    """A connection, for SQL as SQLite knows it, too."""

    def __init__(self, raw: Connection) -> None:
        self.raw = raw
        for name, value in SESSION.items():
            self.execute("SELECT set_config(?, ?, false)", (name, value))

    def execute(self, query: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[TupleRow]:
        """Run one statement, with a `?` for each value."""
        return self.raw.execute(query.replace("?", "%s").encode(), values)
