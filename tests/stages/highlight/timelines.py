"""Timelines made up for tests."""

from __future__ import annotations

import numpy as np

from stages.highlight.timeline import SECOND, SIGNALS, Timeline, Video


def timeline(
    seconds: int,
    *,
    path: str = "a.mp4",
    cuts: tuple[float, ...] = (),
    pauses: tuple[tuple[float, float], ...] | None = None,
    looks: list[int] | None = None,
    seen: dict[str, list[int]] | None = None,
    **signals: list[float],
) -> Timeline:
    """A video of so many seconds; `looks` numbers the scene of each second, `seen` says in which a person is.

    Times are in seconds.
    """
    blank = np.full(seconds, np.nan, np.float32)
    given = {name: np.array(values, np.float32) for name, values in signals.items()}
    stretches = [(0.0, float(seconds))] if pauses is None else pauses
    return Timeline(
        video=Video(path, "0" * 64, 640, 360, 0, seconds * SECOND, seconds * 25, True),
        signals={name: given.get(name, blank) for name in SIGNALS},
        cuts_ns=np.array([cut * SECOND for cut in cuts], np.int64),
        pauses_ns=(np.array(stretches, np.float64).reshape(-1, 2) * SECOND).astype(np.int64),
        centre=blank,
        look=np.eye(64, dtype=np.float32)[looks or [0] * seconds],
        known={name: np.isin(np.arange(seconds), at) for name, at in (seen or {}).items()},
    )
