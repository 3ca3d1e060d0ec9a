"""Sample, and all that measures on small pictures one after the other, as they are in one process."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.types import Frame
from stages.highlight.look import COLUMNS, Look, LookConfig
from stages.highlight.motion import Motion, MotionConfig
from stages.highlight.sample import Sample, SampleConfig
from stages.highlight.store import Store
from stages.highlight.text import Text, TextConfig

from .moving import SECOND, Shown, decoded, rows


@pytest.mark.parametrize(("rate", "fps"), [(5.0, 30.0), (5.0, 29.97), (5.0, 3.0), (2.5, 25.0)])
def test_the_first_frame_of_each_tick(tmp_path: Path, rate: float, fps: float) -> None:
    sample = Sample(SampleConfig(rate=rate, store=str(tmp_path / "signals"), track="look", key="1"))
    frames = [Frame("film", seq, 1, int(seq / fps * SECOND), 1, 0, 2, 64, 36) for seq in range(200)]
    passed = [frame for frame in frames if sample(frame) is not None]
    ticks = [int(frame.pts_ns * rate / SECOND) for frame in passed]
    assert ticks == sorted({int(frame.pts_ns * rate / SECOND) for frame in frames})
    assert len(passed) == pytest.approx(200 * min(1, rate / fps), abs=1)


class Chain:
    """The process: returns whether the frame went through to the end."""

    def __init__(self, folder: Path, shown: Shown) -> None:
        store = str(folder / "signals")
        look = LookConfig(store=store, source="film")
        sample = SampleConfig(store=store, track="look", key=look.key)
        self.ending = Look(look, shown)
        self.stages = [
            Motion(MotionConfig(store=store), shown),
            Sample(sample),
            Text(TextConfig(store=store), shown),
            self.ending,
        ]

    def __call__(self, frame: Frame, stages: int = 4) -> None:
        """Run the first so many stages."""
        message: Frame | None = frame
        for stage in self.stages[:stages]:
            if message is not None:
                message = stage(message)

    def close(self) -> None:
        for stage in self.stages:
            if not isinstance(stage, Sample):
                stage.close()


def measured(folder: Path) -> list[np.ndarray]:
    store = str(folder / "signals")
    keys = {"motion": MotionConfig().key, "text": TextConfig().key, "look": LookConfig().key}
    columns = {"motion": 3, "text": 1, "look": COLUMNS}
    found = [rows(Path(store), name, keys[name], columns[name]) for name in keys]
    return [part for track in found for part in track]


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_kill_at_any_moment_changes_nothing(shared: Path, tmp_path: Path, acknowledged: bool) -> None:
    """Killed behind each stage of each frame in turn.

    What comes then begins behind the last row of Look; or, where the frames since were acknowledged, behind them.
    """
    shown = Shown(decoded(shared / "videos" / "short_hamilton_clip.mp4", 24))
    frames = shown.tickets()
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    chain = Chain(tmp_path / "whole", shown)
    for frame in frames:
        chain(frame)
    chain.close()
    for at, frame in enumerate(frames):
        chain = Chain(tmp_path / "killed", shown)
        first = at if acknowledged else chain.ending.resume().get("film", -1) + 1
        for again in frames[first:at]:
            chain(again)
        chain(frame, stages=at % 5)
        chain.close()
        if acknowledged:  # what was not done comes again
            chain = Chain(tmp_path / "killed", shown)
            chain(frame)
            chain.close()
    chain = Chain(tmp_path / "killed", shown)
    for again in frames[chain.ending.resume()["film"] + 1 :]:
        chain(again)
    chain.close()
    for expected, found in zip(measured(tmp_path / "whole"), measured(tmp_path / "killed"), strict=True):
        assert np.array_equal(expected, found, equal_nan=True)


def test_its_own_track_alone_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "signals")
    for key in ("1", "2"):
        track = store.track("look", key)
        with track.transaction():
            track.add(int(key), int(key) * SECOND, [0])
    store.close()
    sample = Sample(SampleConfig(store=str(tmp_path / "signals"), track="look", key="1"))
    one, two = (Frame("film", seq, 1, seq * SECOND, 1, 0, 2, 64, 36) for seq in (1, 2))
    assert sample(one) is None
    assert sample(two) == two
