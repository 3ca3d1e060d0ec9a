"""1:1: is it the holder of the badge that was shown?"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stages.gate.enrolled import Enrolled
from stages.gate.passage import Passage


def claim(passage: Passage, enrolled: Enrolled) -> Passage | None:
    """A passage with all its votes on the holder of its badge; None where there is no holder, or nothing to compare."""
    badge = passage.badge
    holder = next((id_ for id_, (_, access) in enrolled.rules.items() if badge and badge in access.badges), None)
    if holder is None or not passage.votes:
        return None
    seen = [*passage.votes, passage.newest or passage.votes[-1]]
    likeness = enrolled.faces.similarity(holder, np.stack([vote.face for vote in seen]))
    *votes, newest = [
        msgspec.structs.replace(vote, person=holder, similarity=None if math.isnan(near) else near)
        for vote, near in zip(seen, likeness.tolist(), strict=True)
    ]
    return Passage(passage.camera, votes=votes, newest=newest)
