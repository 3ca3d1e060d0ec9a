"""Who guesses at passwords is locked out for a while: of names, in the accounts' database; of addresses, in memory.

After `FAILURES` wrong passwords in a row a name is locked, each time for longer, whether it is an account's or not: up
to `LONGEST_S`, so that a stranger cannot keep the owner out for good. An address that guesses at many names is slowed
down as well.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections import OrderedDict

FAILURES, LOCK_S, LONGEST_S = 5, 60.0, 900.0  # the lock doubles with each failure beyond
DECAY_S = 24 * 3600.0  # after the last lock, or the last failure, it counts from the beginning
ADDRESS_FAILURES, ADDRESS_S = 30, 600.0
ADDRESSES = 10_000  # at most; the one that failed for the last time longest ago is forgotten first
# Of a bucket of names: what people type as a name may be their password, of which 16 bits tell nothing.
TABLE = "CREATE TABLE guesses(bucket INTEGER PRIMARY KEY, failures INTEGER NOT NULL, locked_until REAL NOT NULL) STRICT"


class Denied(Exception):
    """A log-in or a set-up that is not let through; the message is for the person who tries."""


def count(rows: sqlite3.Connection, name: str) -> float:
    """Count a password for `name` as wrong until it is `clear`; 0, or, where it may not be tried, for how many s."""
    now = time.time()
    query = "SELECT failures, locked_until FROM guesses WHERE bucket = ?"
    failures, locked_until = rows.execute(query, (_bucket(name),)).fetchone() or (0, 0.0)
    if locked_until > now:
        return float(locked_until - now)
    failures = 1 if now - locked_until > DECAY_S else failures + 1
    lock_s = min(LONGEST_S, LOCK_S * 2.0 ** min(failures - FAILURES, 16)) if failures >= FAILURES else 0.0
    rows.execute("INSERT OR REPLACE INTO guesses VALUES (?, ?, ?)", (_bucket(name), failures, now + lock_s))
    return 0.0


def clear(rows: sqlite3.Connection, name: str) -> None:
    """Nothing was wrong."""
    rows.execute("DELETE FROM guesses WHERE bucket = ?", (_bucket(name),))


def _bucket(name: str) -> int:
    """Where the wrong passwords of a name are counted, 0..65535."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2])


class Addresses:
    """Those that wrong passwords came from. Calls may come from any thread."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[float]] = OrderedDict()  # when, time.monotonic()
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Raises Denied where it has failed too often."""
        with self._lock:
            failures = len(self._recent(address))
        if failures >= ADDRESS_FAILURES:
            raise Denied(f"too many wrong passwords from {address}: try again in some minutes")

    def count(self, address: str) -> None:
        """It has failed; others that have not for a while are forgotten."""
        with self._lock:
            self._failed[address] = [*self._recent(address), time.monotonic()]
            self._failed.move_to_end(address)
            while len(self._failed) > ADDRESSES or not self._recent(next(iter(self._failed))):
                self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        now = time.monotonic()
        return [moment for moment in self._failed.get(address, ()) if now - moment < ADDRESS_S]
