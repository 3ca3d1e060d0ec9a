"""Who may log in, and who is: HOME/web.sqlite. It holds hashes only: Argon2id of passwords, SHA-256 of the rest.

The rules are those of OWASP's cheat sheets on authentication and sessions. Who guesses is locked out: guesses.py.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from pipeline.errors import Failed, Usage
from stages.gallery.people import FOLDED
from stages.show.web import guesses
from stages.show.web.database import Database
from stages.show.web.guesses import Addresses, Denied

Role = Literal["viewer", "operator", "admin"]  # of an account
TokenRole = Literal[
    "reader", "viewer", "operator", "admin"
]  # of a program: a reader shows badges and does nothing else
# What needs a role -> who may.
ALLOWED: dict[TokenRole, tuple[TokenRole, ...]] = {
    "reader": ("reader", "operator", "admin"),
    "viewer": ("viewer", "operator", "admin"),
    "operator": ("operator", "admin"),
    "admin": ("admin",),
}

SHORTEST, LONGEST = 10, 1000  # letters of a password
SESSION_S, IDLE_S = 12 * 3600.0, 3600.0
SEEN_S = 60.0  # how often it is written down that a session is used
SETUP_S = 24 * 3600.0
HASHES = 2  # at once: each takes 64 MB


class Who(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: TokenRole
    csrf: str  # what a request that changes something has to bring along; "" for a token, which no browser sends

    def may(self, role: TokenRole) -> bool:
        """Whether what needs `role` is allowed."""
        return self.role in ALLOWED[role]


class Users:
    """The accounts. Calls may come from any thread."""

    def __init__(self, home: Path) -> None:
        self._database = Database(home)
        self._hasher = PasswordHasher()
        self._hashing = threading.BoundedSemaphore(HASHES)
        self._addresses = Addresses()
        # Checked where there is no such user, so that the time tells nothing about names.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def setup(self) -> str | None:
        """A secret with which the first admin sets a password, once; None where there is an account already."""
        with self._database.rows() as rows:
            return None if rows.execute("SELECT 1 FROM users").fetchone() else _link(rows, "")

    def invite(self, name: str) -> str:
        """A secret with which `name` sets a new password, once: an account, or the first admin. Raises Usage."""
        _check_name(name)
        with self._database.rows() as rows:
            names = [user for (user,) in rows.execute("SELECT name FROM users ORDER BY name")]
            if names and name not in names:
                raise Usage(f"there is no account called {name!r}: there is {', '.join(names)}")
            return _link(rows, name)

    def link(self, secret: str) -> tuple[str, bool]:
        """Whose link it is, "" for who chooses a name; and whether it makes the first admin. Raises Denied."""
        with self._database.rows() as rows:
            return _of_link(rows, secret)

    def begin(self, secret: str, name: str, password: str) -> str:
        """Set the password that a link is for, of an account or the first admin; a new session's secret.

        Other sessions of the account end. Raises Denied for a secret that is not, or no longer, the one, or is another
        name's; Usage as `add` does.
        """
        self._check(name, password)
        hashed = self._hash(password)
        with self._database.rows() as rows:
            whose, first = _of_link(rows, secret)
            if whose not in ("", name):
                raise Denied(f"this link is for {whose}: give that name")
            if first:
                rows.execute("DELETE FROM setup")  # those for others who might have been the first, too
                _insert(rows, name, "admin", hashed)
            else:
                rows.execute("DELETE FROM setup WHERE name = ?", (name,))
                rows.execute("UPDATE users SET password = ? WHERE name = ?", (hashed, name))
                rows.execute("DELETE FROM sessions WHERE user = ?", (name,))
                guesses.clear(rows, name)
            return _new_session(rows, name)

    def add(self, name: str, role: Role, password: str) -> None:
        """Make an account. Raises Usage for a name that is taken or none, or a password that is too short."""
        self._check(name, password)
        hashed = self._hash(password)
        with self._database.rows() as rows:
            if rows.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise Usage(f"there is an account called {name!r} already: choose another name")
            _insert(rows, name, role, hashed)

    def set_role(self, name: str, role: Role) -> None:
        """Give an account another role, from its next request on. Raises Usage for the last admin, or nobody."""
        with self._database.rows() as rows:
            if role != "admin":
                _check_admins(rows, name)
            if not rows.execute("UPDATE users SET role = ? WHERE name = ?", (role, name)).rowcount:
                raise Usage(f"there is no account called {name!r}")

    def remove(self, name: str) -> None:
        """Remove an account, with its sessions and its link. Raises Usage for the last admin, or nobody."""
        with self._database.rows() as rows:
            _check_admins(rows, name)
            rows.execute("DELETE FROM sessions WHERE user = ?", (name,))
            rows.execute("DELETE FROM setup WHERE name = ?", (name,))
            if not rows.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount:
                raise Usage(f"there is no account called {name!r}")
        self._database.remove_copies()

    def all(self) -> list[tuple[str, Role]]:
        """Names and roles."""
        with self._database.rows() as rows:
            return rows.execute("SELECT name, role FROM users ORDER BY name").fetchall()

    def log_in(self, name: str, password: str, address: str) -> str:
        """A new session's secret. Raises Denied, which tells neither what was wrong nor who exists."""
        self._addresses.check(address)
        with self._database.rows() as rows:
            found = rows.execute("SELECT password FROM users WHERE name = ?", (name,)).fetchone()
            locked_s = guesses.count(rows, name)  # before it is checked: many at once are no better than one by one
        right = self._verify(found[0] if found else self._nobody, password) and found is not None
        if locked_s:
            raise Denied(f"too many wrong passwords: try again in {locked_s:.0f} s")
        if not right:
            self._addresses.count(address)
            raise Denied("the name or the password is wrong")
        with self._database.rows() as rows:
            guesses.clear(rows, name)
            return _new_session(rows, name)

    def session(self, secret: str, *, keep: bool = True) -> Who | None:
        """Whose session it is, if it has not run out; to ask keeps it alive, unless told otherwise."""
        now = time.time()
        query = (
            "SELECT users.name, users.role, sessions.csrf, sessions.seen FROM sessions"
            " JOIN users ON users.name = sessions.user WHERE id = ? AND began > ? AND seen > ?"
        )
        with self._database.rows() as rows:
            found = rows.execute(query, (_hashed(secret), now - SESSION_S, now - IDLE_S)).fetchone()
        if found is None:
            return None
        name, role, csrf, seen = found
        if keep and now - seen >= SEEN_S:
            with suppress(Failed), self._database.rows() as rows:  # a disk that is full keeps nobody out
                rows.execute("UPDATE sessions SET seen = ? WHERE id = ?", (now, _hashed(secret)))
        return Who(name, role, csrf)

    def log_out(self, secret: str) -> None:
        """End a session."""
        with self._database.rows() as rows:
            rows.execute("DELETE FROM sessions WHERE id = ?", (_hashed(secret),))

    def change_password(self, name: str, old: str, new: str, address: str) -> str:
        """Replace somebody's password; a new session's secret: all others end, and a link that was made opens nothing.

        Raises as `log_in` and `add` do.
        """
        self._check(name, new)
        secret = self.log_in(name, old, address)
        hashed = self._hash(new)
        with self._database.rows() as rows:
            rows.execute("UPDATE users SET password = ? WHERE name = ?", (hashed, name))
            rows.execute("DELETE FROM sessions WHERE user = ? AND id != ?", (name, _hashed(secret)))
            rows.execute("DELETE FROM setup WHERE name = ?", (name,))
        return secret

    def tokens(self) -> list[tuple[str, TokenRole, float]]:
        """Names, roles, and when they were made, in seconds since the epoch."""
        with self._database.rows() as rows:
            return rows.execute("SELECT name, role, made FROM tokens ORDER BY name").fetchall()

    def new_token(self, name: str, role: TokenRole) -> str:
        """A token for a program, shown this once. Raises Usage for a name that is taken or none."""
        _check_name(name)
        secret = secrets.token_urlsafe(32)
        with self._database.rows() as rows:
            if rows.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise Usage(f"there is a token called {name!r} already: choose another name")
            rows.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (_hashed(secret), name, role, time.time()))
        return secret

    def token(self, secret: str) -> Who | None:
        """What a token may do."""
        with self._database.rows() as rows:
            found = rows.execute("SELECT name, role FROM tokens WHERE id = ?", (_hashed(secret),)).fetchone()
        return Who(found[0], found[1], "") if found else None

    def revoke(self, name: str) -> None:
        """Make the token of that name useless."""
        with self._database.rows() as rows:
            if not rows.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount:
                raise Usage(f"there is no token called {name!r}")

    def _verify(self, hashed: str, password: str) -> bool:
        with self._hashing:
            try:
                return self._hasher.verify(hashed, password)
            except VerificationError:
                return False

    def _hash(self, password: str) -> str:
        with self._hashing:
            return self._hasher.hash(password)

    def _check(self, name: str, password: str) -> None:
        _check_name(name)
        if not SHORTEST <= len(password) <= LONGEST:
            raise Usage(f"a password has {SHORTEST} to {LONGEST} characters")


