"""Who is enrolled, and how near a face has to be to be theirs: both followed as they change."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.home import home
from pipeline.types import Faces
from stages.events.ledger import Ledger
from stages.events.snapshots import Noted
from stages.gallery.index import Gallery, LiveGallery
from stages.gallery.people import Access
from stages.gate import calibration
from stages.gate.config import GateConfig

UNCALIBRATED = "nothing was calibrated: run gate calibrate"


class Enrolled:
    """The gallery of the model that the faces were embedded with: nobody before there were any, or are from before.

    `objection` is why a match is not to be relied on, or "".
    """

    def __init__(self, config: GateConfig, ledger: Ledger) -> None:
        """Of whom is forgotten nothing is left in `ledger`."""
        self._config, self._ledger = config, ledger
        self._gallery: LiveGallery | None = None
        self._model = ""
        self._calibration: calibration.Calibration | None = None
        self.objection = UNCALIBRATED
        self.threshold = math.inf  # cosine
        self.live_threshold = math.nan

    @property
    def far(self) -> float | None:
        """The false accept rate of a passage that the threshold was calibrated for; None where it does not hold."""
        return self._calibration.far if self._calibration and not self.objection else None

    @property
    def rules(self) -> Mapping[str, tuple[str, Access]]:
        """Name and rules of everybody, by id."""
        return self._gallery.rules if self._gallery else {}

    @property
    def holders(self) -> Mapping[str, str]:
        """Whose each badge (its HMAC) is, by id."""
        return self._gallery.holders if self._gallery else {}

    @property
    def faces(self) -> Gallery:
        """Everybody's faces."""
        assert self._gallery is not None
        return self._gallery.now

    def name(self, person: str) -> str:
        """What somebody (by id) is called; "" for a stranger."""
        return self.rules[person][0] if person in self.rules else ""

    def watched(self, person: str) -> bool:
        """Whether somebody (by id) is on the watch list."""
        return person in self.rules and self.rules[person][1].watch

    def follow(self, faces: Faces) -> bool:
        """Go by the model and the thresholds of these faces; whether that is the first look at who is enrolled."""
        first = self.open(faces.model, faces.threshold)
        self.live_threshold = faces.live_threshold
        if self._calibration:
            config, photos = self._config, self.faces.counts
            asked = (faces.model, config.detector, config.mode, config.far, faces.threshold, photos, config.most)
            self.objection = self._calibration.objection(*asked)
        return first

    def open(self, model: str, threshold: float) -> bool:
        """Go by a model and a threshold, cosine; whether that is the first look at who is enrolled."""
        self.threshold = threshold
        if model == self._model:
            return False
        self.close()
        self._gallery = LiveGallery(home(), model, "the gate", remembers=Noted(self._ledger))
        self._model = model
        self._gallery.exchange(self._ledger)  # before the first decision
        self._calibration = calibration.load(home())
        self.objection = UNCALIBRATED  # until it is looked at, with the first faces
        return True

    def refresh(self) -> bool:
        """Look whether the gallery has changed, and who came in and went out by the gates of other hosts."""
        if self._gallery is None:
            return False
        changed = self._gallery.refresh()
        self._gallery.exchange(self._ledger)
        return changed

    def close(self) -> None:
        """Follow it no longer."""
        if self._gallery:
            self._gallery.close()
