"""What open pages cost the process that serves them: one, and ten at once. `python -m bench.open_pages`

The gate has decided about 30,000 strangers, each under a key of their own, and decides once more every second.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import NamedTuple

from websockets.sync.client import connect

from bench.table import Row, report
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.show.web.show import Show, ShowConfig, announced
from stages.show.web.users import Users
from tests.fakes import MemoryFrames
from tests.stages.events.conftest import decision

KEYS, PAGES, SECONDS = 30_000, 10, 10.0


def main() -> int:
    """Serve one page, then ten; 1 when a gate fails."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"FRAMEWIRE_HOME": f"{folder}/home", "FRAMEWIRE_KEYS": f"{folder}/keys"}
        ledger = Ledger(home(), keys(), create=True)
        for _ in range(KEYS):
            ledger.keys.new(secrets.token_bytes(16))
        show = Show(ShowConfig(port=0), MemoryFrames())
        one, many = _served(1), _served(PAGES)
        show.close()
        ledger.close()
    rows = [
        Row("one page", one.share, "of a core"),
        Row(f"{PAGES} pages", many.share, "of a core"),
        Row("over one page", many.share / one.share, "times", gate="<= 3"),
        Row("one page is told", one.messages, "times a second"),
        Row(f"each of {PAGES} pages is told", many.messages, "times a second", gate=">= 4"),
    ]
    notes = [f"CPU time of the page's process over {SECONDS:.0f} s each, {KEYS:,} keys, a decision a second."]
    return report("open_pages", rows, versions=("starlette", "uvicorn", "websockets"), notes=notes)


class Served(NamedTuple):
    """How it went."""

    share: float  # of a core
    messages: float  # a second, to each page


def _served(pages: int) -> Served:
    """What this process does while another one has so many pages open."""
    found = announced()
    assert found
    token = Users(home()).new_token("bench", "viewer")
    spawn = multiprocessing.get_context("spawn")
    ready, over, rounds = spawn.Event(), spawn.Event(), spawn.Value("i")
    address = found.address.replace("http", "ws")
    watching = spawn.Process(target=_watch, args=(address, token, pages, ready, over, rounds))
    watching.start()
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    time.sleep(SECONDS)
    taken = time.perf_counter() - began
    served = Served((time.process_time() - used) / taken, rounds.value / taken)
    over.set()
    watching.join()
    return served


def _watch(address: str, token: str, pages: int, ready: Event, over: Event, rounds: Synchronized[int]) -> None:
    """Read what so many pages are told, and decide about a stranger every second."""
    ledger = Ledger(home(), keys())
    with ExitStack() as stack:
        headers = {"Authorization": f"Bearer {token}"}
        sockets = [stack.enter_context(connect(f"{address}api/push", additional_headers=headers)) for _ in range(pages)]
        for socket in sockets:
            socket.recv()
        ready.set()
        decided = time.monotonic()
        while not over.is_set():
            for socket in sockets:
                socket.recv()
            rounds.value += 1
            if time.monotonic() - decided >= 1:
                decided = time.monotonic()
                with ledger.commit() as commit:
                    commit.decide(decision(at_ns=time.time_ns()), b"", ())
    ledger.close()


if __name__ == "__main__":
    sys.exit(main())
