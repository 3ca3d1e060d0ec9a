"""What is decided about each passage, and written down with all that follows before anything moves."""

from __future__ import annotations

import hashlib
import math
import time

from pipeline.types import Faces
from stages.events.ledger import Ledger
from stages.events.records import Ballot, Decision, Order
from stages.gallery.people import Access
from stages.gate.badges import claim, counts, whose
from stages.gate.bystanders import Bystanders, own_track
from stages.gate.clock import Clock, wall_ns
from stages.gate.config import PASSIVE, DoorConfig, GateConfig
from stages.gate.enrolled import Enrolled
from stages.gate.judge import Accepted, Surroundings, Verdict, accepted, barred, judge, passback, passes, watched
from stages.gate.pairs import Pairs
from stages.gate.passage import NEEDED, Passage, Vote, near
from stages.gate.passages import Passages
from stages.gate.turns import Turns

SECOND = 1_000_000_000
COMMAND_NS = 2 * SECOND  # a door command that was not carried out by then is not carried out
SAID = {"opened": "come in", "refused": "no entry", "held": "wait for a second person", "alarm": "no entry"}
UNKNOWN = Verdict("refused", "unknown", "nobody who is enrolled was recognized")
NOT_THE_HOLDER = Verdict("refused", "not-the-holder", "the face is not that of the badge's holder")


