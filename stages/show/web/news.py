"""What the gate pushes, looked up once for all who listen, however many, and not at all while nobody does."""

from __future__ import annotations

import asyncio
import math
import threading
import time

from starlette.concurrency import run_in_threadpool

from stages.events.records import Event
from stages.show.web.bodies import Gate
from stages.show.web.data import Data

PUSH_S = 0.2
KEPT = 200  # rows; one who takes nothing in for as long as the gate needs to write more of them misses some
UNDOING = ("tombstone", "checkpoint", "snapshot")  # rows that say that something of earlier ones is gone


class News:
    """On the server's loop, but for `forget`."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._looking = asyncio.Lock()
        self._looks, self._looked = 0, -math.inf
        self._reading = threading.Lock()
        self._events: list[Event] = []  # the oldest first
        self.state = Gate([], None)  # as of the last look
        self.gallery = 0  # the generation of the gallery that a page has to hold

    async def next(self) -> None:
        """Wait for the next look, `PUSH_S` after the one before. Whoever waits first looks for all. Raises Failed."""
        looks = self._looks
        async with self._looking:
            if self._looks > looks:
                return
            await asyncio.sleep(self._looked + PUSH_S - time.monotonic())
            self.state = await run_in_threadpool(self._look)
            self._looked = time.monotonic()
            self._looks += 1

    def events(self, after: int) -> list[Event]:
        """The rows behind number `after`, the oldest first, as of the last look."""
        return [event for event in self._events if event.seq > after]

    def forget(self, gallery: int) -> None:
        """Keep no row in memory: the next look reads them anew, as they are then. From any thread.

        Pages are told of the generation of the `gallery`: not everybody who is forgotten has a row that would say so.
        """
        with self._reading:
            self._events, self.gallery = [], gallery

    def _look(self) -> Gate:
        """Take in the rows that are new; all of them where one says that earlier ones are not as they were."""
        with self._reading:
            events = self._data.newer(self._events[-1].seq if self._events else 0, KEPT)
            if self._events and any(event.kind in UNDOING for event in events):
                self._events, events = [], self._data.newer(0, KEPT)
            self._events = [*self._events, *events][-KEPT:]
        return self._data.state()
