"""What the evidence of a passage comes to: no clock, no database and no door, only what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np

from stages.events.records import Outcome
from stages.gallery.people import Access
from stages.gallery.windows import Window
from stages.gate.config import ACTIVE, PASSIVE, DoorConfig, GateConfig
from stages.gate.passage import NEEDED, Passage, Vote, is_recent, near
from stages.gate.rules import depends_on_time, refusal


class Verdict(NamedTuple):
    """A decision in the making."""

    outcome: Outcome
    reason: str  # one word, for programs; "" where the door opens
    why: str  # a sentence


class Accepted(NamedTuple):
    """Whom a passage's votes are for."""

    person: str
    votes: tuple[Vote, ...]
    newest: Vote  # of the face that was the last to be like them, a vote or not

    @property
    def newest_ns(self) -> int:
        """When that face was captured, on this host's monotonic clock."""
        return self.newest.captured_ns

    @property
    def score(self) -> float:
        """The similarity that `NEEDED` of the votes reach: what the threshold was calibrated for."""
        return sorted((vote.similarity or 0.0 for vote in self.votes), reverse=True)[NEEDED - 1]

    @property
    def live(self) -> float | None:
        """The median live score of these votes; None with less than `NEEDED` scores."""
        scores = [vote.live for vote in self.votes if vote.live is not None]
        return float(np.median(scores)) if len(scores) >= NEEDED else None


class Surroundings(NamedTuple):
    """What is so at the moment of a decision."""

    door: DoorConfig
    calibrated: bool  # the threshold was measured for this model and gallery
    moment: datetime  # in the door's time zone
    clock_believed: bool
    live_threshold: float  # NaN where nothing tells live faces
    presence: tuple[bool, float] | None  # whether the person came in last, and how many minutes ago
    companion: str  # id of somebody else who may come in and was seen just before; "" for nobody
    turned_ns: int | None  # when the head had been turned as asked, monotonic; None where it has not been
    turn_failed: str  # why it will not be any more, or ""


def accepted(passage: Passage, threshold: float, captured_ns: int) -> Accepted | None:
    """Whom at least `NEEDED` votes that are not too old at `captured_ns` are for; None where there is nobody.

    Votes from after that do not count either. All are by one boot's clock.
    """
    person = passage.leader(threshold)

    def counts(vote: Vote) -> bool:
        return vote.person == person and near(vote, threshold) and is_recent(vote, captured_ns)

    votes = tuple(filter(counts, passage.votes))
    if not person or len(votes) < NEEDED:
        return None
    seen = votes if passage.newest is None else (*votes, *filter(counts, [passage.newest]))
    return Accepted(person, votes, max(seen, key=lambda vote: vote.captured_ns))


def judge(
    found: Accepted,
    name: str,
    access: Access,
    config: GateConfig,
    groups: Mapping[str, Sequence[Window]],
    now: Surroundings,
) -> Verdict | Literal["live?", "turn?"]:
    """The verdict on somebody who was recognized, or what it still waits for."""
    if by_rules := barred(name, access, groups, now.moment, now.clock_believed):
        return by_rules
    if config.liveness in PASSIVE and not is_live(found, now.live_threshold):
        return "live?"
    if config.liveness in ACTIVE:
        if now.turn_failed:
            return Verdict("refused", "challenge", f"{name} did not turn the head as asked ({now.turn_failed})")
        # The face that comes back from the turn has to be the one that was recognized, and not only its track.
        if now.turned_ns is None or found.newest_ns < now.turned_ns:
            return "turn?"
    if passed := passback(now.door, now.presence, now.clock_believed, name):
        return passed
    if not now.calibrated and now.door.output not in config.simulated:
        return Verdict("refused", "uncalibrated", "no threshold is calibrated for this model and gallery")
    if now.door.two_person_seconds and not now.companion:
        return Verdict("held", "second-person", f"{name} may come in with a second person")
    beside = " together with a second person" if now.companion else ""  # no name: it would outlive who has it
    return Verdict("opened", "", f"{name} may come in{beside}")


def barred(
    name: str, access: Access, groups: Mapping[str, Sequence[Window]], moment: datetime, clock_believed: bool
) -> Verdict | None:
    """Why somebody may come in by no door at `moment`, as `refusal` has it; None where they may."""
    if access.watch:
        return watched(name)
    if not clock_believed and depends_on_time(access, groups):
        return Verdict("refused", "clock", f"the clock is in doubt, and {name} may come in at certain times only")
    not_now = refusal(access, groups, moment)
    return Verdict("refused", not_now.reason, f"{name} {not_now.why}") if not_now else None


def watched(name: str) -> Verdict:
    """The verdict on somebody on the watch list."""
    return Verdict("alarm", "watch-list", f"{name} is on the watch list")


def is_live(found: Accepted, threshold: float) -> bool:
    """Whether the network that tells live faces lets this one pass; without one, or without scores, no.

    The newest face has to pass by itself, too: it may be a photo of whom the others showed.
    """
    return passes(found.live, threshold) and passes(found.newest.live, threshold)


def passes(score: float | None, threshold: float) -> bool:
    """Whether a score of liveness is enough; none, or no threshold (NaN), is not."""
    return score is not None and score >= threshold


def passback(door: DoorConfig, presence: tuple[bool, float] | None, clock_believed: bool, name: str) -> Verdict | None:
    """Why somebody who came in already may not come in again; `presence` as in `Surroundings`."""
    if door.passback == "off" or presence is None:
        return None
    inside, minutes = presence
    if door.passback == "timed":
        if inside and door.direction == "in" and not clock_believed:
            return Verdict("refused", "clock", f"the clock is in doubt, and {name} came in not long ago, perhaps")
        if inside and door.direction == "in" and minutes < door.passback_minutes:
            return Verdict("refused", "passback", f"{name} came in {minutes:.0f} minutes ago")
        return None
    if inside == (door.direction == "in"):
        return Verdict("refused", "passback", f"{name} has gone {door.direction} already, and not back")
    return None
