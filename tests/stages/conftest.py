"""Where the data of a test lie."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, a key database and a master key of the test's own; the folder that they are in."""
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    for name in ("FRAMEWIRE_MASTER", "FRAMEWIRE_MASTER_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
