"""The gate: faces in, one decision a passage out, written down before anything moves."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping
from typing import Any

from pipeline.home import home, keys
from pipeline.types import Faces, Judged
from stages.events import schema
from stages.events.ledger import Ledger
from stages.events.records import Ballot, Decision, Order
from stages.events.retention import retain
from stages.events.snapshots import Noted
from stages.gallery.index import LiveGallery
from stages.gallery.people import Access
from stages.gate import calibration
from stages.gate.badges import claim
from stages.gate.bystanders import Bystanders, own_track
from stages.gate.clock import Clock, boot_ns, wall_ns
from stages.gate.config import DoorConfig, GateConfig
from stages.gate.health import Pulse
from stages.gate.judge import Accepted, Surroundings, Verdict, accepted, barred, judge, watched
from stages.gate.pairs import Pairs
from stages.gate.passages import GAP_NS, Passage, Passages
from stages.gate.turns import Turns

SECOND = 1_000_000_000
COMMAND_NS = 2 * SECOND  # a door command that was not carried out by then is not carried out
STORED_NS = SECOND  # how far the database may be behind in when a passage was seen last
LOOK_S = 0.25
DAY_S = 86_400.0
SAID = {"opened": "come in", "refused": "no entry", "held": "wait for a second person", "alarm": "no entry"}
UNKNOWN = Verdict("refused", "unknown", "nobody who is enrolled was recognized")
NOT_THE_HOLDER = Verdict("refused", "not-the-holder", "the face is not that of the badge's holder")


class Gate:
    """Faces -> Judged. What fails here stops the process: a gate that cannot write its log opens nothing."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._groups = config.windows()
        zone = config.zone()
        self._home = home()
        self._lock = schema.lock(self._home)
        self._pulse = Pulse(self._home)
        self._ledger = Ledger(self._home, keys(), create=True)
        self._ledger.sweep()
        self._ledger.tidy()
        self._clock = Clock(self._ledger.newest_ns(), zone, self._ledger.newest_ns("clock"))
        self._jumped_ns = 0
        restored = [self._restored(kept) for kept in self._ledger.passages()]
        self._passages = Passages(config.most, math.inf, restored)
        self._bystanders = Bystanders()
        self._turns = Turns(config.challenge_seconds)
        self._pairs = Pairs()
        self._gallery: LiveGallery | None = None
        self._objection = "nothing was calibrated: run gate calibrate"
        self._calibration: calibration.Calibration | None = None
        self._live_threshold = math.nan
        self._looked = self._retained = -math.inf
        with self._ledger.commit() as commit:
            commit.note("started", models=config.models, liveness=config.liveness, mode=config.mode)

    def __call__(self, faces: Faces) -> Judged:
        self._follow(faces)
        self._pulse.see(faces.frame)
        now = boot_ns()
        voted, merged = self._passages.see(faces, now)
        recognized = self._bystanders.see(self._passages, self._known())
        verdicts = [self._consider(faces, row, now) for row in range(len(faces.names))]
        stale = [one for one in self._passages.open if one.seen_ns - one.stored_ns >= STORED_NS]
        if voted or merged or stale or recognized:
            with self._ledger.commit() as commit:
                for passage in dict.fromkeys([*voted, *stale]):
                    if passage not in merged and passage.stored_ns < passage.seen_ns:  # else kept with its decision
                        commit.keep(self._kept(passage))
                for passage in merged:
                    commit.drop(passage.id)
                    self._turns.forget(passage)
                for track, person in recognized:
                    commit.recognize(track, person)
        fields: dict[str, Any] = {name: getattr(faces, name) for name in Faces.__struct_fields__}
        people = [self._whole(faces, row) for row in range(len(faces.names))]
        fields["people"], fields["names"] = tuple(people), tuple(self._name(person) for person in people)
        return Judged(**fields, verdicts=tuple(verdicts))

    def _whole(self, faces: Faces, row: int) -> str:
        """Who it is by the whole passage, in frames between those whose faces are compared, too; "" for a stranger."""
        assert faces.found.tracks is not None
        passage = self._passages.of(int(faces.found.tracks[row]))
        person = passage.leader(self._passages.threshold) if passage else ""
        return person if self._name(person) else ""

    def _name(self, person: str) -> str:
        known = self._known()
        return known[person][0] if person in known else ""

    def _known(self) -> Mapping[str, tuple[str, Access]]:
        """Who is enrolled, by id: nobody before there was a frame."""
        return self._gallery.rules if self._gallery else {}

    def tick(self, now: float) -> None:
        """Decide about those who have gone, forget passages that are over, follow clock and gallery."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        self._pulse.beat(len(self._passages.open), self._objection)
        self._watch_clock()
        if self._gallery:
            if self._gallery.refresh():
                self._passages.forget_all_but(self._known())
            self._exchange(self._gallery)
        boot = boot_ns()
        for passage in list(self._passages.open):
            quiet = boot - passage.seen_ns
            if not passage.decided and quiet >= self._config.settle_seconds * SECOND:
                self._settle(passage)
            if quiet >= GAP_NS:
                self._close(passage)
        if now - self._retained >= DAY_S and self._clock.believed():  # a clock that is wrong would make all too old
            self._retained = now
            retain(self._ledger, self._config.retention)

    def close(self) -> None:
        """Let go of the files; passages that are open are taken up at the next start."""
        if self._gallery:
            self._gallery.close()
        self._ledger.close()
        os.close(self._lock)

    def _follow(self, faces: Faces) -> None:
        """The gallery of the model that these faces were embedded with, and whether its threshold was measured."""
        if self._gallery is None:
            self._gallery = LiveGallery(self._home, faces.model, "the gate", remembers=Noted(self._ledger))
            self._exchange(self._gallery)  # before the first decision
            self._passages.forget_all_but(self._known())
            self._calibration = calibration.load(self._home)
        self._passages.threshold = faces.threshold
        self._live_threshold = faces.live_threshold
        if self._calibration:
            config, photos = self._config, self._gallery.now.counts
            asked = (faces.model, config.detector, config.mode, config.far, faces.threshold, photos, config.most)
            self._objection = self._calibration.objection(*asked)

    def _exchange(self, gallery: LiveGallery) -> None:
        """Who came in and went out, with the gates of other hosts."""
        if gallery.presence:
            gallery.presence.exchange(self._ledger)

    def _consider(self, faces: Faces, row: int, now: int) -> str:
        """Decide about the passage that a face belongs to, if there is enough to decide on; what to say to it."""
        assert faces.found.tracks is not None
        assert self._gallery is not None
        track = int(faces.found.tracks[row])
        passage = self._passages.of(track) if track >= 0 else None
        if passage is None or passage.decided:
            return passage.said if passage else ""
        door = self._config.door_of(passage.camera)
        if door is None:
            return ""
        self._turns.see(passage, faces, row, track)
        if self._config.mode == "1:1":
            self._see_badge(passage, door, faces.frame.captured_ns, now)
            if passage.decided:
                return passage.said
        found = self._found(passage, faces.frame.captured_ns)
        rule = self._gallery.rules.get(found.person) if found else None
        if found is None or rule is None:
            return self._wait(passage, door, now, "", UNKNOWN if self._config.mode == "1:N" else NOT_THE_HOLDER)
        around = self._surroundings(passage, door, found.person)
        verdict = judge(found, *rule, self._config, self._groups, around)
        if verdict == "live?":
            refused = Verdict("refused", "not-live", f"a face like {rule[0]}'s was not found to be live")
            return self._wait(passage, door, now, "look at the camera", refused)
        if verdict == "turn?":
            passage.said = self._turns.ask(passage, found)
            return passage.said
        age_ms = (time.monotonic_ns() - found.newest_ns) / 1e6
        if verdict.outcome == "opened" and age_ms > self._config.deadline_ms:
            return ""  # too old to open anything; the next face that is compared may be in time
        return self._decide(passage, door, verdict, found, age_ms)

    def _see_badge(self, passage: Passage, door: DoorConfig, captured_ns: int, now: int) -> None:
        """Which badge counts for a passage: not one that failed in it, and one that another takes the place of fails.

        Else all that somebody can get hold of could be tried before a single face.
        """
        shown = self._ledger.claimed(door.name, now) or ""
        if passage.badge and shown not in ("", passage.badge) and self._found(passage, captured_ns) is None:
            self._decide(passage, door, NOT_THE_HOLDER, None, None)
        passage.badge = shown if passage.votes and shown not in passage.failed else ""

    def _found(self, passage: Passage, captured_ns: int) -> Accepted | None:
        """Whom the votes are for: 1:N whoever is nearest, 1:1 the holder of the badge that was shown.

        Who is to be watched for is so without a badge, too, and with somebody else's.
        """
        nearest = accepted(passage, self._passages.threshold, captured_ns)
        if self._config.mode == "1:N" or (nearest and self._watched(nearest.person)):
            return nearest
        assert self._gallery is not None
        claimed = claim(passage, self._gallery)
        return accepted(claimed, self._passages.threshold, captured_ns) if claimed else None

    def _watched(self, person: str) -> bool:
        known = self._known()
        return person in known and known[person][1].watch

    def _surroundings(self, passage: Passage, door: DoorConfig, person: str) -> Surroundings:
        was = self._ledger.presence(person) if door.passback != "off" else None
        return Surroundings(
            door=door,
            calibrated=not self._objection,
            moment=self._clock.moment(),
            clock_believed=self._clock.believed(),
            live_threshold=self._live_threshold,
            presence=(was[0], (wall_ns() - was[1]) / (60 * SECOND)) if was else None,
            companion=self._companion(door, person),
            turned_ns=self._turns.passed_ns(passage),
            turn_failed=self._turns.failed(passage),
        )

    def _companion(self, door: DoorConfig, person: str) -> str:
        """Who waits for `person` as their second, and might come in at this moment, too."""

        def may(other: str) -> bool:
            rule = self._known().get(other)
            return rule is not None and self._barred(*rule) is None

        return self._pairs.companion(door.name, door.two_person_seconds, person, may)

    def _barred(self, name: str, access: Access) -> Verdict | None:
        return barred(name, access, self._groups, self._clock.moment(), self._clock.believed())

    def _wait(self, passage: Passage, door: DoorConfig, now: int, say: str, verdict: Verdict) -> str:
        """Wait for more, but not for ever: then `verdict`."""
        full = len(passage.votes) >= self._config.most
        late = now - passage.first_seen_ns >= self._config.patience_seconds * SECOND
        waits_for_badge = self._config.mode == "1:1" and not passage.badge
        if passage.after_another or waits_for_badge or not (full or late):
            passage.said = "show your badge" if waits_for_badge else say
            return passage.said
        return self._decide(passage, door, verdict, None, None)

    def _settle(self, passage: Passage) -> None:
        """Somebody has gone who was not decided about."""
        door = self._config.door_of(passage.camera)
        if passage.after_another or door is None or not passage.votes or passage.failed:
            passage.decided = True
            return
        last_ns = max(vote.captured_ns for vote in passage.votes)
        found = accepted(passage, self._passages.threshold, last_ns)
        if found is None or found.person not in self._known():
            self._decide(passage, door, UNKNOWN, None, None)
        elif self._watched(found.person):
            self._decide(passage, door, watched(self._name(found.person)), found, None)
        elif self._config.mode == "1:1":
            verdict = Verdict("refused", "no-badge", "no badge was shown that goes with this face")
            self._decide(passage, door, verdict, found, None)
        else:
            verdict = Verdict("refused", "gone", "somebody was recognized and went before all was sure")
            self._decide(passage, door, verdict, found, None)

    def _decide(
        self, passage: Passage, door: DoorConfig, verdict: Verdict, found: Accepted | None, age_ms: float | None
    ) -> str:
        """Write the decision down with all that follows; from then on it is made, unless another badge may be shown."""
        passage.snapshot, passage.faces = self._bystanders.shown(passage, self._known())
        decision = self._decision(passage, door, verdict, found, age_ms)
        opens = verdict.outcome == "opened"
        companion = self._companion(door, found.person) if found and door.two_person_seconds else ""
        fails, badge = verdict is NOT_THE_HOLDER, passage.badge
        if fails:
            passage.failed.append(badge)
            passage.badge = ""
        passage.decided = not fails or passage.over
        passage.person, passage.said = decision.person, SAID[verdict.outcome]
        orders = [Order(door.name, door.seconds, COMMAND_NS)] if opens else []
        with self._ledger.commit() as commit:
            seq = commit.decide(decision, passage.snapshot, self._config.notify, orders, passage.faces)
            commit.keep(self._kept(passage))
            if opens and found:
                for person in filter(None, (found.person, companion)):
                    commit.move(person, door.direction == "in", decision.at_ns, seq)
            if found or (fails and self._alone(passage, door)):  # who passes by uses up nobody else's badge
                commit.spend(door.name, badge)
        if verdict.outcome == "held":
            self._pairs.held(door.name, decision.person)
        elif opens:
            self._pairs.opened(door.name)
        self._turns.forget(passage)
        return passage.said

    def _alone(self, passage: Passage, door: DoorConfig) -> bool:
        """Whether nobody else who waits for a decision stands at the door."""
        others = [one for one in self._passages.open if one is not passage and not one.decided]
        return all(self._config.door_of(one.camera) != door for one in others)

    def _decision(
        self, passage: Passage, door: DoorConfig, verdict: Verdict, found: Accepted | None, age_ms: float | None
    ) -> Decision:
        name = self._name(found.person) if found else ""
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
            threshold=None if math.isinf(self._passages.threshold) else self._passages.threshold,
            far=self._calibration.far if self._calibration and not self._objection else None,
            live=found.live if found else None,
            live_threshold=None if math.isnan(self._live_threshold) else self._live_threshold,
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

    def _close(self, passage: Passage) -> None:
        self._passages.close(passage)
        self._turns.forget(passage)
        with self._ledger.commit() as commit:
            commit.drop(passage.id)

    def _watch_clock(self) -> None:
        self._clock.believed()
        if self._clock.jumped_ns != self._jumped_ns:
            self._jumped_ns = self._clock.jumped_ns
            with self._ledger.commit() as commit:
                commit.note("clock", jumped_s=round(self._jumped_ns / SECOND))

    def _kept(self, passage: Passage) -> Any:
        passage.stored_ns = passage.seen_ns
        return passage.kept(wall_ns(), self._ledger.boot)

    def _restored(self, kept: Any) -> Passage:
        """A passage from before this start; after a reboot only the wall clock knows how long ago it was."""
        now = boot_ns()
        ago = now - kept.seen_ns if kept.boot == self._ledger.boot else wall_ns() - kept.at_ns
        return Passage.of(kept, now - max(0, ago))