def _check_admins(rows: sqlite3.Connection, name: str) -> None:
    """Raises Usage where there would be no admin without `name`."""
    if [user for (user,) in rows.execute("SELECT name FROM users WHERE role = 'admin'")] == [name]:
        raise Usage(f"{name} is the last admin: make another one first")


def _of_link(rows: sqlite3.Connection, secret: str) -> tuple[str, bool]:
    query = "SELECT until, name FROM setup WHERE id = ?"
    until, whose = rows.execute(query, (_hashed(secret),)).fetchone() or (0.0, "")
    names = {user for (user,) in rows.execute("SELECT name FROM users")}
    if until < time.time() or (names and whose not in names):
        raise Denied(
            "this link was used already, is too old, or a newer one was made: run gate account NAME for another"
        )
    return whose, not names


def _link(rows: sqlite3.Connection, name: str) -> str:
    """The secret of a new link, the only one of that name that counts."""
    secret = secrets.token_urlsafe(32)
    rows.execute("DELETE FROM setup WHERE name = ?", (name,))
    rows.execute("INSERT INTO setup VALUES (?, ?, ?)", (_hashed(secret), time.time() + SETUP_S, name))
    return secret


def _insert(rows: sqlite3.Connection, name: str, role: Role, hashed: str) -> None:
    rows.execute("INSERT INTO users VALUES (?, ?, ?)", (name, role, hashed))
    rows.execute("DELETE FROM setup WHERE name = ?", (name,))
    guesses.clear(rows, name)  # made before there was such a name, as the link


def _new_session(rows: sqlite3.Connection, name: str) -> str:
    """The secret of a session that begins now; those that ran out are deleted."""
    secret, now = secrets.token_urlsafe(32), time.time()
    rows.execute("DELETE FROM sessions WHERE began < ? OR seen < ?", (now - SESSION_S, now - IDLE_S))
    values = (_hashed(secret), name, secrets.token_urlsafe(32), now, now)
    rows.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", values)
    return secret


def _check_name(name: str) -> None:
    if not (0 < len(name) <= 60 and name.isprintable() and name == name.strip()) or name in FOLDED:
        raise Usage('a name has 1 to 60 printable characters, and is not "." or ".."')


def _hashed(secret: str) -> str:
    """Of a random secret a plain hash is enough: nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()
