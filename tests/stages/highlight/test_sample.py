"""Sample, and all that measures on small pictures one after the other, as they are in one process."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.types import Frame
from stages.highlight.look import COLUMNS, Look, LookConfig
from stages.highlight.motion import Motion, MotionConfig
from stages.highlight.recorder import Recorder
from stages.highlight.sample import Sample, SampleConfig
from stages.highlight.store import Store
from stages.highlight.text import Text, TextConfig

from .moving import SECOND, Shown, decoded, rows


@pytest.mark.parametrize(("rate", "fps"), [(5.0, 30.0), (5.0, 29.97), (5.0, 3.0), (2.5, 25.0)])
def test_the_first_frame_of_each_tick(tmp_path: Path, rate: float, fps: float) -> None:
    sample = Sample(SampleConfig(rate=rate, store=str(tmp_path / "signals")))
    frames = [Frame("film", seq, 1, int(seq / fps * SECOND), 1, 0, 2, 64, 36) for seq in range(200)]
    passed = [frame for frame in frames if sample(frame) is not None]
    ticks = [int(frame.pts_ns * rate / SECOND) for frame in passed]
    assert ticks == sorted({int(frame.pts_ns * rate / SECOND) for frame in frames})
    assert len(passed) == pytest.approx(200 * min(1, rate / fps), abs=1)


class Chain:
    """The process."""

    def __init__(self, folder: Path, shown: Shown) -> None:
        store = str(folder / "signals")
        motion = MotionConfig(store=store, source="film")
        self.sample = Sample(SampleConfig(store=store, motion=motion.key))
        self.recorders: list[Recorder] = [
            Motion(motion, shown),
            Text(TextConfig(store=store, source="film"), shown),
            Look(LookConfig(store=store, source="film"), shown),
        ]
        self.stages = [self.recorders[0], self.sample, *self.recorders[1:]]

    @property
    def done(self) -> int:
        """As the process says: where the stage stands that is farthest behind."""
        return min(stage.resume().get("film", -1) for stage in self.recorders)

    def __call__(self, frame: Frame, stages: int = 4) -> None:
        """Run the first so many stages."""
        message: Frame | None = frame
        for stage in self.stages[:stages]:
            if message is not None:
                message = stage(message)

    def close(self) -> None:
        for stage in self.stages:
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

    What comes then begins behind what all stages have; or, where the frames since were acknowledged, behind them.
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
        first = at if acknowledged else chain.done + 1
        for again in frames[first:at]:
            chain(again)
        chain(frame, stages=at % 5)
        chain.close()
        if acknowledged:  # what was not done comes again
            chain = Chain(tmp_path / "killed", shown)
            chain(frame)
            chain.close()
    chain = Chain(tmp_path / "killed", shown)
    for again in frames[chain.done + 1 :]:
        chain(again)
    chain.close()
    for expected, found in zip(measured(tmp_path / "whole"), measured(tmp_path / "killed"), strict=True):
        assert np.array_equal(expected, found, equal_nan=True)


def test_the_frame_before_the_first_that_comes_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "signals")
    for key, pts_ns in (("1", 300_000_000), ("2", 100_000_000)):  # of another measurement
        track = store.track("motion", key)
        with track.transaction():
            track.add(6, 0, [0])
            track.add(7, pts_ns, [0])
            track.add(8, 350_000_000, [0])  # Motion has seen it, too
    store.close()
    frame = Frame("film", 8, 1, 350_000_000, 1, 0, 2, 64, 36)
    for key, passes in (("1", False), ("2", True), ("3", True)):
        sample = Sample(SampleConfig(store=str(tmp_path / "signals"), motion=key))
        assert (sample(frame) is frame) == passes
        sample.close()
