"""What the config file of `highlights` may set, and what each stage is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from pipeline.briefing import EngineConfig
from pipeline.config import Config
from stages.capture import CaptureConfig
from stages.crop import CropConfig
from stages.detect import DetectConfig
from stages.gallery.people import Person
from stages.highlight.faces import FacesSeenConfig
from stages.highlight.known import enrolled
from stages.highlight.look import LookConfig
from stages.highlight.motion import MotionConfig
from stages.highlight.people import DetectPeopleConfig, PeopleConfig
from stages.highlight.sample import RATE, SampleConfig
from stages.highlight.shots import ShotsConfig
from stages.highlight.sound import SoundConfig
from stages.highlight.text import TextConfig
from stages.match import MatchConfig
from stages.nms import NmsConfig

SOURCE = "video"  # what it is called in the run
MOST_BYTES = 256 << 20  # of a video's frames in shared memory: 43 of 1080p


class HighlightEngineConfig(EngineConfig, frozen=True):
    """`[engine]`"""

    # Shots computes for 50 frames at once, and takes none meanwhile: the others go on as long as there is room.
    slots: Annotated[int, Meta(ge=4, le=256)] = 64

    def fitted(self, width: int, height: int) -> HighlightEngineConfig:
        """With no more slots for frames of this size than MOST_BYTES hold, or than other graphs have."""
        return replace(self, slots=min(self.slots, max(EngineConfig().slots, MOST_BYTES // (3 * width * height))))


class HighlightSettings(Config, frozen=True):
    """A table for the engine and one for each stage that has something to choose."""

    engine: HighlightEngineConfig = HighlightEngineConfig()
    capture: CaptureConfig = CaptureConfig()
    shots: ShotsConfig = ShotsConfig()
    people: DetectPeopleConfig = DetectPeopleConfig()
    detect: DetectConfig = DetectConfig()  # of faces
    nms: NmsConfig = NmsConfig()
    crop: CropConfig = CropConfig()
    match: MatchConfig = MatchConfig()

    def by_stage(self, people: Sequence[Person], rate: float = RATE) -> dict[str, Config]:
        """The config of each stage under its class's name, with `people` enrolled, at `rate` samples a second."""
        faces = FacesSeenConfig(
            source=SOURCE,
            rate=rate,
            detect=self.detect,
            nms=self.nms,
            crop=self.crop,
            match=self.match,
            enrolled=enrolled(people),
        )
        seen = PeopleConfig(source=SOURCE, rate=rate, detect=self.people, nms=self.nms)
        motion = MotionConfig(source=SOURCE)
        return {
            "Capture": self.capture,
            "Sound": SoundConfig(),
            "Shots": replace(self.shots, source=SOURCE),
            "Motion": motion,
            "Sample": SampleConfig(rate=rate, motion=motion.key),
            "Text": TextConfig(source=SOURCE, rate=rate),
            "Look": LookConfig(source=SOURCE, rate=rate),
            "DetectPeople": self.people,
            "Nms": self.nms,
            "People": seen,
            "Detect": self.detect,
            "Crop": self.crop,
            "Recognize": self.match,
            "FacesSeen": faces,
        }
