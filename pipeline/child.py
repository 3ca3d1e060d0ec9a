"""What the supervisor knows of one process."""

from __future__ import annotations

import subprocess
from collections import Counter as Tally
from collections import deque
from pathlib import Path

from pipeline.control import Channel, Order
from pipeline.graph import Process
from pipeline.metrics import Page, new_page

IN_SECONDS = 60.0  # within which so many crashes of a process stop the graph
STRIKES = 2  # a message that was in hand at so many crashes is left out


class Child:
    """One process: what it is, what runs of it, how it has fared."""

    def __init__(self, process: Process, number: int, sources: int, log_dir: Path, crashes: int) -> None:
        self.process = process
        self.name = process.name
        self.number = number
        self.page_fd = new_page(process.name, sources)
        self.page = Page(self.page_fd, sources)
        self.errors = log_dir / f"{number}.stderr"
        self.running: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.ready = False
        self.told_to_abort = False
        self.ended = False
        self.restarts = 0
        self.crashes: deque[float] = deque(maxlen=crashes)
        self.strikes: Tally[tuple[int, int]] = Tally()

    def send(self, order: Order) -> None:
        """Say something to the process, if it is there."""
        if self.channel:
            self.channel.send(order)

    def close(self) -> None:
        """Forget a process that is gone."""
        if self.channel:
            self.channel.end.close()
        self.channel = self.running = None

    def hears(self, sender: Child) -> bool:
        """Whether there is an edge from `sender`."""
        return any(edge.sender == sender.name for edge in self.process.hears)

    def strike(self) -> list[tuple[int, int]]:
        """Hold the crash against the messages that were in hand, (source index, seq) each; returns them."""
        held = self.page.held()
        self.strikes.update(held)
        self.page.hold([])
        return held

    @property
    def suspects(self) -> list[tuple[int, int]]:
        """Messages that were in hand at a crash, (source index, seq) each: the next time each on its own."""
        return [key for key, count in self.strikes.items() if count < STRIKES]

    @property
    def skip(self) -> list[tuple[int, int]]:
        """Messages that are left out."""
        return [key for key, count in self.strikes.items() if count >= STRIKES]

    def may_restart(self, now: float) -> bool:
        """Count a crash; whether the budget allows another start."""
        self.crashes.append(now)
        return len(self.crashes) < (self.crashes.maxlen or 0) or now - self.crashes[0] >= IN_SECONDS
