"""Where framewire keeps what belongs to the user of this machine; nothing is made before something is written."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The data directory: $FRAMEWIRE_HOME, or the user's data directory (XDG)."""
    return Path(os.environ.get("FRAMEWIRE_HOME") or platformdirs.user_data_path("framewire"))


def keys() -> Path:
    """The key database's directory, apart from the data: $FRAMEWIRE_KEYS, or below the user's configuration."""
    return Path(os.environ.get("FRAMEWIRE_KEYS") or platformdirs.user_config_path("framewire") / "keys")
