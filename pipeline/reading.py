"""The loop of a source: ask it for a frame when there is room for one, send the ticket."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import zmq

from pipeline.control import NeedRing, NoRing, Ready, Rings
from pipeline.errors import Failed
from pipeline.frames import Mark, RingInfo, RingWriter
from pipeline.metrics import Counter, State
from pipeline.process import Node, build, limit_threads
from pipeline.types import Frame, Packet

log = logging.getLogger(__name__)

IDLE_S = 0.02  # how long a source that has nothing now is left alone


class Reading:
    """Drives one source. A failure of the source waits until all that it gave before is done."""

    def __init__(self, node: Node) -> None:
        self.node = node
        source = node.start.source
        if source is None:
            raise ValueError(f"{node.start.name} reads no source")
        self.source = source
        self.state = ""
        self.behind = False  # who hears our packets is too slow

    def run(self) -> None:
        """Read to the end, or until told to finish."""
        node = self.node
        node.await_hearers()
        packets = self._send_packet if node.outlet.packets else None
        parts = {"source": self.source, "ring": self.ring, "after": self._resume(), "packets": packets}
        stage = build(node.start.stages[0], **parts)
        limit_threads(node.start.threads)
        node.channel.send(Ready())
        try:
            self._read(iter(stage), stage)
        except Failed:
            self._drain()
            raise
        finally:
            stage.close()
        self._drain()

    def _drain(self) -> None:
        self.node.page.set(Counter.STATE, State.DRAINING)
        self.node.drain()

    def ring(self, width: int, height: int) -> RingWriter:
        """A ring for frames of this size. The old one is given up once all its frames are done."""
        node = self.node
        node.page.set(Counter.BUSY_SINCE, 0)  # waiting for slow stages is no hanging
        node.drain()
        node.page.set(Counter.BUSY_SINCE, time.monotonic_ns())
        node.channel.send(NeedRing(width, height))
        wait = zmq.Poller()
        wait.register(node.channel, zmq.POLLIN)
        while not node.aborted:
            wait.poll()
            order = node.channel.order(wait=False)
            match order:
                case Rings([RingInfo(source=self.source.name) as mine]):
                    return RingWriter(mine)
                case NoRing(sentence):
                    raise Failed(sentence)
                case None:
                    continue
                case _:
                    node.heed(order)
        raise Failed(f"{self.source.name} was told to stop while it opened")

    def _resume(self) -> Mark | None:
        """Where a killed predecessor stood; its whole frames that are not done are sent again from the ring."""
        node = self.node
        mine = [info for info in node.rings.values() if info.source == self.source.name]
        settled = node.outlet.settled(self.source.name)
        mark = None
        if mine:
            left = RingWriter(mine[-1])
            mark = left.mark()
            for frame in left.whole():
                if frame.seq > settled and not self.source.live:
                    self._send(frame)
        if mark is None and settled >= 0:
            mark = Mark(settled, -1, -1, -1)  # killed between a new ring and its first frame
        if mark is None and self.source.live and node.start.restarts:
            mark = Mark(node.page.last_sent()[node.number[self.source.name]], -1, -1, -1)
        return mark

    def _read(self, frames: Iterator[Frame | None], stage: Any) -> None:
        node = self.node
        page = node.page
        while not (node.finishing or node.aborted):
            node.attend(0)
            self._show(stage.state)
            if not node.outlet.room(self.source.name):
                node.attend(0.25)
                continue
            began = time.monotonic_ns()
            page.set(Counter.BUSY_SINCE, began)
            try:
                frame = next(frames)
            except StopIteration:
                return
            finally:
                page.set(Counter.BUSY_SINCE, 0)
            if frame is None:
                node.attend(IDLE_S)
                continue
            now = time.monotonic_ns()
            page.measured(frame, now - began, now - frame.captured_ns)
            self._send(frame)

    def _show(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.node.page.set(Counter.STATE, State[state.upper()])
            log.info(state, extra={"source": self.source.name})

    def _send_packet(self, packet: Packet) -> None:
        page, edge = self.node.page, self.node.outlet.packets
        assert edge is not None
        sent = edge.send(packet)
        if not sent:
            page.add(Counter.UNSENT)
        if sent is self.behind:  # said once, however many it costs
            self.behind = not sent
            log.warning("packets are lost" if self.behind else "packets go on", extra={"source": self.source.name})

    def _send(self, frame: Frame) -> None:
        node = self.node
        node.outlet.send(frame)
        node.page.sent(node.number[self.source.name], frame.seq)
        node.page.add(Counter.SENT)
