"""What it takes to write a decision down with all that follows from it. `python -m bench.commit`

The gate's own calls, on the disk of the temporary directory ($TMPDIR): a decision that opens, with a snapshot of 60 kB,
a notice and the door's order; then that order as the door's thread takes it, which commits, too.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
import time

import numpy as np

from bench.table import Row, report
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.events.queues import Commands
from stages.events.records import Order
from tests.stages.events.conftest import decision

COUNT, DOOR = 1000, "front"
SNAPSHOT = secrets.token_bytes(60_000)


def main() -> int:
    """Decide about somebody who is known, then about strangers."""
    rows = []
    for about, person in (("a known person", secrets.token_hex(16)), ("a stranger", "")):
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"FRAMEWIRE_HOME": f"{folder}/home", "FRAMEWIRE_KEYS": f"{folder}/keys"}
            decided, taken = _measure(person)
        rows += [Row(f"{about}, p{share}", float(np.percentile(decided, share)), "ms") for share in (50, 95, 99)]
        if person:
            rows += [Row(f"their order, p{share}", float(np.percentile(taken, share)), "ms") for share in (50, 95, 99)]
    notes = [
        f"{COUNT} decisions each way, one after the other, a transaction each, snapshots of {len(SNAPSHOT):,} bytes.",
        "A stranger has a key of their own, which is on the disk first.",
    ]
    return report("commit", rows, versions=("cryptography",), notes=notes)


def _measure(person: str) -> tuple[list[float], list[float]]:
    """How long each decision took, and each order to be taken, ms."""
    ledger, thread = Ledger(home(), keys(), create=True), Ledger(home(), keys())
    commands = Commands(thread, DOOR)
    sha256 = hashlib.sha256(SNAPSHOT).hexdigest()
    decided, taken = [], []
    for _ in range(COUNT):
        made = decision("opened", person, door=DOOR, frame_sha256=sha256)
        began = time.perf_counter()
        with ledger.commit() as commit:
            commit.decide(made, SNAPSHOT, ("witness",), (Order(DOOR, 5.0, 10**10),))
        written = time.perf_counter()
        command = commands.take()
        decided.append((written - began) * 1e3)
        taken.append((time.perf_counter() - written) * 1e3)
        assert command, "the order was lost"
        commands.finish(command)
    for each in (ledger, thread):
        each.close()
    return decided, taken


if __name__ == "__main__":
    sys.exit(main())
