"""A reel of three real clips: one is long and silent, one begins late, one is HD."""

from pathlib import Path

import pytest

from stages.highlight.thumbs import Thumb, thumbs
from stages.highlight.timeline import Reel
from tests.stages.highlight.reel import reel, video

CLIPS = ("one-by-one-person-detection.mp4", "short_hamilton_clip.mp4", "facenet_pytorch_video.mp4")


@pytest.fixture(scope="session")
def clips(shared: Path) -> Reel:
    return reel([video(shared / "videos" / name) for name in CLIPS])


@pytest.fixture(scope="session")
def clip_thumbs(clips: Reel) -> list[Thumb]:
    return thumbs(clips)
