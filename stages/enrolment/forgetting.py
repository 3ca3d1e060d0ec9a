"""Forgetting a person: in the gallery, the gate's log, the pictures of others, and videos; and the receipt for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.clips.clips import blur_out
from stages.events import clips, snapshots
from stages.events.ledger import Ledger
from stages.gallery.store import Forgotten, Store
from stages.highlight.known import FOLDER, Known

FOLLOW_S = 30.0  # how long it waits for running pipelines


def forgotten(store: Store, name: str) -> tuple[list[str], list[str]]:
    """Destroy all that is kept of a person: the receipt, and what of it is not done yet. Raises Failed.

    The events first, before running processes erase what they have noted, so that all are counted; and once more when
    no process is left that could have written another. The key goes last: until then the name can be said again after a
    crash. Those forgotten before, of whom something was left, are erased, too.
    """
    known = [one.id for one in store.people() if one.name == name]
    ledger = Ledger(home(), keys()) if (home() / "gate.sqlite").exists() else None
    copies: list[Path] = []
    videos = Known(home() / FOLDER)
    counts = Counter(events=0, blurred=0, covered=0, removed=0, videos=0)
    damaged: Failed | None = None
    try:
        counts["videos"] += videos.erase(*known)
        counts["videos"] += videos.erase(*store.forgotten(-1, videos.owners()))
    except Failed as error:  # of what a video's file keeps: no reason to leave them in the gate's log
        damaged = error
    if ledger:
        copies = ledger.remove_copies()
        for one in (*known, *store.forgotten(-1, ledger.owners())):
            counts.update(_erased(ledger, one))
    if damaged:
        raise damaged
    person = store.disown(name)
    late = store.wait_for(store.generation(), FOLLOW_S)
    counts["videos"] += videos.erase(person)
    if ledger:
        counts.update(_erased(ledger, person))
        ledger.close()
    gone = store.forget(name)
    gone = gone._replace(counts=gone.counts | counts, copies=[*copies, *gone.copies])
    return receipt(name, gone, late, store.beyond), [*gone.left, *late]


def _erased(ledger: Ledger, person: bytes) -> dict[str, int]:
    """Erase somebody's events and cover their face in the clips and snapshots of others; how many."""
    events = len(ledger.erase(person))
    covered, without = snapshots.blur_out(ledger, person)
    blurred, removed = blur_out(ledger, person)
    clips.sweep(ledger)  # a crash may have come between the row of a clip that was blurred and the file from before
    return {"events": events, "blurred": blurred, "covered": covered, "removed": without + removed}


def receipt(name: str, gone: Forgotten, late: list[str], beyond: Sequence[str]) -> list[str]:
    """What was destroyed, and what is out of reach; `late` are the processes that still know the person."""
    counts = gone.counts
    return [
        f"{name} is forgotten at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"destroyed: the data key, {counts['templates']} templates, {counts['portraits']} portraits; "
        f"{counts['events']} events of the gate, with snapshots and clips, are erased and marked so in its log; "
        f"in {counts['blurred']} clips and {counts['covered']} snapshots of others the face is covered, "
        f"and {counts['removed']} were removed; "
        f"in what `highlights` keeps of {counts['videos']} videos they are not known any more",
        *(f"removed, a copy of everybody from before an update: {path}" for path in gone.copies),
        *(f"NOT YET: {sentence}" for sentence in gone.left),
        *(f"NOT YET: {who} still has the old gallery in memory: stop it" for who in late),
        *([] if late else ["in memory: no running process holds this person any more"]),
        f"out of reach: {', '.join(beyond)}, what an SSD or a file system that copies on write keeps of blocks that "
        "were written over, exports made of this person, notifications that were sent, "
        "what `gate` printed with names (on a terminal, or with --json), results of `run` (NAME.jsonl and NAME.mp4 "
        "in its --out), reels of `highlights` and what lies beside them, faces of this person that were kept as not "
        "another's (`gate wrong`), and clips and snapshots of others in which this person was not recognized (see "
        "gate.retention)",
    ]
