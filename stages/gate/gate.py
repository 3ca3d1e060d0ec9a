"""The gate: faces in, one decision a passage out."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.home import home, keys
from pipeline.types import Faces, Judged
from stages.events import schema
from stages.events.ledger import Ledger
from stages.events.queues import stranded
from stages.events.records import Kept
from stages.events.retention import retain
from stages.gate.bystanders import Bystanders
from stages.gate.clock import SETTLE_NS, Clock, boot_ns, wall_ns
from stages.gate.config import GateConfig
from stages.gate.decisions import Decisions
from stages.gate.enrolled import Enrolled
from stages.gate.health import Pulse
from stages.gate.passage import EVIDENCE_NS, Passage
from stages.gate.passages import GAP_NS, Passages

SECOND = 1_000_000_000
STORED_NS = SECOND  # how far the database may be behind in when a passage was seen last
STILL_NS = 2 * SECOND  # it looks four times a second, so after so long it stood still, as without its database
LONG_AGO_NS = -EVIDENCE_NS
LOOK_S = 0.25
DAY_S = 86_400.0

log = logging.getLogger(__name__)


class Gate:
    """Faces -> Judged. What fails here stops the process: a gate that cannot write its log opens nothing."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        zone = config.zone()
        self._lock = schema.lock(home())
        self._pulse = Pulse(home(), config.deadline_ms)
        self._ledger = Ledger(home(), keys(), create=True)
        self._ledger.sweep()
        self._ledger.tidy()
        latest_ns, jumped_ns = self._ledger.clock_ns()
        self._clock = Clock(latest_ns, zone, jumped_ns)
        if not self._clock.believed():
            log.warning("the clock was set, or is behind the log: rules about hours let nobody in; see docs/gate.md")
        self._jumped_ns = 0
        restored = [self._restored(kept) for kept in self._ledger.passages()]
        self._gallery = Enrolled(config, self._ledger)
        badges = config.mode == "1:1"
        self._passages = Passages(config.most, math.inf, restored, with_badges=badges, watched=self._gallery.watched)
        self._bystanders = Bystanders()
        for passage in restored:
            if passage.model:  # whoever of them has gone is decided about before there are faces that say it
                self._gallery.open(passage.model, passage.threshold)
                self._passages.forget_all_but(self._gallery.rules)
        self._decisions = Decisions(config, self._ledger, self._clock, self._gallery, self._passages, self._bystanders)
        self._looked = -math.inf
        # A clock that is ahead would make all too old, and nobody knows that it is until it is put right.
        self._retained = time.monotonic() + SETTLE_NS / SECOND - DAY_S
        self._passed_ns = boot_ns()
        self._retaining: Iterator[None] = iter(())
        waiting = stranded(self._ledger, config.notify)
        if waiting:
            log.warning("notices wait for outputs that are not in gate.notify", extra={"waiting": waiting})
        with self._ledger.commit() as commit:
            commit.note("started", models=config.models, liveness=config.liveness, mode=config.mode, waiting=waiting)

    def __call__(self, faces: Faces) -> Judged:
        if self._gallery.follow(faces):
            self._passages.forget_all_but(self._gallery.rules)
        self._passages.threshold = faces.threshold
        self._pulse.see(faces.frame)
        now = self._pass_time()
        voted, merged = self._passages.see(faces, now)
        recognized = self._bystanders.see(self._passages, self._gallery.rules)
        verdicts = [self._decisions.consider(faces, row, now) for row in range(len(faces.names))]
        stale = [one for one in self._passages.open if one.seen_ns - one.stored_ns >= STORED_NS]
        if voted or merged or stale or recognized:
            with self._ledger.commit() as commit:
                for passage in dict.fromkeys([*voted, *stale]):
                    if passage not in merged and passage.stored_ns < passage.seen_ns:  # else kept with its decision
                        commit.keep(passage.kept(wall_ns(), self._ledger.boot))
                        passage.stored_ns = passage.seen_ns
                for passage in merged:
                    commit.drop(passage.id)
                    self._decisions.forget(passage)
                for track, person in recognized:
                    commit.recognize(track, person)
        fields: dict[str, Any] = {name: getattr(faces, name) for name in Faces.__struct_fields__}
        people = [self._whole(faces, row) for row in range(len(faces.names))]
        fields["people"], fields["names"] = tuple(people), tuple(self._gallery.name(person) for person in people)
        return Judged(**fields, verdicts=tuple(verdicts))

    def _whole(self, faces: Faces, row: int) -> str:
        """Who it is by the whole passage, in frames between those whose faces are compared, too; "" for a stranger."""
        assert faces.found.tracks is not None
        passage = self._passages.of(int(faces.found.tracks[row]))
        person = passage.leader(self._passages.threshold) if passage else ""
        return person if self._gallery.name(person) else ""

    def tick(self, now: float) -> None:
        """Decide about those who have gone, forget passages that are over, follow clock and gallery."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        self._pulse.beat(len(self._passages.open), self._gallery.objection)
        self._watch_clock()
        if self._gallery.refresh():
            self._passages.forget_all_but(self._gallery.rules)
        self._pass_time()
        if now - self._retained >= DAY_S and self._clock.believed():  # a clock that is wrong would make all too old
            self._retained = now
            self._retaining = retain(self._ledger, self._config.retention)
        next(self._retaining, None)  # a portion a look: all of it may take a minute

    def close(self) -> None:
        """Let go of the files; passages that are open are taken up at the next start."""
        self._gallery.close()
        self._ledger.close()
        os.close(self._lock)

    def _pass_time(self) -> int:
        """Decide about those who have gone, forget passages that are over; boot time now.

        While the gate stood still nobody could be seen: no time goes by for who stood there before.
        """
        now = boot_ns()
        stood_ns, self._passed_ns = now - self._passed_ns, now
        for passage in list(self._passages.open):
            passage.seen_ns += stood_ns if stood_ns >= STILL_NS else 0
            quiet = now - passage.seen_ns
            if not passage.decided and quiet >= self._config.settle_seconds * SECOND:
                self._decisions.settle(passage)
            if quiet >= GAP_NS:
                self._close(passage)
        return now

    def _close(self, passage: Passage) -> None:
        self._passages.close(passage)
        self._decisions.forget(passage)
        with self._ledger.commit() as commit:
            commit.drop(passage.id)

    def _watch_clock(self) -> None:
        self._clock.believed()
        if self._clock.jumped_ns != self._jumped_ns:
            self._jumped_ns = self._clock.jumped_ns
            with self._ledger.commit() as commit:
                commit.note("clock", jumped_s=round(self._jumped_ns / SECOND))

    def _restored(self, kept: Kept) -> Passage:
        """A passage from before this start; after a reboot only the wall clock knows how long ago it was.

        And nothing knows how old its votes are then: they open nothing any more, and say only who it was.
        """
        now, same = boot_ns(), kept.boot == self._ledger.boot
        passage = Passage.of(kept, now - max(0, now - kept.seen_ns if same else wall_ns() - kept.at_ns))
        if not same:
            passage.votes = [msgspec.structs.replace(vote, captured_ns=LONG_AGO_NS) for vote in passage.votes]
        return passage
