"""What every process of a graph has: its orders, its numbers, its outlet, and how its stages are built."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import zmq

from pipeline.control import Abort, Channel, Ended, Finish, Order, Rings, StageSpec, Start
from pipeline.frames import RingInfo, RingReader
from pipeline.metrics import Counter, Page
from pipeline.packets import PacketSender
from pipeline.types import Message
from pipeline.wire import EverySender, LatestSender, encode

LAST_WORD_S = 1.0  # how long the last message on a `latest` edge is waited for


class Outlet:
    """What leaves a process, over all kinds of edges."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], start: Start) -> None:
        run = Path(start.run)
        every = [peer.name for peer in start.heard_by if peer.policy == "every"]
        self.every = EverySender(context, run, start.number, every, start.windows) if every else None
        loose = {start.sources[i].name: i for peer in start.heard_by if peer.policy == "latest" for i in peer.sources}
        self.latest = LatestSender(context, run, start.number, loose) if loose else None
        beside = any(peer.policy == "packets" for peer in start.heard_by)
        self.packets = PacketSender(context, run, start.number) if beside else None
        self._recorded = start.source is not None and not start.source.live

    def send(self, message: Message) -> None:
        """Hand the message to every hearer."""
        payload = encode(message)
        if self.latest:
            self.latest.send(message.frame.source, payload)
        if self.every:
            self.every.push(message.frame.source, message.frame.seq, payload)

    def room(self, source: str) -> bool:
        """Whether the hearers can do with one more message of this source."""
        return self.every is None or self.every.room(source)

    def greeted(self) -> bool:
        """Whether every hearer that must not miss anything is there; or the beginning, of what has one."""
        ready = self.packets is None or self.packets.greeted or not self._recorded
        return ready and (self.every is None or self.every.greeted())

    def in_flight(self) -> int:
        """Messages that were sent and are not done."""
        return self.every.in_flight() if self.every else 0

    def done(self, source: str, handled: int) -> int:
        """Up to which seq everything is done for good, where we ourselves have handled up to `handled`."""
        oldest = self.every.oldest(source) if self.every else None
        return handled if oldest is None else oldest - 1

    def settled(self, source: str) -> int:
        """The seq up to which all hearers were done before we were born."""
        return self.every.settled(source) if self.every else -1


class Node:
    """What both kinds of process have: the supervisor's orders, the page of numbers, the outlet."""

    def __init__(self, channel: Channel, start: Start) -> None:
        self.start = start
        self.page = Page(start.page_fd, len(start.sources))
        self.number = {source.name: index for index, source in enumerate(start.sources)}
        self.rings = {info.id: info for info in start.rings}
        self.ended: dict[str, tuple[float, dict[str, int]]] = {}  # sender -> when we heard of it, its last seqs
        self.finishing = False
        self.aborted = False
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.outlet = Outlet(self.context, start)
        self.poller = zmq.Poller()
        self.poller.register(channel, zmq.POLLIN)
        if self.outlet.every:
            self.poller.register(self.outlet.every.socket, zmq.POLLIN)
        if self.outlet.packets:
            self.poller.register(self.outlet.packets.socket, zmq.POLLIN)
        self.channel = channel

    def close(self) -> None:
        """Close the sockets; of a `latest` edge a second later, as CONFLATE forgets what a lost peer said last."""
        ends = time.monotonic() + LAST_WORD_S
        while self.outlet.latest and not self.aborted and time.monotonic() < ends:
            self.attend(0.05)
        self.context.destroy(linger=0)

    def reader(self) -> RingReader:
        """Where this process's stages find pixels."""
        return RingReader(self.ring)

    def ring(self, id_: int) -> RingInfo | None:
        """The ring of that id. The supervisor tells of a ring before its first ticket: look again at what it said."""
        if id_ not in self.rings:
            self.obey()
        return self.rings.get(id_)

    def obey(self) -> None:
        """Take in the supervisor's orders, without waiting."""
        while not self.aborted and (order := self.channel.order(wait=False)) is not None:
            self.heed(order)

    def heed(self, order: Order) -> None:
        """Do as one order says."""
        match order:
            case Rings(rings):
                self.rings |= {info.id: info for info in rings}
            case Ended(sender, last):
                self.ended[sender] = (time.monotonic(), last)
            case Finish():
                self.finishing = True
            case Abort():
                self.aborted = True

    def attend(self, seconds: float) -> None:
        """Wait for orders, for hearers, or for messages, and see to the first two."""
        self.see_to(dict(self.poller.poll(int(seconds * 1000))))

    def see_to(self, ready: dict[Any, int]) -> None:
        """See to orders and hearers, as far as the poller says that there is something."""
        if self.channel.fileno() in ready:
            self.obey()
        if self.outlet.every and self.outlet.every.socket in ready:
            self.page.add(Counter.REFUSED, self.outlet.every.listen())
        if self.outlet.packets and self.outlet.packets.socket in ready:
            self.outlet.packets.listen()
        self.page.set(Counter.IN_FLIGHT, self.outlet.in_flight())

    def await_hearers(self) -> None:
        """Nothing can be sent, or said to our own senders, before all hearers have told where they stand."""
        while not (self.outlet.greeted() or self.aborted):
            self.attend(0.25)

    def drain(self) -> None:
        """Wait until everything that was sent is done."""
        while self.outlet.in_flight() and not self.aborted:
            self.attend(0.25)


def build(spec: StageSpec, **parts: Any) -> Any:
    """Make a stage from its spec: its constructor gets its config and, by name, those `parts` that it asks for."""
    kind = getattr(importlib.import_module(spec.module), spec.name)
    wanted = inspect.signature(kind).parameters
    config = msgspec.json.decode(spec.config, type=get_type_hints(kind.__init__)["config"])
    return kind(config, **{name: part for name, part in parts.items() if name in wanted})


def limit_threads(threads: int) -> None:
    """Tell those libraries that are here, and do not read the environment, how many threads are theirs."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
