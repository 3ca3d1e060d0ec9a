"""Join the faces of successive frames into tracks: who stands before the camera is decided once, not in every frame.

ByteTrack (Zhang et al. 2022, arXiv:2110.06864) as the library `trackers` (Roboflow, Apache-2.0) has it. It is worth a
dependency: association in two stages, motion filter, optimal assignment and the life of lost tracks are some thousand
lines that its authors measure on MOT17, SportsMOT and SoccerNet and keep alive, and it goes by the times of frames, not
by their number. What it costs: its package imports scipy, requests and supervision whichever part is asked for (0.5 s
and 60 MB, when the stage is built); a frame of eight faces then takes 0.6 ms. It opens no connection: only its
downloads of data sets and videos do, and nothing here calls them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pipeline.config import Config
from pipeline.types import Detections

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

FRAMES_A_SECOND = 30.0  # the unit that the library counts time in, whatever the camera's rate
FIRST_IDS = 1 << 30  # ids begin at random below this


class TrackConfig(Config, frozen=True):
    """`[track]`"""

    score: Annotated[float, Meta(gt=0, lt=1)] = 0.6  # a face begins a track from here on; a weaker one only prolongs it
    lost_seconds: Annotated[float, Meta(ge=0, le=30)] = 1.0  # a track that is out of sight for longer has ended


class Track:
    """Detections -> Detections with tracks, each source by itself; rows stay as they are.

    The first frame of a track has no id yet (-1), as a single false face must not become one. Ids are never used twice:
    each process counts from a random one, through all its sources.
    """

    def __init__(self, config: TrackConfig) -> None:
        import supervision
        from trackers import ByteTrackTracker

        self._boxes = supervision.Detections
        self._tracker = partial(
            ByteTrackTracker,
            lost_track_buffer=round(config.lost_seconds * FRAMES_A_SECOND),
            frame_rate=FRAMES_A_SECOND,
            track_activation_threshold=config.score,
            high_conf_det_threshold=config.score,
        )
        self._ids = count(secrets.randbelow(FIRST_IDS))
        self._sources: dict[str, _Source] = {}

    def __call__(self, found: Detections) -> Detections:
        frame = found.frame
        source = self._sources.get(frame.source)
        if source is None or frame.pts_ns <= source.last_ns:  # a stream that begins anew shows other people
            source = self._sources[frame.source] = _Source(self._tracker(), frame.pts_ns)
        source.last_ns = frame.pts_ns
        tracked = source.tracker.update(
            # The library returns the boxes in another order: each brings its row along.
            self._boxes(xyxy=found.boxes, confidence=found.scores, data={"row": [*range(len(found.boxes))]}),
            timestamp=(frame.pts_ns - source.first_ns) / 1e9,
        )
        tracks = np.full(len(found.boxes), -1, np.int32)
        if tracked.tracker_id is not None and len(tracked):
            tracks[tracked.data["row"]] = source.named(tracked.tracker_id.tolist(), self._ids)
        return msgspec.structs.replace(found, tracks=tracks)


class _Source:
    """One source's tracker, and what its tracks are called here."""

    def __init__(self, tracker: ByteTrackTracker, first_ns: int) -> None:
        self.tracker = tracker
        self.first_ns = self.last_ns = first_ns  # pts
        self._names = {-1: -1}  # the library's id -> ours

    def named(self, theirs: list[int], ids: Iterator[int]) -> list[int]:
        """Our ids for `theirs`, of `ids` where one is new."""
        alive = {-1, *theirs, *(track.tracker_id for track in self.tracker.tracks)}
        self._names = {one: name for one, name in self._names.items() if one in alive}
        for one in theirs:
            if one not in self._names:
                self._names[one] = next(ids)
        return [self._names[one] for one in theirs]
