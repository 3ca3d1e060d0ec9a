"""What the commands read of a config file: the same that `run` and `gate` are given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import config as toml
from pipeline.home import home, keys
from stages.capture import CaptureConfig
from stages.gallery.enrol import EnrolConfig
from stages.gallery.store import Store
from stages.gate.config import GateConfig

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The TOML file that `run` is given too.")]


class EnrolmentSettings(EnrolConfig, frozen=True):
    """The tables that the commands need; those of other stages may stand beside them, unread."""

    capture: CaptureConfig = CaptureConfig()
    gate: GateConfig = GateConfig()
    engine: dict[str, Any] | None = None
    crop: dict[str, Any] | None = None
    draw: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    source: tuple[str, ...] = ()
    track: dict[str, Any] | None = None
    pick: dict[str, Any] | None = None
    liveness: dict[str, Any] | None = None
    act: dict[str, Any] | None = None
    clips: dict[str, Any] | None = None
    show: dict[str, Any] | None = None


def settings_of(path: Path | None) -> EnrolmentSettings:
    """What the config file says of enrolment. Raises Usage."""
    return toml.load(path, EnrolmentSettings) if path else EnrolmentSettings()


def store_of(settings: EnrolmentSettings) -> Store:
    """The gallery that the config names, or the user's."""
    return Store(Path(settings.match.gallery) if settings.match.gallery else home(), keys())
