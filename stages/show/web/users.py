"""Who may log in, and who is: HOME/web.sqlite. It holds hashes only: Argon2id of passwords, SHA-256 of the rest.

After `FAILURES` wrong passwords in a row a name is locked, each time for longer, whether it is an account's or not; an
address that guesses at many names is slowed down as well. The rules are those of OWASP's cheat sheets on authentication
and sessions.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from pipeline.errors import Failed, Usage

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may

SHORTEST = 10  # letters of a password
FAILURES, LOCK_S = 5, 60.0  # the lock doubles with each failure beyond
SESSION_S, IDLE_S = 12 * 3600.0, 3600.0
SETUP_S = 24 * 3600.0
ADDRESS_FAILURES, ADDRESS_S = 30, 600.0
ADDRESSES = 10_000  # at most; the one that failed for the last time longest ago is forgotten first
SCHEMA = 2
TABLES = (
    "CREATE TABLE users(name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL) STRICT",
    "CREATE TABLE sessions(id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES users, csrf TEXT NOT NULL,"
    " began REAL NOT NULL, seen REAL NOT NULL) STRICT",
    "CREATE TABLE tokens(id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, made REAL NOT NULL) STRICT",
    "CREATE TABLE setup(id TEXT PRIMARY KEY, until REAL NOT NULL) STRICT",
)
# Wrong passwords of a bucket of names: what people type as a name may be their password, of which 16 bits tell nothing.
GUESSES = (
    "CREATE TABLE guesses(bucket INTEGER PRIMARY KEY, failures INTEGER NOT NULL, locked_until REAL NOT NULL) STRICT"
)
UPDATE = (
    "ALTER TABLE users DROP COLUMN failures",
    "ALTER TABLE users DROP COLUMN locked_until",
    GUESSES,
)  # of schema 1


class Denied(Exception):
    """A log-in or a set-up that is not let through; the message is for the person who tries."""


class Who(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role
    csrf: str  # what a request that changes something has to bring along; "" for a token, which no browser sends

    def may(self, role: Role) -> bool:
        """Whether what needs `role` is allowed."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Users:
    """The accounts. Calls may come from any thread."""

    def __init__(self, home: Path) -> None:
        self._path = home / "web.sqlite"
        self._hasher = PasswordHasher()
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, list[float]] = OrderedDict()  # address -> when, time.monotonic()
        # Checked where there is no such user, so that the time tells nothing about names.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}") from error
        with self._rows() as rows:
            version = rows.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise Failed(f"the accounts in {self._path} were made by a newer framewire: update this one")
            if version < SCHEMA:
                for statement in UPDATE if version else (*TABLES, GUESSES):
                    rows.execute(statement)
                rows.execute(f"PRAGMA user_version = {SCHEMA}")

    def setup(self) -> str | None:
        """A secret with which the first admin sets a password, once; None where there is an account already."""
        with self._rows() as rows:
            if rows.execute("SELECT 1 FROM users").fetchone():
                return None
            secret = secrets.token_urlsafe(32)
            rows.execute("DELETE FROM setup")
            rows.execute("INSERT INTO setup VALUES (?, ?)", (_hashed(secret), time.time() + SETUP_S))
        return secret

    def begin(self, secret: str, name: str, password: str) -> None:
        """Make the first admin. Raises Denied for a secret that is not, or no longer, the one; Usage as `add` does."""
        self._check(name, password)
        with self._rows() as rows:
            found = rows.execute("SELECT until FROM setup WHERE id = ?", (_hashed(secret),)).fetchone()
            if found is None or found[0] < time.time() or rows.execute("SELECT 1 FROM users").fetchone():
                raise Denied("this link was used already, or is too old: start the gate again for a new one")
            rows.execute("DELETE FROM setup")
            self._insert(rows, name, "admin", password)

    def add(self, name: str, role: Role, password: str) -> None:
        """Make an account. Raises Usage for a name that is taken or none, or a password that is too short."""
        self._check(name, password)
        with self._rows() as rows:
            if rows.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise Usage(f"there is an account called {name!r} already: choose another name")
            self._insert(rows, name, role, password)

    def remove(self, name: str) -> None:
        """Remove an account, with its sessions. Raises Usage for the last admin, or nobody."""
        with self._rows() as rows:
            admins = [user for (user,) in rows.execute("SELECT name FROM users WHERE role = 'admin'")]
            if admins == [name]:
                raise Usage(f"{name} is the last admin: make another one first")
            rows.execute("DELETE FROM sessions WHERE user = ?", (name,))
            if not rows.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount:
                raise Usage(f"there is no account called {name!r}")

    def all(self) -> list[tuple[str, Role]]:
        """Names and roles."""
        with self._rows() as rows:
            return rows.execute("SELECT name, role FROM users ORDER BY name").fetchall()

    def log_in(self, name: str, password: str, address: str) -> str:
        """A new session's secret. Raises Denied, which tells neither what was wrong nor who exists."""
        self._check_address(address)
        with self._rows() as rows:
            found = rows.execute("SELECT password FROM users WHERE name = ?", (name,)).fetchone()
            query = "SELECT failures, locked_until FROM guesses WHERE bucket = ?"
            failures, locked_until = rows.execute(query, (_bucket(name),)).fetchone() or (0, 0.0)
            now = time.time()
            if (
                locked_until <= now
            ):  # it counts before it is checked, so that many at once are no better than one by one
                lock = LOCK_S * 2 ** (failures + 1 - FAILURES) if failures + 1 >= FAILURES else 0.0
                guesses = (_bucket(name), failures + 1, now + lock)
                rows.execute("INSERT OR REPLACE INTO guesses VALUES (?, ?, ?)", guesses)
        right = self._verify(found[0] if found else self._nobody, password) and found is not None
        if locked_until > now:
            raise Denied(f"too many wrong passwords: try again in {locked_until - now:.0f} s")
        if not right:
            with self._lock:
                self._count(address)
            raise Denied("the name or the password is wrong")
        with self._rows() as rows:
            rows.execute("DELETE FROM guesses WHERE bucket = ?", (_bucket(name),))
            secret = secrets.token_urlsafe(32)
            rows.execute("DELETE FROM sessions WHERE began < ? OR seen < ?", (now - SESSION_S, now - IDLE_S))
            values = (_hashed(secret), name, secrets.token_urlsafe(32), now, now)
            rows.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", values)
        return secret

    def session(self, secret: str, *, keep: bool = True) -> Who | None:
        """Whose session it is, if it has not run out; to ask keeps it alive, unless told otherwise."""
        now = time.time()
        query = (
            "SELECT users.name, users.role, sessions.csrf FROM sessions JOIN users ON users.name = sessions.user"
            " WHERE id = ? AND began > ? AND seen > ?"
        )
        with self._rows() as rows:
            found = rows.execute(query, (_hashed(secret), now - SESSION_S, now - IDLE_S)).fetchone()
            if found and keep:
                rows.execute("UPDATE sessions SET seen = ? WHERE id = ?", (now, _hashed(secret)))
        return Who(found[0], found[1], found[2]) if found else None

    def log_out(self, secret: str) -> None:
        """End a session."""
        with self._rows() as rows:
            rows.execute("DELETE FROM sessions WHERE id = ?", (_hashed(secret),))

    def change_password(self, name: str, old: str, new: str, address: str) -> str:
        """Replace somebody's password; a new session's secret: all others end. Raises as `log_in` and `add` do."""
        self._check(name, new)
        secret = self.log_in(name, old, address)
        hashed = self._hasher.hash(new)
        with self._rows() as rows:
            rows.execute("UPDATE users SET password = ? WHERE name = ?", (hashed, name))
            rows.execute("DELETE FROM sessions WHERE user = ? AND id != ?", (name, _hashed(secret)))
        return secret

    def tokens(self) -> list[tuple[str, Role, float]]:
        """Names, roles, and when they were made, in seconds since the epoch."""
        with self._rows() as rows:
            return rows.execute("SELECT name, role, made FROM tokens ORDER BY name").fetchall()

    def new_token(self, name: str, role: Role) -> str:
        """A token for a program, shown this once. Raises Usage for a name that is taken or none."""
        _check_name(name)
        secret = secrets.token_urlsafe(32)
        with self._rows() as rows:
            if rows.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise Usage(f"there is a token called {name!r} already: choose another name")
            rows.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (_hashed(secret), name, role, time.time()))
        return secret

    def token(self, secret: str) -> Who | None:
        """What a token may do."""
        with self._rows() as rows:
            found = rows.execute("SELECT name, role FROM tokens WHERE id = ?", (_hashed(secret),)).fetchone()
        return Who(found[0], found[1], "") if found else None

    def revoke(self, name: str) -> None:
        """Make the token of that name useless."""
        with self._rows() as rows:
            if not rows.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount:
                raise Usage(f"there is no token called {name!r}")

    def _check_address(self, address: str) -> None:
        if len(self._recent(address)) >= ADDRESS_FAILURES:
            raise Denied(f"too many wrong passwords from {address}: try again in some minutes")

    def _count(self, address: str) -> None:
        """It has failed; others that have not for a while are forgotten."""
        self._failed[address] = [*self._recent(address), time.monotonic()]
        self._failed.move_to_end(address)
        while len(self._failed) > ADDRESSES or not self._recent(next(iter(self._failed))):
            self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        now = time.monotonic()
        return [moment for moment in self._failed.get(address, ()) if now - moment < ADDRESS_S]

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except VerificationError:
            return False

    def _check(self, name: str, password: str) -> None:
        _check_name(name)
        if not SHORTEST <= len(password) <= 1000:
            raise Usage(f"a password has at least {SHORTEST} characters")

    def _insert(self, rows: sqlite3.Connection, name: str, role: Role, password: str) -> None:
        rows.execute("INSERT INTO users VALUES (?, ?, ?)", (name, role, self._hasher.hash(password)))
        rows.execute("DELETE FROM guesses WHERE bucket = ?", (_bucket(name),))  # made before there was such a name

    @contextmanager
    def _rows(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                rows = sqlite3.connect(self._path, 10, 0, None)
                try:
                    rows.execute("PRAGMA secure_delete = ON")
                    rows.execute("BEGIN IMMEDIATE")
                    yield rows
                    rows.execute("COMMIT")
                finally:
                    rows.close()
            except sqlite3.DatabaseError as error:
                raise Failed(f"the accounts in {self._path} cannot be used ({error}): put back a copy") from error


def _check_name(name: str) -> None:
    if not (0 < len(name) <= 60 and name.isprintable() and name == name.strip()):
        raise Usage("a name has 1 to 60 printable characters")


def _hashed(secret: str) -> str:
    """Of a random secret a plain hash is enough: nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _bucket(name: str) -> int:
    """Where the wrong passwords of a name are counted, 0..65535."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2])
