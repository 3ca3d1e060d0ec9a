import msgspec
import pytest

from stages.highlight.settings import MOST_BYTES, HighlightEngineConfig, HighlightSettings
from stages.highlight.shots import STEP


def test_small_frames_have_room_for_all_that_shots_computes_of_at_once() -> None:
    settings = msgspec.convert({"engine": {"watchdog_s": 90.0}}, HighlightSettings)
    engine = settings.engine.fitted(640, 360)
    assert engine.slots > STEP
    assert engine.watchdog_s == 90


@pytest.mark.parametrize(("width", "height", "slots"), [(1920, 1080, 43), (1080, 1920, 43), (3840, 2160, 16)])
def test_large_frames_have_fewer_slots_but_no_fewer_than_in_other_graphs(width: int, height: int, slots: int) -> None:
    assert HighlightEngineConfig().fitted(width, height).slots == slots
    assert slots == 16 or slots * width * height * 3 <= MOST_BYTES


@pytest.mark.parametrize("width", [64, 3840])
def test_fewer_slots_that_are_asked_for_stay(width: int) -> None:
    assert HighlightEngineConfig(slots=8).fitted(width, 2160).slots == 8
