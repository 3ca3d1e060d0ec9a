"""1:1: is it the holder of the badge that was shown?"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stages.gate.enrolled import Enrolled
from stages.gate.passage import BADGES, Passage


def claim(passage: Passage, enrolled: Enrolled, most: int) -> Passage | None:
    """A passage with its votes on the holder of its badge; None where there is no holder, or nothing to compare.

    `most` faces of a passage are compared with each holder, however often the badge is shown.
    """
    holder = whose(passage.badge, enrolled)
    tried = passage.holders.get(holder)
    if tried is None or holder not in enrolled.rules:
        return None
    fresh = [vote.captured_ns for vote in passage.votes if vote.captured_ns not in tried]
    tried += fresh[: max(0, most - len(tried))]
    compared = [vote for vote in passage.votes if vote.captured_ns in tried]
    if not compared:
        return None
    seen = [*compared, passage.newest or compared[-1]]
    likeness = enrolled.faces.similarity(holder, np.stack([vote.face for vote in seen]))
    *votes, newest = [
        msgspec.structs.replace(vote, person=holder, similarity=None if math.isnan(near) else near)
        for vote, near in zip(seen, likeness.tolist(), strict=True)
    ]
    return Passage(passage.camera, votes=votes, newest=newest)


def whose(badge: str, enrolled: Enrolled) -> str:
    """The id of the holder of a badge (its HMAC); the badge itself where it is nobody's."""
    return enrolled.holders.get(badge, badge)


def counts(badge: str, passage: Passage, enrolled: Enrolled) -> bool:
    """Whether the faces of a passage may be compared with the holder of a badge that was shown.

    Not once it has failed, and with `BADGES` holders at most: else all that somebody can get hold of could be tried
    before a single face.
    """
    if not badge or not passage.votes or badge in passage.failed:
        return False
    return whose(badge, enrolled) in passage.holders or len(passage.holders) < BADGES
