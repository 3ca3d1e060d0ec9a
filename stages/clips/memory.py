"""What one camera has sent lately: its compressed stream, and who was where in it."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.types import Judged, Packet
from stages.events.records import Sighting


class _Seen(NamedTuple):
    """One face of a frame."""

    at_ns: int  # pts
    track: int
    person: str  # "" while nobody is recognized
    box: tuple[float, float, float, float]


class Memory:
    """The last packets and sightings of a camera. Every packet in it can be decoded, from a key frame on."""

    def __init__(self, keep_ns: int, most_bytes: int) -> None:
        """What is older than `keep_ns` goes, a group of pictures at a time; and sooner what is more than so much."""
        self._keep_ns, self._most_bytes = keep_ns, most_bytes
        self._packets: deque[Packet] = deque()
        self._there: set[int] = set()  # their times
        self._bytes = 0
        self._number = -1  # of the last packet that came
        self._again = False  # a new process reads the source, and may send what its predecessor has sent
        self._broken = True  # one is missing: what comes up to the next key frame cannot be decoded
        self._sightings: deque[_Seen] = deque()
        self._forgot_ns = -keep_ns  # sightings from before are gone

    def add(self, packet: Packet) -> None:
        """Take in the next packet. One that came before, from a process that has been killed since, is passed over."""
        self._broken = not packet.key and (self._broken or packet.number != self._number + 1)
        self._again = packet.number <= self._number or (self._again and self._is_known(packet))
        self._number = packet.number
        if self._broken or (self._again and self._is_known(packet)):
            return
        last = self._packets[-1] if self._packets else None
        if last and last.pts_ns == packet.pts_ns:  # a picture in two pieces: some senders part a key frame's slices
            self._packets[-1] = replace(last, data=last.data + packet.data)
        else:
            self._packets.append(packet)
            self._there.add(packet.pts_ns)
        self._bytes += len(packet.data)
        if packet.key:
            self._forget(packet.pts_ns - self._keep_ns)
        while self._bytes > self._most_bytes:
            self._drop()
        while self._packets and not self._packets[0].key:
            self._drop()

    def see(self, judged: Judged) -> None:
        """Note where everybody is, and who it is as far as that is known yet."""
        at_ns, found = judged.frame.pts_ns, judged.found
        tracks = [-1] * len(found.boxes) if found.tracks is None else found.tracks.tolist()
        for track, person, box in zip(tracks, judged.people, found.boxes.tolist(), strict=True):
            self._sightings.append(_Seen(at_ns, track, person, tuple(box)))
        self._forgot_ns = at_ns - self._keep_ns
        while self._sightings and self._sightings[0].at_ns < self._forgot_ns:
            self._sightings.popleft()

    def newest_ns(self) -> int | None:
        """The time of the last packet; None where none has come."""
        return self._packets[-1].pts_ns if self._packets else None

    def begins_ns(self) -> int | None:
        """When the stream's time was 0, at the earliest, on this host's monotonic clock; None before any packet."""
        return min((packet.read_ns - packet.pts_ns for packet in self._packets), default=None)

    def around(self, moment_ns: int, before_ns: int, after_ns: int) -> list[Packet]:
        """The packets from the key frame before to `after_ns` behind a moment, as far as they are of one connection."""
        found: list[Packet] = []
        for packet in takewhile(lambda packet: packet.pts_ns <= moment_ns + after_ns, self._packets):
            other = packet.key and bool(found) and packet.header != found[0].header
            if other and packet.pts_ns > moment_ns:
                break
            if other or (packet.key and packet.pts_ns <= moment_ns - before_ns):
                found = []
            found.append(packet)
        # Pictures that come behind the key frame and are shown before it need those of the group before.
        return [packet for packet in found if packet.pts_ns >= found[0].pts_ns]

    def has_seen(self, begins_ns: int) -> bool:
        """Whether all sightings since then are still known."""
        return begins_ns >= self._forgot_ns

    def sightings(self, begins_ns: int, ends_ns: int, around_ns: int) -> list[Sighting]:
        """Who is to be seen between two times, and up to `around_ns` before and after; their times from the first on.

        Somebody is known for who they are from their first face on: on the same track, before they were recognized.
        """
        known: dict[int, set[str]] = {}
        for seen in self._sightings:
            if seen.person and seen.track >= 0:
                known.setdefault(seen.track, set()).add(seen.person)
        return [
            Sighting(person, seen.at_ns - begins_ns, seen.box)
            for seen in self._sightings
            if begins_ns - around_ns <= seen.at_ns <= ends_ns + around_ns
            for person in sorted(known.get(seen.track, set()) | ({seen.person} - {""}))
        ]

    def _is_known(self, packet: Packet) -> bool:
        """Whether a packet came before, in memory or before that."""
        oldest = self._packets[0].pts_ns if self._packets else packet.pts_ns
        return packet.pts_ns < oldest or packet.pts_ns in self._there

    def _forget(self, before_ns: int) -> None:
        """Drop the groups of pictures of which nothing is needed any more."""
        keys = [place for place, packet in enumerate(self._packets) if packet.key and packet.pts_ns <= before_ns]
        for _ in range(keys[-1] if keys else 0):
            self._drop()

    def _drop(self) -> None:
        packet = self._packets.popleft()
        self._there.discard(packet.pts_ns)
        self._bytes -= len(packet.data)
