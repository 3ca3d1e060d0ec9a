"""Faces: how many there are in a frame, how near the nearest one is, where they are, and whose they are."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import DERIVED, PATH, Config
from pipeline.home import home
from pipeline.registry import resolve, sha256_of
from pipeline.types import Crops, Matches
from stages.crop import CropConfig
from stages.detect import DetectConfig
from stages.highlight.known import FOLDER, Known
from stages.highlight.people import digest, measured
from stages.highlight.recorder import Recorder
from stages.highlight.store import KNOWN
from stages.match import Match, MatchConfig
from stages.nms import NmsConfig

VERSION = 1  # of what is written; another one is measured anew


class Recognize(Match):
    """`Match` whose Matches have ids in place of names: a name is kept in the gallery and nowhere else.

    Who is forgotten while it runs, or was while it did not, is forgotten in the videos' files, too.
    """

    def __init__(self, config: MatchConfig) -> None:
        super().__init__(config, Known(home() / FOLDER))

    def __call__(self, messages: list[Crops]) -> list[Matches]:
        """As `Match`; where nobody is enrolled, no face is embedded: that would take longer than all else of it."""
        return super().__call__(messages) if len(self._gallery.now) else [_nobody(crops) for crops in messages]

    def _matches(
        self,
        crops: Crops,
        people: NDArray[Any],
        names: NDArray[Any],
        similarity: NDArray[np.float32],
        embeddings: NDArray[np.float32],
    ) -> Matches:
        return super()._matches(crops, people, np.where(names == "", "", people), similarity, embeddings)


def _nobody(crops: Crops) -> Matches:
    count = len(crops.found.boxes)
    return Matches(crops.found, ("",) * count, np.full(count, np.nan, np.float32))


class FacesSeenConfig(Config, frozen=True):
    """Where it writes, and what has found the faces."""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""  # the video's file
    source: Annotated[str, DERIVED] = ""  # the video's name in the run
    rate: Annotated[float, DERIVED] = 5.0  # of the frames that come, a second
    detect: Annotated[DetectConfig, DERIVED] = DetectConfig()
    nms: Annotated[NmsConfig, DERIVED] = NmsConfig()
    crop: Annotated[CropConfig, DERIVED] = CropConfig()
    match: Annotated[MatchConfig, DERIVED] = MatchConfig()
    enrolled: Annotated[str, DERIVED] = ""  # as `known.enrolled` has it: somebody new is looked for in each video

    @property
    def key(self) -> str:
        """What the measurement depends on."""
        detect, match = self.detect, self.match
        found = detect.identity, detect.threshold, detect.top_k, self.nms
        embedder = sha256_of(resolve(match.model)), match.layout
        return digest(VERSION, self.rate, *found, self.crop, *embedder, match.threshold, self.enrolled)


class FacesSeen(Recorder):
    """Matches of `Recognize` -> the track "faces", as `measured` has it, one row a frame; and who was recognized.

    A person's track is "known:" and their id in hex: a row (1,) for each frame in which they are, the cosine of their
    nearest face.
    """

    TRACK = "faces"

    def __init__(self, config: FacesSeenConfig) -> None:
        super().__init__(config)
        self._key = config.key

    def __call__(self, matches: Matches) -> None:
        frame = matches.frame
        if frame.seq <= self._last:
            return
        nearest: dict[str, float] = {}
        for person, similarity in zip(matches.names, matches.similarity.tolist(), strict=True):
            if person:
                nearest[person] = max(similarity, nearest.get(person, similarity))
        with self._store.transaction():  # no track in it may be forgotten meanwhile
            self._track.add(frame.seq, frame.pts_ns, measured(matches.found.boxes, frame))
            for person, cosine in nearest.items():
                self._store.track(KNOWN + person, self._key).add(frame.seq, frame.pts_ns, [cosine])
        self._last = frame.seq
