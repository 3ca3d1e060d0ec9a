"""A database of PostgreSQL, as a gallery uses it: one connection, made anew when it was lost."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors, pq

from pipeline.errors import Failed
from stages.gallery.postgres.address import Address
from stages.gallery.postgres.session import CLIENT, REWRITING_S, SCHEMA, Connection, Session

WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"  # a statement sees all that was committed before: behind a lock, all
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Which database it is, by whatever address.
IDENTITY = "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()"
BUSY_S, LOOK_S = 10.0, 0.1  # how long to wait for transactions that still see what was deleted, and how often to look


class Server:
    """One database, for one thread. What goes wrong is raised as Failed."""

    def __init__(self, address: Address) -> None:
        """Connects when it is first used."""
        self._address = address
        self.where = address.where
        self._session: Session | None = None
        self._entering: Callable[[Session], None] | None = None

    def entering(self, entered: Callable[[Session], None]) -> None:
        """Call `entered` with each new session before anything else happens in it; and with the present one."""
        with self._told():
            entered(self._now())
        self._entering = entered

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Session]:
        """A transaction, READ or WRITE. Where the connection was lost before, it begins in a new one."""
        with self._told():
            session = self._begun(begin)
            try:
                yield session
                session.execute("COMMIT")
            finally:
                with suppress(psycopg.OperationalError):  # lost: then the server rolls back by itself
                    if session.raw.info.transaction_status != pq.TransactionStatus.IDLE:
                        session.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the connection, and of what it has locked."""
        if self._session:
            self._closing()
            self._session = None

    def has(self, rows: Session, table: str) -> bool:
        """Whether there is a table of ours with that name."""
        return rows.execute("SELECT to_regclass(?) IS NOT NULL", (f"{SCHEMA}.{table}",)).fetchall() == [(True,)]

    def create(self, rows: Session, statements: Sequence[str]) -> None:
        """Make our schema, and what is in it."""
        if rows.execute("SELECT to_regnamespace(?)", (SCHEMA,)).fetchall() == [(None,)]:
            rows.execute(f"CREATE SCHEMA {SCHEMA}")
        for statement in statements:
            rows.execute(statement)

    def vacuum(self, *tables: str) -> list[str]:
        """Rewrite `tables` without the rows that were deleted; a sentence where they have to stay for now.

        PostgreSQL keeps a deleted row for as long as a transaction is under way that may see it.
        """
        left, why = list(tables), "a transaction may still see them"
        ends = time.monotonic() + BUSY_S
        self.close()  # whose place a connection takes that has more time
        try:
            session = self._now()
            session.execute(f"SET statement_timeout = '{REWRITING_S}s'")
            session.raw.silent_s = REWRITING_S
            while left := [table for table in left if not _rewritten(session, table)]:
                if time.monotonic() > ends:
                    break
                time.sleep(LOOK_S)
        except psycopg.Error as error:  # no Failed: the rows are deleted, and that is to be told
            why = _reason(error)
        finally:
            self.close()
        names = ", ".join(f"{SCHEMA}.{table}" for table in left)
        return (
            [f"deleted rows are in files of {self.where} ({why}): VACUUM FULL {names} as their owner"] if left else []
        )

    def _begun(self, begin: str) -> Session:
        if self._session:
            with suppress(psycopg.OperationalError):  # lost since it was last used
                self._session.execute(begin)
                return self._session
            self.close()
        session = self._now()
        session.execute(begin)
        return session

    def _now(self) -> Session:
        """The session; a new one where there is none."""
        if self._session is None or self._session.raw.closed:
            raw = Connection.connect(
                **(CLIENT | self._address.options),  # type: ignore[arg-type]  # options of libpq, by name
                autocommit=True,
                prepare_threshold=None,
            )
            self._closing = weakref.finalize(self, raw.close)
            session = Session(raw)
            if self._entering:
                self._entering(session)
            self._session = session
        return self._session

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise Failed(
                f"cannot use {self.where} ({_reason(error)}): "
                f"see that the server runs, and that ${self._address.variable} names it"
            ) from error.with_traceback(None)  # whose frames would hold a connection that was begun


def _rewritten(session: Session, table: str) -> bool:
    """Rewrite a table; whether nothing was left in it that is deleted."""
    kept: list[int] = []

    def heard(notice: errors.Diagnostic) -> None:
        # INFO, in any language, with "N dead row versions cannot be removed yet" as its first detail; a table of
        # somebody else's is left out with a WARNING.
        if notice.message_detail and (count := re.search(r"\d+", notice.message_detail)):
            kept.append(int(count[0]))

    session.raw.add_notice_handler(heard)
    try:
        session.execute(f"VACUUM (FULL, VERBOSE) {SCHEMA}.{table}")
    finally:
        session.raw.remove_notice_handler(heard)
    return bool(kept) and not any(kept)


def _reason(error: psycopg.Error) -> str:
    """Its first line, without which host was tried."""
    line = (error.diag.message_primary or str(error)).partition("\n")[0]
    return re.sub(r"^.*(failed|FATAL|bad): +", "", line).rstrip(".")
