"""The loop of every process but a source: take messages, call the stages one after the other, send the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import zmq

from pipeline.control import Ready
from pipeline.errors import Failed
from pipeline.frames import Overwritten
from pipeline.metrics import MOST_AT_ONCE, Counter, State
from pipeline.packets import PacketHearer
from pipeline.process import LAST_WORD_S, Node, build, limit_threads
from pipeline.types import Message
from pipeline.wire import EveryHearer, LatestHearer, Undecodable, decode

Hearer = EveryHearer | LatestHearer
SKIPPED = object()  # what becomes of a message that killed its stage twice

IDLE_S = 0.25  # how often a process that hears nothing says where it stands


class Hearing:
    """Drives a chain of stages."""

    def __init__(self, node: Node) -> None:
        self.node = node
        start = node.start
        reader = node.reader()
        self.stages = [build(spec, frames=reader) for spec in start.stages]
        self.knows = reader.knows
        self.kind = _taken_by(self.stages[0])
        limit_threads(start.threads)
        run = Path(start.run)
        every = [peer for peer in start.hears if peer.policy == "every"]
        self.every = {peer.name: EveryHearer(node.context, run, start.name, peer.number) for peer in every}
        loose = [(peer.number, source) for peer in start.hears if peer.policy == "latest" for source in peer.sources]
        self.latest = LatestHearer(node.context, run, loose) if loose else None
        beside = [peer.number for peer in start.hears if peer.policy == "packets"]
        self.packets = PacketHearer(node.context, run, beside) if beside else None
        self.loose = {peer.name for peer in start.hears if peer.policy == "latest"}
        self.taken: dict[str, int] = {}  # source -> the last seq that came in
        self.handled: dict[str, int] = {}  # source -> the last seq whose result has gone out
        self.told: dict[str, int] = {}
        self.told_at = 0.0
        # Who is next: each sender has a turn, of `latest` edges each source. These share a socket, which sees to that.
        self.turn: list[Hearer] = [*self.every.values(), *([self.latest] if self.latest else []) * len(loose)]
        self.inputs = self._poller()
        limits = [stage.batch for stage in self.stages if hasattr(stage, "batch")]
        # A batch goes across sources: one of them alone is not made to wait for its own next frame.
        self.batch = min([*limits, len(start.sources), MOST_AT_ONCE]) if limits else 1
        self.suspects = {(start.sources[index].name, seq) for index, seq in start.suspects}
        self.skip = {(start.sources[index].name, seq) for index, seq in start.skip}

    def run(self) -> None:
        """Work until all senders have ended and everything is done, or until told to abort."""
        node = self.node
        node.channel.send(Ready())
        node.page.set(Counter.STATE, State.RUNNING)
        node.await_hearers()
        self._resume()
        self._tell()
        try:
            while not (node.aborted or self._finished()):
                self._wait()
                self._step()
        except Failed:
            with suppress(Failed):  # the first sentence counts
                self._close()
            raise
        if not node.aborted or self.handled:  # an ending that was stopped before it got anything leaves nothing
            self._close()
        self._count_the_lost()

    def _count_the_lost(self) -> None:
        """What a `latest` sender sent last and no later message has shown to be missing."""
        for sender, (_, last) in self.node.ended.items():
            if sender in self.loose:
                lost = (seq - self.taken.get(source, -1) for source, seq in last.items())
                self.node.page.add(Counter.DROPPED, sum(count for count in lost if count > 0))

    def _close(self) -> None:
        self.node.page.set(Counter.STATE, State.CLOSING)
        for stage in self.stages:
            if hasattr(stage, "close"):
                stage.close()

    def _step(self) -> None:
        self._hand_over()
        messages = self._take()
        if messages:
            self._work(messages)
        for stage in self.stages:
            if hasattr(stage, "tick"):
                stage.tick(time.monotonic())
        idle = time.monotonic() - self.told_at >= IDLE_S
        if idle or self._standing() != self.told:
            self._tell()

    def _hand_over(self) -> None:
        """Give the first stage the packets that have come; they are numbered, and accounted for, by themselves."""
        try:
            while self.packets and (packet := self.packets.take()) is not None:
                self.stages[0].packet(packet)
        except Undecodable:
            self.node.page.add(Counter.REFUSED)

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self.node.channel, zmq.POLLIN)
        sockets = {hearer.socket for hearer in self.turn}
        sockets |= {self.node.outlet.every.socket} if self.node.outlet.every else set()
        sockets |= {self.packets.socket} if self.packets else set()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        return poller

    def _wait(self) -> None:
        """Until there is something to do. Where there is no room for a result, what comes in can wait."""
        if self._room():
            self.node.see_to(dict(self.inputs.poll(int(IDLE_S * 1000))))
        else:
            self.node.attend(IDLE_S)

    def _room(self) -> bool:
        return all(map(self.node.outlet.room, self.node.number))

    def _resume(self) -> None:
        """Where we stand: what our hearers are done with, and each stage that finds what it has done itself.

        These are asked at the first start, too: what an earlier run has done needs not be done again.
        """
        standing = [stage.resume() for stage in self.stages if hasattr(stage, "resume")]
        if self.node.outlet.every:
            standing.append({source: self.node.outlet.settled(source) for source in self.node.number})
        for source in self.node.number:
            if standing and (least := min(done.get(source, -1) for done in standing)) >= 0:
                self.handled[source] = least
        self.taken = dict(self.handled)

    def _standing(self) -> dict[str, int]:
        return {source: self.node.outlet.done(source, seq) for source, seq in self.handled.items()}

    def _tell(self) -> None:
        self.told = self._standing()
        self.told_at = time.monotonic()
        for hearer in self.every.values():
            hearer.done(self.told)

    def _take(self) -> list[Message]:
        """The next messages, of each sender in turn: at most one batch."""
        found: list[Message] = []
        limit = 1 if self.suspects else self.batch
        more = self._room()
        while more:
            more = False
            for hear in list(self.turn):
                message = self._receive(hear)
                if message is not None:
                    found.append(message)
                    self.turn.append(self.turn.pop(self.turn.index(hear)))
                    if len(found) == limit:
                        return found
                    more = True
        return found

    def _receive(self, hear: Hearer) -> Message | None:
        """The next message that is new to us; those that make no sense are counted and dropped."""
        while (data := hear.take()) is not None:
            try:
                message = decode(data)
            except Undecodable:
                self.node.page.add(Counter.REFUSED)
                continue
            frame = message.frame
            last = self.taken.get(frame.source, -1)
            if not isinstance(message, self.kind) or frame.source not in self.node.number or not self.knows(frame):
                self.node.page.add(Counter.REFUSED)
            elif frame.seq > last:
                if hear is self.latest:
                    self.node.page.add(Counter.DROPPED, frame.seq - last - 1)
                self.taken[frame.source] = frame.seq
                self.node.page.add(Counter.RECEIVED)
                return message
        return None

    def _work(self, messages: list[Message]) -> None:
        page = self.node.page
        keys = [_key(message) for message in messages]
        page.hold([(self.node.number[source], seq) for source, seq in keys])
        began = time.monotonic_ns()
        page.set(Counter.BUSY_SINCE, began)
        results = self._results(messages)
        now = time.monotonic_ns()
        page.set(Counter.BUSY_SINCE, 0)
        for message, result in zip(messages, results, strict=True):
            frame = message.frame
            page.measured(frame, (now - began) // len(messages), now - frame.captured_ns)
            if isinstance(result, Overwritten):
                page.add(Counter.OVERWRITTEN)
            elif result is SKIPPED:
                page.add(Counter.SKIPPED)
            else:
                if result is not None:
                    self.node.outlet.send(result)
                page.add(Counter.SENT)
                page.sent(self.node.number[frame.source], frame.seq)
            self.handled[frame.source] = frame.seq
        page.hold([])
        self.suspects.difference_update(keys)

    def _results(self, messages: list[Message]) -> list[Any]:
        """What becomes of each message: a message, Overwritten, SKIPPED, or None where a stage ends it."""
        results: list[Any] = list(messages)
        good = [index for index, message in enumerate(messages) if _key(message) not in self.skip]
        for index in set(range(len(messages))).difference(good):
            results[index] = SKIPPED
        for stage in self.stages:
            for index, output in zip(good, _call(stage, [results[index] for index in good]), strict=True):
                results[index] = output
            good = [index for index in good if not isinstance(results[index], Overwritten | None)]
        return results

    def _finished(self) -> bool:
        """All senders have ended, and all that we sent is done.

        An `every` sender does not end before we have said that we are done; the last message of a `latest` one may
        still be on its way.
        """
        if len(self.node.ended) < len(self.node.start.hears) or self.node.outlet.in_flight():
            return False
        for sender, (since, last) in self.node.ended.items():
            behind = any(self.handled.get(source, -1) < seq for source, seq in last.items())
            if behind and sender in self.loose and time.monotonic() - since < LAST_WORD_S:
                return False
        return True


def _taken_by(stage: Any) -> type[Message]:
    """The kind of message that the stage says it takes; a list of them where it takes a batch."""
    kind: Any = next(iter(get_type_hints(type(stage).__call__).values()))
    return cast(type[Message], get_args(kind)[0] if hasattr(stage, "batch") else kind)


def _key(message: Message) -> tuple[str, int]:
    return message.frame.source, message.frame.seq


def _call(stage: Any, messages: list[Any]) -> Sequence[Any]:
    """One result for each message. Pixels that are gone are a result, not an error."""
    if hasattr(stage, "batch"):
        results: Sequence[Any] = stage(messages) if messages else []
        return results
    return [_call_one(stage, message) for message in messages]


def _call_one(stage: Callable[[Any], Any], message: Any) -> Any:
    try:
        return stage(message)
    except Overwritten as gone:
        return gone
