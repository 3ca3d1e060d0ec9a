"""A clip of each decision: from some seconds before it to some after, out of the stream as the camera sent it."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Annotated

from av import FFmpegError
from msgspec import Meta

from pipeline.config import DERIVED, Config
from pipeline.errors import Failed
from pipeline.home import home, keys
from pipeline.types import Judged, Packet
from stages.clips.film import NEAR_NS, blurred, muxed
from stages.clips.memory import Memory
from stages.events import clips
from stages.events.ledger import Ledger
from stages.events.records import Clip, Decision
from stages.gallery.index import LiveGallery

SECOND = 1_000_000_000
LOOK_S = 0.25
LATE_NS = 5 * SECOND  # a camera that is away does not hold a clip up for longer

log = logging.getLogger(__name__)
Seconds = Annotated[float, Meta(ge=0, le=60)]


class ClipsConfig(Config, frozen=True):
    """`[clips]`: seconds before and after a decision; both 0 for no clips."""

    pre_seconds: Seconds = 5.0
    post_seconds: Seconds = 5.0
    memory_mb: Annotated[int, Meta(ge=1, le=4096)] = 64  # of a camera's stream, at most
    # Out of `gate`: how long after somebody was there it may be decided about them.
    decided_within: Annotated[float, DERIVED] = 15.0


@dataclass(frozen=True)
class _Wanted:
    """A decision whose clip is not written yet."""

    seq: int
    camera: str
    pts_ns: int  # of its frame
    made_ns: int  # this host's monotonic clock


@dataclass
class _Written:
    """A clip in which somebody may still turn out to be."""

    seq: int
    camera: str
    begins_ns: int  # pts
    ends_ns: int
    people: frozenset[str]  # ids of those who were recognized in it, whether they are forgotten or not


class Clips:
    """Judged and packets -> clips in the ledger. What a kill takes of the memory is missing from a clip, no more."""

    def __init__(self, config: ClipsConfig) -> None:
        self._pre_ns, self._post_ns = (round(s * SECOND) for s in (config.pre_seconds, config.post_seconds))
        self._keep_ns = self._pre_ns + self._post_ns + round(config.decided_within * SECOND) + LATE_NS
        self._most_bytes = config.memory_mb << 20
        self._ledger = Ledger(home(), keys(), create=True)
        clips.sweep(self._ledger)
        # Who is in it; their faces are not needed.
        self._gallery = LiveGallery(home(), "", "the recorder of clips", remembers=_Shown(self._ledger))
        self._memories: dict[str, Memory] = {}
        self._wanted: list[_Wanted] = []
        self._written: list[_Written] = []
        self._seen = self._last_before(time.time_ns() - self._keep_ns)
        self._looked = -math.inf

    def __call__(self, judged: Judged) -> None:
        self._memory(judged.frame.source).see(judged)

    def packet(self, packet: Packet) -> None:
        """Take in the next piece of a camera's stream."""
        self._memory(packet.source).add(packet)

    def tick(self, now: float) -> None:
        """Write the clips whose last second has come, and note who was recognized since in those that are written."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        self._gallery.refresh()
        self._follow()
        waiting = []
        for wanted in self._wanted:
            newest_ns = self._memory(wanted.camera).newest_ns()
            complete = newest_ns is not None and newest_ns >= wanted.pts_ns + self._post_ns
            if complete or time.monotonic_ns() >= wanted.made_ns + self._post_ns + LATE_NS:
                self._write(wanted)
            else:
                waiting.append(wanted)
        self._wanted = waiting
        self._recognize_all()

    def close(self) -> None:
        """Write what there is of the clips that are still to come."""
        self._follow()
        for wanted in self._wanted:
            self._write(wanted)
        self._recognize_all()
        self._gallery.close()
        self._ledger.close()

    def _memory(self, camera: str) -> Memory:
        if camera not in self._memories:
            self._memories[camera] = Memory(self._keep_ns, self._most_bytes)
        return self._memories[camera]

    def _last_before(self, at_ns: int) -> int:
        found = self._ledger.one("SELECT max(seq) FROM chain WHERE at_ns < ?", (at_ns,))
        return int(found[0] or 0) if found else 0

    def _follow(self) -> None:
        """Take in what was decided since, and, after a start, what may have been decided before a kill."""
        while events := self._ledger.follow(self._seen):
            self._seen = events[-1].seq
            for event in events:
                if event.decision and not event.has_clip and self._pre_ns + self._post_ns:
                    self._wanted.append(_wanted(event.seq, event.decision))

    def _write(self, wanted: _Wanted) -> None:
        memory = self._memory(wanted.camera)
        begins_ns = memory.begins_ns()
        if begins_ns is None or begins_ns + wanted.pts_ns > wanted.made_ns:
            return  # no stream; or what was decided in an earlier run, whose frame this one has not come to
        packets = memory.around(wanted.pts_ns, self._pre_ns, self._post_ns)
        if not packets:
            return
        begins_ns, ends_ns = (which(packet.pts_ns for packet in packets) for which in (min, max))
        try:
            sightings = memory.sightings(begins_ns, ends_ns, NEAR_NS)
            clip = self._without_the_forgotten(Clip(muxed(packets), tuple(sightings)))
        except (FFmpegError, ValueError) as error:  # a codec that no MP4 holds: the decision and its picture are kept
            log.warning("no clip", extra={"event": wanted.seq, "camera": wanted.camera, "why": str(error)})
            return
        if clips.put(self._ledger, wanted.seq, clip):
            people = frozenset(sighting.person for sighting in sightings)
            self._written.append(_Written(wanted.seq, wanted.camera, begins_ns, ends_ns, people))

    def _recognize_all(self) -> None:
        self._written = [one for one in self._written if self._memory(one.camera).has_seen(one.begins_ns)]
        for written in self._written:
            self._recognize(written)

    def _recognize(self, written: _Written) -> None:
        """Note who is in a clip whom nobody knew when it was written."""
        sightings = self._memory(written.camera).sightings(written.begins_ns, written.ends_ns, NEAR_NS)
        people = frozenset(sighting.person for sighting in sightings)
        if people <= written.people:
            return
        written.people |= people
        clips.change(self._ledger, written.seq, lambda clip: Clip(clip.mp4, tuple(sightings)))
        for person in people - set(self._gallery.rules):
            blur_out(self._ledger, bytes.fromhex(person))

    def _without_the_forgotten(self, clip: Clip) -> Clip:
        gone = clip.people - set(self._gallery.rules)
        return without(clip, gone) if gone else clip


class _Shown:
    """Those who are to be seen in clips, for who follows a gallery that other hosts change, too."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def owners(self) -> set[bytes]:
        """Ids."""
        return {person for (person,) in self._ledger.all("SELECT DISTINCT person FROM shown")}

    def erase(self, *owners: bytes) -> None:
        """Cover their faces; their own clips go with their events."""
        for person in owners:
            blur_out(self._ledger, person)


def without(clip: Clip, people: frozenset[str]) -> Clip:
    """A clip in which some people (by id) cannot be recognized. Raises av.FFmpegError."""
    of_them = [sighting for sighting in clip.sightings if sighting.person in people]
    rest = tuple(sighting for sighting in clip.sightings if sighting.person not in people)
    return Clip(blurred(clip.mp4, of_them), rest)


def blur_out(ledger: Ledger, person: bytes) -> tuple[int, int]:
    """Make somebody (by id) unrecognizable in the clips of others: how many, and how many had to go for it."""
    changed, lost = 0, []
    gone = frozenset((person.hex(),))
    for seq in clips.showing(ledger, person):
        try:
            changed += clips.change(ledger, seq, lambda clip: without(clip, gone))
        except (FFmpegError, Failed):  # what cannot be opened cannot be blurred either
            lost.append(seq)
    if lost:
        clips.remove(ledger, lost)
    if changed or lost:
        ledger.scrub()
    return changed, len(lost)


def _wanted(seq: int, decision: Decision) -> _Wanted:
    made_ns = time.monotonic_ns() - (time.time_ns() - decision.at_ns)
    return _Wanted(seq, decision.camera, decision.pts_ns, made_ns)
