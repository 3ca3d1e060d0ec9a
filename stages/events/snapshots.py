"""Snapshots in which others stand, too: somebody who is forgotten is covered in those of others' decisions."""

from __future__ import annotations

from pipeline.errors import Failed
from stages.events.boxes import open_box
from stages.events.ledger import Ledger
from stages.gallery.sealing import Unreadable, seal, unseal
from stages.mosaic import Box, covered


def showing(ledger: Ledger, person: bytes) -> list[int]:
    """The decisions about others in whose snapshots somebody (by id) stands."""
    query = "SELECT DISTINCT seq FROM faces JOIN sealed USING (seq) WHERE person = ?1 AND owner != ?1 ORDER BY seq"
    return [seq for (seq,) in ledger.all(query, (person,))]


def box_of(ledger: Ledger, seq: int, track: int) -> Box | None:
    """Where the face of a track is in a decision's snapshot; None where that is not known. Raises Failed."""
    query = "SELECT owner, person, box FROM faces JOIN sealed USING (seq) WHERE seq = ? AND track = ?"
    found = ledger.one(query, (seq, track))
    key = ledger.keys.get(found[0]) if found else None
    try:
        return open_box(key, seq, track, found[1], found[2]) if found and key else None
    except Unreadable as error:
        raise Failed(f"the places of faces in event {seq} are damaged: run `gate audit`") from error


def blur_out(ledger: Ledger, person: bytes) -> tuple[int, int]:
    """Make somebody (by id) unrecognizable in the snapshots of others: how many, and how many had to go for it."""
    changed, lost = 0, []
    for seq in showing(ledger, person):
        try:
            while not _cover(ledger, seq, person):  # somebody else was covered in it meanwhile
                pass
            changed += 1
        except (Unreadable, ValueError):  # what cannot be opened cannot be covered either
            lost.append(seq)
    if lost:
        with ledger.commit() as commit:
            commit.remove_snapshots(lost)
    if changed or lost:
        ledger.scrub()
    return changed, len(lost)


def _cover(ledger: Ledger, seq: int, person: bytes) -> bool:
    """Outside of the transaction, as a door may be waiting for it; False where the snapshot has changed since.

    Raises Unreadable, and ValueError for what is no picture.
    """
    at = seq.to_bytes(8, "big")
    found = ledger.one("SELECT owner, snapshot FROM sealed WHERE seq = ?", (seq,))
    key = ledger.keys.get(found[0]) if found else None
    faces = ledger.all("SELECT track, box FROM faces WHERE seq = ? AND person = ?", (seq, person))
    if found is None or not faces:
        return True  # erased meanwhile, or covered
    if key is None or found[1] is None:
        raise Unreadable("it has lost its key")
    boxes = [open_box(key, seq, track, person, box) for track, box in faces]
    after = seal(key, covered(unseal(key, found[1], b"snapshot", at), boxes), b"snapshot", at)
    with ledger.commit() as commit:
        return commit.cover(seq, person, [track for track, _ in faces], found[1], after)


class Noted:
    """What the ledger knows of people, for who follows a gallery from which somebody may be forgotten."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def owners(self) -> set[bytes]:
        """Ids."""
        return self._ledger.owners()

    def erase(self, *owners: bytes) -> None:
        """Erase their events, and cover their faces in the snapshots of others; no copy has them either."""
        self._ledger.remove_copies()
        self._ledger.erase(*owners)
        for person in owners:
            blur_out(self._ledger, person)
