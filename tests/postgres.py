"""A PostgreSQL server of the tests' own, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER = "postgres"  # as whom the server runs where the tests are root's: it refuses root
PASSWORD = "pass:w@rd/%"


def programs() -> Path:
    """The folder of initdb and postgres; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    here = shutil.which("initdb")
    if not found and not here:
        pytest.skip("needs a PostgreSQL server, and none is installed: apt-get install postgresql")
    return found[-1].parent if found else Path(here or "").parent


class PostgresServer:
    """A server that runs from here on, whose superuser is `postgres` and who asks everybody for a password."""

    def __init__(self) -> None:
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="framewire-pg-", dir="/tmp"))  # short: a socket is in it
        self.data = self.folder / "data"
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)  # the folder is its owner's alone
        self._run(
            "initdb",
            *("-D", self.data, "-U", "postgres", "--no-sync", "--locale=C.UTF-8"),
            *("--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}"),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until somebody can log in."""
        command = [
            *(self._programs / "postgres", "-D", self.data, "-k", self.folder),
            *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
        ]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd="/", **self._as)
        log.close()
        ends = time.monotonic() + 30
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > ends or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """At once: connections are cut."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing meanwhile; the kernel still takes connections for it."""
        assert self._process
        main = self._process.pid
        processes = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def address(self, database: str, user: str = "postgres", password: str = PASSWORD) -> str:
        """As a user would write it."""
        quoted = "".join(f"%{byte:02X}" for byte in password.encode())
        return f"postgresql://{user}:{quoted}@{str(self.folder).replace('/', '%2F')}/{database}"

    def execute(self, *statements: str) -> None:
        """As the superuser."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as rows:
            for statement in statements:
                rows.execute(statement.encode())

    def query(self, address: str, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a statement finds, committed."""
        with psycopg.connect(address, options="-csearch_path=framewire") as rows:
            cursor = rows.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def content(self) -> bytes:
        """All files of all databases, as they are on the disk."""
        self.execute("CHECKPOINT")
        return b"".join(path.read_bytes() for path in (self.data / "base").rglob("*") if path.is_file())

    @contextmanager
    def databases(self) -> Iterator[tuple[str, str]]:
        """The addresses of two empty ones, for rows and for keys, whose owner is no superuser."""
        owner, names = "door", [f"{what}_{secrets.token_hex(4)}" for what in ("gallery", "keys")]
        found = self.query(self.address("postgres"), "SELECT 1 FROM pg_roles WHERE rolname = %s", (owner,))
        roles = [] if found else [f"CREATE ROLE {owner} LOGIN PASSWORD '{PASSWORD}'"]
        self.execute(*roles, *(f"CREATE DATABASE {name} OWNER {owner}" for name in names))
        yield self.address(names[0], owner), self.address(names[1], owner)
        self.execute(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names))

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *words: object) -> None:
        subprocess.run([str(self._programs / program), *map(str, words)], check=True, capture_output=True, **self._as)