class Decisions:
    """The decisions about open passages."""

    def __init__(
        self,
        config: GateConfig,
        ledger: Ledger,
        clock: Clock,
        enrolled: Enrolled,
        passages: Passages,
        bystanders: Bystanders,
    ) -> None:
        self._config, self._groups = config, config.windows()
        self._ledger, self._clock, self._enrolled = ledger, clock, enrolled
        self._passages, self._bystanders = passages, bystanders
        self._turns, self._pairs = Turns(config.challenge_seconds), Pairs()
        self._late: dict[str, Accepted] = {}  # by passage, who would have been let in if the pictures had been in time

    def consider(self, faces: Faces, row: int, now: int) -> str:
        """Decide about the passage that a face belongs to, if there is enough to decide on; what to say to it."""
        assert faces.found.tracks is not None
        track = int(faces.found.tracks[row])
        passage = self._passages.of(track) if track >= 0 else None
        door = self._config.door_of(passage.camera) if passage else None
        if passage is None or door is None:
            return ""
        if passage.decided:
            if (seen := passage.newest) and seen.person == passage.person and self._is_present(seen):
                self._pairs.seen(door.name, passage.person, seen.captured_ns)
            return passage.said
        self._turns.see(passage, faces, row, track)
        if self._config.mode == "1:1":
            self._see_badge(passage, door, now)
        found = self._found(passage, faces.frame.captured_ns)
        rule = self._enrolled.rules.get(found.person) if found else None
        if found is None or rule is None:
            return self._wait(passage, door, now, "", UNKNOWN if self._config.mode == "1:N" else NOT_THE_HOLDER)
        other = self._elsewhere(passage, door, found.person)
        if other and not other.settled:
            passage.decided, passage.person, passage.said = True, found.person, other.said
            self.forget(passage)
            return passage.said
        around = self._surroundings(passage, door, found)
        verdict = judge(found, *rule, self._config, self._groups, around)
        if verdict == "live?":
            refused = Verdict("refused", "not-live", f"a face like {rule[0]}'s was not found to be live")
            return self._wait(passage, door, now, "look at the camera", refused)
        if verdict == "turn?":
            passage.said = self._turns.ask(passage, door.name, found)
            return passage.said
        age_ms = (time.monotonic_ns() - found.newest_ns) / 1e6
        if verdict.outcome in ("opened", "held") and age_ms > self._config.deadline_ms:
            self._late[passage.id] = found
            return ""  # too old to let anybody in; the next face that is compared may be in time
        return self._decide(passage, door, verdict, found, age_ms)

    def settle(self, passage: Passage) -> None:
        """Somebody has gone who was not decided about."""
        passage.settled = True
        door = self._config.door_of(passage.camera)
        if passage.after_another or door is None or not passage.votes or passage.failed:
            passage.decided = True
            return
        last_ns = max(vote.captured_ns for vote in passage.votes)
        late = self._late.get(passage.id)
        found = late or accepted(passage, self._enrolled.threshold, last_ns)
        if found is None or found.person not in self._enrolled.rules:
            self._decide(passage, door, UNKNOWN, None, None)
        elif self._elsewhere(passage, door, found.person):
            passage.decided, passage.person = True, found.person
        elif self._enrolled.watched(found.person):
            self._decide(passage, door, watched(self._enrolled.name(found.person)), found, None)
        elif late:
            self._decide(passage, door, self._too_late(late), late, None)
        elif self._config.mode == "1:1":
            verdict = Verdict("refused", "no-badge", "no badge was shown that goes with this face")
            self._decide(passage, door, verdict, found, None)
        else:
            verdict = Verdict("refused", "gone", "somebody was recognized and went before all was sure")
            self._decide(passage, door, verdict, found, None)

    def forget(self, passage: Passage) -> None:
        """A passage is over, or merged into another."""
        self._late.pop(passage.id, None)
        self._turns.forget(passage)

    def _see_badge(self, passage: Passage, door: DoorConfig, now: int) -> None:
        """Which badge counts for a passage, and whom that compares its faces with."""
        shown = self._ledger.claimed(door.name, now) or ""
        badge = shown if counts(shown, passage, self._enrolled) else ""
        if badge != passage.badge:
            passage.badge, passage.badge_ns = badge, now
        holder = whose(badge, self._enrolled)
        if badge and holder not in passage.holders and len(passage.recent(time.monotonic_ns())) >= NEEDED:
            passage.holders[holder] = []

    def _found(self, passage: Passage, captured_ns: int) -> Accepted | None:
        """Whom the votes are for: 1:N whoever is nearest, 1:1 the holder of the badge that was shown.

        Who is to be watched for is so without a badge, too, and with somebody else's.
        """
        nearest = accepted(passage, self._enrolled.threshold, captured_ns)
        if self._config.mode == "1:N" or (nearest and self._enrolled.watched(nearest.person)):
            return nearest
        claimed = claim(passage, self._enrolled, self._config.most)
        return accepted(claimed, self._enrolled.threshold, captured_ns) if claimed else None

    def _elsewhere(self, passage: Passage, door: DoorConfig, person: str) -> Passage | None:
        """The passage in which somebody has their decision before another camera of the door."""
        there = self._before_others(passage, door)
        decided = [one for one in there if one.decided and one.person == person]
        return min(decided, key=lambda one: one.settled, default=None)  # what was settled decides nothing here

    def _before_others(self, passage: Passage, door: DoorConfig) -> list[Passage]:
        """The passages before the other cameras of the door."""
        return [one for one in self._passages.open if one.camera != passage.camera and door.has(one.camera)]

    def _wait(self, passage: Passage, door: DoorConfig, now: int, say: str, verdict: Verdict) -> str:
        """Wait for more, but not for ever: then `verdict`."""
        waits_for_badge = self._config.mode == "1:1" and not passage.badge
        if passage.after_another or waits_for_badge or not self._has_waited(passage, now):
            passage.said = "show your badge" if waits_for_badge else say
            return passage.said
        late = self._late.get(passage.id)
        if late and late.person in self._enrolled.rules:
            return self._decide(passage, door, self._too_late(late), late, None)
        return self._decide(passage, door, verdict, None, None)

    def _too_late(self, found: Accepted) -> Verdict:
        why = f"{self._enrolled.name(found.person)} was recognized, in pictures that came too late to open for"
        return Verdict("refused", "late", why)

    def _has_waited(self, passage: Passage, now: int) -> bool:
        """Whether a passage had its time: in 1:1 from when its badge counts, and faces were compared with the holder.

        Who stood there before the badge was shown may be another than its holder, who is still to come.
        """
        patience_ns = self._config.patience_seconds * SECOND
        if self._config.mode == "1:N":
            return len(passage.votes) >= self._config.most or now - passage.first_seen_ns >= patience_ns
        return whose(passage.badge, self._enrolled) in passage.holders and now - passage.badge_ns >= patience_ns

    def _decide(
        self, passage: Passage, door: DoorConfig, verdict: Verdict, found: Accepted | None, age_ms: float | None
    ) -> str:
        """Write the decision down with all that follows; from then on it is made, unless another badge may be shown."""
        passage.snapshot, passage.faces = self._bystanders.shown(passage, self._enrolled.rules)
        decision = self._decision(passage, door, verdict, found, age_ms)
        opens = verdict.outcome == "opened"
        companion = self._companion(door, found) if found and door.two_person_seconds else ""
        fails, badge = verdict is NOT_THE_HOLDER, passage.badge
        if fails:
            passage.failed.append(badge)
            passage.badge = ""
        passage.decided, passage.settled = not fails or passage.over, passage.settled or verdict.reason == "late"
        passage.person, passage.said = decision.person, SAID[verdict.outcome]
        same = [] if passage.settled or not found else self._same(passage, door)
        orders = [Order(door.name, door.seconds, COMMAND_NS)] if opens else []
        with self._ledger.commit() as commit:
            seq = commit.decide(decision, passage.snapshot, self._config.notify, orders, passage.faces)
            for one in (passage, *same):
                commit.keep(one.kept(wall_ns(), self._ledger.boot))
                one.stored_ns = one.seen_ns
            if opens and found:
                for person in filter(None, (found.person, companion)):
                    commit.move(person, door.direction == "in", decision.at_ns, seq)
            its = found.person == whose(badge, self._enrolled) if found else fails and self._alone(passage, door)
            if its:  # who passes by uses up nobody else's badge
                commit.spend(door.name, badge)
        if verdict.outcome == "held" and found:
            self._pairs.held(door.name, found.person, found.newest_ns)
        elif opens:
            self._pairs.opened(door.name)
        for one in (passage, *same):
            self.forget(one)
        return passage.said

    def _is_present(self, seen: Vote) -> bool:
        """Whether a face shows that its person is there: a photo of them does not."""
        live = self._config.liveness not in PASSIVE or passes(seen.live, self._enrolled.live_threshold)
        return live and near(seen, self._enrolled.threshold)

    def _same(self, passage: Passage, door: DoorConfig) -> list[Passage]:
        """The person's passages before other cameras of the door, for which the decision counts as well."""
        there = self._before_others(passage, door)
        same = [one for one in there if not one.decided and one.leader(self._enrolled.threshold) == passage.person]
        for one in same:
            one.decided, one.person, one.said = True, passage.person, passage.said
        return same

    def _alone(self, passage: Passage, door: DoorConfig) -> bool:
        """Whether nobody else who waits for a decision stands at the door."""
        others = [one for one in self._passages.open if one is not passage and not one.decided]
        return all(self._config.door_of(one.camera) != door for one in others)

    def _decision(
        self, passage: Passage, door: DoorConfig, verdict: Verdict, found: Accepted | None, age_ms: float | None
    ) -> Decision:
        name = self._enrolled.name(found.person) if found else ""
        best = max((vote.similarity for vote in passage.votes if vote.similarity is not None), default=None)
        return Decision(
            at_ns=wall_ns(),
            camera=passage.camera,
            door=door.name,
            outcome=verdict.outcome,
            reason=verdict.reason,
            why=verdict.why,
            person=found.person if found and name else "",
            name=name,
            score=found.score if found else best,
            threshold=None if math.isinf(self._enrolled.threshold) else self._enrolled.threshold,
            far=self._enrolled.far,
            live=found.live if found else None,
            live_threshold=None if math.isnan(self._enrolled.live_threshold) else self._enrolled.live_threshold,
            passage=passage.id,
            frame_seq=passage.frame[0],
            pts_ns=passage.frame[1],
            age_ms=age_ms,
            ballots=tuple(Ballot(vote.similarity, vote.quality, vote.live) for vote in passage.votes),
            models=self._config.models,
            frame_sha256=hashlib.sha256(passage.snapshot).hexdigest() if passage.snapshot else "",
            simulated=door.output in self._config.simulated,
            track=own_track(passage),
        )

    def _surroundings(self, passage: Passage, door: DoorConfig, found: Accepted) -> Surroundings:
        return Surroundings(
            door=door,
            calibrated=not self._enrolled.objection,
            moment=self._clock.moment(),
            clock_believed=self._clock.believed(),
            live_threshold=self._enrolled.live_threshold,
            presence=self._presence(door, found.person),
            companion=self._companion(door, found),
            turned_ns=self._turns.passed_ns(passage),
            turn_failed=self._turns.failed(passage),
        )

    def _companion(self, door: DoorConfig, found: Accepted) -> str:
        """Who waits for a second person, and might come in at this moment, too."""

        def may(other: str) -> bool:
            rule = self._enrolled.rules.get(other)
            return rule is not None and self._barred(door, other, *rule) is None

        return self._pairs.companion(door.name, door.two_person_seconds, found.person, found.newest_ns, may)

    def _presence(self, door: DoorConfig, person: str) -> tuple[bool, float] | None:
        was = self._ledger.presence(person) if door.passback != "off" else None
        return (was[0], (self._ledger.stayed_ns(person) or 0) / (60 * SECOND)) if was else None

    def _barred(self, door: DoorConfig, person: str, name: str, access: Access) -> Verdict | None:
        believed = self._clock.believed()
        by_rules = barred(name, access, self._groups, self._clock.moment(), believed)
        return by_rules or passback(door, self._presence(door, person), believed, name)
