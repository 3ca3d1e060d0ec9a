"""Where the data of a test lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, a key database and a master key of the test's own; the folder that they are in."""
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    unset = ("MASTER", "MASTER_KEY", "GALLERY", "GALLERY_KEYS")
    for name in ("CREDENTIALS_DIRECTORY", *(f"FRAMEWIRE_{name}" for name in unset)):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs; skipped where none is installed."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def databases(places: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The gallery of this test is on a server: the addresses of its rows and of its keys."""
    with server.databases() as (rows, keys):
        monkeypatch.setenv("FRAMEWIRE_GALLERY", rows)
        monkeypatch.setenv("FRAMEWIRE_GALLERY_KEYS", keys)
        yield rows, keys
