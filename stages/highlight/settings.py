"""What the config file of `highlights` may set, and what each stage is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from pipeline.briefing import EngineConfig
from pipeline.config import Config
from pipeline.home import home, keys
from stages.capture import CaptureConfig
from stages.crop import CropConfig
from stages.detect import DetectConfig
from stages.gallery.store import Store as Gallery
from stages.highlight.faces import FacesSeenConfig
from stages.highlight.look import LookConfig
from stages.highlight.motion import MotionConfig
from stages.highlight.people import DetectPeopleConfig, PeopleConfig
from stages.highlight.sample import SampleConfig
from stages.highlight.shots import ShotsConfig
from stages.highlight.sound import SoundConfig
from stages.highlight.text import TextConfig
from stages.match import MatchConfig
from stages.nms import NmsConfig


class HighlightSettings(Config, frozen=True):
    """A table for the engine and one for each stage."""

    engine: EngineConfig = EngineConfig()
    capture: CaptureConfig = CaptureConfig()
