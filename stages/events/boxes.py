"""Where a face is in a snapshot: sealed, and bound to the decision, to the track and to who it is."""

from __future__ import annotations

import msgspec

from stages.events.records import Face
from stages.gallery.sealing import Unreadable, seal, unseal
from stages.mosaic import Box


def sealed_box(key: bytes, seq: int, face: Face) -> bytes:
    """For the snapshot of decision `seq`, under its owner's key."""
    return seal(key, msgspec.msgpack.encode(face.box), *_bound(seq, face.track, bytes.fromhex(face.person)))


def open_box(key: bytes, seq: int, track: int, person: bytes, sealed: bytes) -> Box:
    """Raises Unreadable for what was sealed for another decision, track or person (an id; empty: not known yet)."""
    bound = _bound(seq, track, person)
    try:
        text = unseal(key, sealed, *bound)
    except Unreadable:
        text = unseal(key, sealed, *bound[:-1])  # from when a place was not bound to the person yet
    box: Box = msgspec.msgpack.decode(text, type=Box)
    return box


def _bound(seq: int, track: int, person: bytes) -> tuple[bytes, ...]:
    """Signed: a number that somebody has changed may be negative."""
    return b"face", *(number.to_bytes(8, "big", signed=True) for number in (seq, track)), person
