"""`[gate]`: who may come in through which door, and what has to be sure before it opens."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from pipeline.config import DERIVED, Config
from pipeline.errors import Usage
from stages.events.retention import RetentionConfig
from stages.gallery.windows import Window, window

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,40}$")]
Mode = Literal["1:N", "1:1"]
Seconds = Annotated[float, Meta(gt=0, le=3600)]

PASSIVE: tuple[str, ...] = ("passive", "both")  # what asks a network whether a face is live
ACTIVE: tuple[str, ...] = ("active", "both")  # what asks for a turn of the head


class GroupConfig(Config, frozen=True):
    """`[gate.groups.NAME]`: people of this group may come in within these windows; without any, always."""

    windows: tuple[str, ...] = ()


class DoorConfig(Config, frozen=True):
    """`[[gate.doors]]`: one door and the cameras in front of it."""

    name: Name
    output: Name = "simulated"  # which of `act.outputs` opens it
    cameras: tuple[str, ...] = ()  # (): all of them
    seconds: Seconds = 5.0  # it stays open
    direction: Literal["in", "out"] = "in"  # for passback
    # Nobody comes in twice without having gone out in between ("strict": through a door of direction "out"; "timed":
    # for so many minutes).
    passback: Literal["off", "timed", "strict"] = "off"
    passback_minutes: Annotated[float, Meta(gt=0)] = 10.0
    # Two people who may come in have to be seen within so many seconds of each other; 0: one is enough.
    two_person_seconds: Annotated[float, Meta(ge=0, le=600)] = 0.0

    def has(self, camera: str) -> bool:
        """Whether `camera` stands in front of it."""
        return not self.cameras or camera in self.cameras


class GateConfig(Config, frozen=True):
    """`[gate]`"""

    mode: Mode = "1:N"  # who is it? or: is it the holder of the badge that was shown?
    liveness: Literal["passive", "active", "both", "none"] = "passive"
    far: Annotated[float, Meta(gt=0, lt=1)] = 0.01  # false accept rate of a passage that `gate calibrate` was run for
    accept_photos: bool = False  # drive a real door without liveness
    deadline_ms: Annotated[float, Meta(gt=0, le=60_000)] = 1000.0  # from capture to decision: older opens nothing
    # After being out of sight for so long somebody unknown is recorded as refused; after ten they are forgotten.
    settle_seconds: Annotated[float, Meta(gt=0, le=10)] = 5.0
    patience_seconds: Seconds = 8.0  # and somebody who is known and not let in yet, after so long in sight
    badge_seconds: Seconds = 15.0  # for which a badge that was shown counts
    challenge_seconds: Annotated[float, Meta(gt=0, le=10)] = 8.0  # to turn the head in, while the votes still count
    timezone: str = ""  # like "Europe/Berlin"; "": this machine's
    groups: dict[str, GroupConfig] = msgspec.field(default_factory=dict)
    doors: tuple[DoorConfig, ...] = (DoorConfig(name="door"),)
    retention: RetentionConfig = RetentionConfig()
    notify: tuple[Name, ...] = ()  # which of `act.outputs` are told of every decision
    models: Annotated[dict[str, str], DERIVED] = msgspec.field(default_factory=dict)  # what it does -> sha256
    detector: Annotated[str, DERIVED] = ""  # identity
    simulated: Annotated[tuple[str, ...], DERIVED] = ("simulated",)  # outputs that open nothing
    most: Annotated[int, DERIVED] = 8  # faces of a passage that vote

    def zone(self) -> ZoneInfo | None:
        """The time zone; None for this machine's. Raises Usage."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (ZoneInfoNotFoundError, ValueError):
            raise Usage(
                f"there is no time zone {self.timezone!r}: set gate.timezone to one like Europe/Berlin"
            ) from None

    def windows(self) -> dict[str, tuple[Window, ...]]:
        """Each group's windows. Raises Usage."""
        return {name: tuple(window(text) for text in group.windows) for name, group in self.groups.items()}

    def door_of(self, camera: str) -> DoorConfig | None:
        """The door that `camera` stands in front of; None where it watches none."""
        return next((door for door in self.doors if door.has(camera)), None)
