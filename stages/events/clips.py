"""Clips of decisions: a file each in HOME/clips, sealed under the key of the person that the decision is about."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from pipeline.errors import Failed
from pipeline.files import replace_file, shred
from stages.events import schema
from stages.events.commit import clip_name
from stages.events.ledger import Ledger
from stages.events.records import Clip
from stages.gallery.sealing import Unreadable, seal, unseal

YOUNG_S = 60.0
SAYINGS = "SELECT kind, body FROM chain JOIN notes USING (seq) WHERE kind IN ('clip', 'tombstone') ORDER BY seq"
NAMED = "SELECT body FROM chain JOIN notes USING (seq) WHERE kind = 'clip'"
NEWEST = "SELECT max(seq) FROM chain WHERE kind IN ('clip', 'tombstone', 'checkpoint')"

ROWS = "SELECT seq, clips.digest, clips.owner, sealed.owner FROM clips LEFT JOIN sealed USING (seq) ORDER BY seq"


def put(ledger: Ledger, seq: int, clip: Clip, over: bytes | None = None) -> bool:
    """Keep the clip of decision `seq`, in place of the one before; False where the decision is erased. Raises Failed.

    False, too, where the one before is not that with the digest `over`, if given. The file is there, whole, before the
    row that names it; what a crash leaves of files without rows `sweep` removes.
    """
    found = ledger.one("SELECT owner FROM sealed WHERE seq = ?", (seq,))
    key = ledger.keys.get(found[0]) if found else None
    if found is None or key is None:
        return False
    sealed = seal(key, msgspec.msgpack.encode(clip), b"clip", seq.to_bytes(8, "big"))
    digest = hashlib.sha256(sealed).digest()
    path = ledger.clips / clip_name(seq, digest)
    with schema.told(path):
        replace_file(path, sealed, synced=True)
    with ledger.commit() as commit:
        query = "SELECT digest FROM sealed LEFT JOIN clips USING (seq) WHERE seq = ? AND sealed.owner = ?"
        there = ledger.one(query, (seq, found[0]))
        if there and over in (None, there[0]):
            commit.keep_clip(seq, found[0], digest, [bytes.fromhex(person) for person in sorted(clip.people)])
            return True
        commit.gone.append(path.name)  # erased or changed meanwhile
    return False


def change(ledger: Ledger, seq: int, to: Callable[[Clip], Clip]) -> bool:
    """Put what `to` makes of a clip in its place; False where there is none any more. Raises Failed as `get` does.

    It is made anew where somebody else has changed the clip meanwhile.
    """
    while before := ledger.one("SELECT digest FROM clips WHERE seq = ?", (seq,)):
        clip = get(ledger, seq)
        if clip is None:
            break
        if put(ledger, seq, to(clip), over=before[0]):
            return True
    return False


def get(ledger: Ledger, seq: int) -> Clip | None:
    """The clip of a decision; None where there is none, or none any more. Raises Failed for a damaged one."""
    found = ledger.one("SELECT owner, digest FROM clips WHERE seq = ?", (seq,))
    key = ledger.keys.get(found[0]) if found else None
    if found is None or key is None:
        return None
    try:
        sealed = (ledger.clips / clip_name(seq, found[1])).read_bytes()
        return msgspec.msgpack.decode(unseal(key, sealed, b"clip", seq.to_bytes(8, "big")), type=Clip)
    except (OSError, sqlite3.DatabaseError, Unreadable, msgspec.DecodeError) as error:
        if ledger.one("SELECT 1 FROM clips WHERE seq = ? AND digest = ?", (seq, found[1])) is None:
            return get(ledger, seq)  # it was replaced, or erased, between the row and the file
        raise Failed(f"the clip of event {seq} is missing or damaged: run `gate audit`") from error


def showing(ledger: Ledger, person: bytes) -> list[int]:
    """The decisions about others in whose clips somebody (by id) is to be seen."""
    query = "SELECT seq FROM shown JOIN clips USING (seq) WHERE person = ?1 AND owner != ?1 ORDER BY seq"
    return [seq for (seq,) in ledger.all(query, (person,))]


def remove(ledger: Ledger, seqs: Sequence[int]) -> None:
    """Remove the clips of some decisions, and say so in the chain."""
    with ledger.commit() as commit:
        commit.remove_clips(seqs)


def sweep(ledger: Ledger) -> None:
    """Remove files that no row names: a crash came between the two.

    What the chain has named was replaced or removed; of the rest what is young may be about to get its row.
    """
    unnamed = _unnamed(ledger)
    gone = _named_once(ledger) if unnamed else set()
    with schema.told(ledger.clips):
        for name, old in unnamed.items():
            if old or name in gone:
                shred(ledger.clips / name)


def _unnamed(ledger: Ledger) -> dict[str, bool]:
    """The names of files that no row names, and whether each is older than one that is being written."""
    with schema.told(ledger.clips):
        now, there = time.time(), {}
        for path in ledger.clips.iterdir() if ledger.clips.exists() else ():
            with suppress(FileNotFoundError):  # it was replaced, or removed
                there[path.name] = abs(now - path.stat().st_mtime) > YOUNG_S
    with schema.told(ledger.path):
        named = {clip_name(seq, digest) for seq, digest in ledger.all("SELECT seq, digest FROM clips")}
    return {name: old for name, old in there.items() if name not in named}


def _named_once(ledger: Ledger) -> set[str]:
    """The names of the files that the chain has named and no row names any more."""
    with ledger.transaction("DEFERRED") as rows:  # as of one moment: a file is named by both at once
        bodies = rows.execute(NAMED).fetchall()
        named = {clip_name(*row) for row in rows.execute("SELECT seq, digest FROM clips")}
    said = set()
    for (body,) in bodies:
        with suppress(ValueError):  # somebody has changed it, which an audit finds
            one = msgspec.json.decode(body, type=_Said)
            said.add(clip_name(one.of, bytes.fromhex(one.sha256)))
    return said - named


def doubts(ledger: Ledger) -> list[str]:
    """What an audit finds of the clips. Each is to be the one that the chain names last, unless a tombstone excuses it.

    Whoever removes or replaces one writes a row: then it is looked at once more.
    """
    while True:
        newest = ledger.one(NEWEST)
        found = list(_doubts(ledger))
        if not found or ledger.one(NEWEST) == newest:
            return found


def _doubts(ledger: Ledger) -> Iterator[str]:
    said, removed, removed_to = _said(ledger)
    rows = {seq: rest for seq, *rest in ledger.all(ROWS)}
    for seq, digest in said.items():
        if seq not in rows:
            if seq > removed_to and seq not in removed and ledger.one("SELECT 1 FROM sealed WHERE seq = ?", (seq,)):
                yield f"the clip of row {seq} is missing, and no tombstone says why"
            continue
        named, owner, decided = rows[seq]
        try:
            content = (ledger.clips / clip_name(seq, named)).read_bytes()
        except (OSError, sqlite3.DatabaseError):
            yield f"the clip of row {seq} is missing, and no tombstone says why"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            yield f"the clip of row {seq} was changed"
        elif owner != decided:
            yield f"the clip of row {seq} is not with whom its decision is about"
        elif not _people_fit(ledger, seq, owner, content):
            yield f"who is to be seen in the clip of row {seq} was changed"
    yield from (f"there is a clip of row {seq}, and no row says so" for seq in rows if seq not in said)
    with suppress(Failed):  # of a row that is damaged, which was found above, nobody knows which file it names
        for name in sorted(name for name, old in _unnamed(ledger).items() if old):
            yield f"no row names the file {ledger.clips / name}: a crash left it; the next start of the gate removes it"


def _people_fit(ledger: Ledger, seq: int, owner: bytes, content: bytes) -> bool:
    """Whether those who are named beside a clip are those in it; a key that is lost is found at its row."""
    key = ledger.keys.get(owner)
    if key is None:
        return True
    try:
        clip = msgspec.msgpack.decode(unseal(key, content, b"clip", seq.to_bytes(8, "big")), type=Clip)
    except (Unreadable, msgspec.DecodeError):
        return False
    return clip.people == {person.hex() for (person,) in ledger.all("SELECT person FROM shown WHERE seq = ?", (seq,))}


def _said(ledger: Ledger) -> tuple[dict[int, str], set[int], int]:
    """The SHA-256 of each decision's clip; which were removed; and up to which row. Forged rows are found elsewhere."""
    said: dict[int, str] = {}
    removed: set[int] = set()
    removed_to = 0
    for kind, body in ledger.all(SAYINGS):
        try:
            if kind == "clip":
                one = msgspec.json.decode(body, type=_Said)
                said[one.of] = one.sha256
            else:
                tombstone = msgspec.json.decode(body, type=_Removed)
                removed_to = max(removed_to, tombstone.clips_to)
                removed |= set(tombstone.clips)
        except msgspec.DecodeError:
            continue
    return said, removed, removed_to


class _Said(msgspec.Struct, frozen=True):
    of: int
    sha256: str


class _Removed(msgspec.Struct, frozen=True):
    clips: tuple[int, ...] = ()
    clips_to: int = 0
