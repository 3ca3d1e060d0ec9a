"""Carry out what was decided: each door and each output has a thread, so that none of them waits for another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from pipeline.config import DERIVED, Config
from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from pipeline.types import Judged
from stages.act import doors
from stages.act.gpio import Gpio, GpioConfig
from stages.act.mqtt import Mqtt, MqttConfig
from stages.act.osdp import Osdp, OsdpConfig
from stages.act.output import Output, OutputFailed
from stages.act.simulated import FileConfig, HeadsFile, Simulated, SimulatedConfig
from stages.act.webhook import Webhook, WebhookConfig
from stages.events.ledger import Ledger
from stages.events.queues import LONGEST_S, Commands, Outbox
from stages.gallery.store import Store

AnyOutput = SimulatedConfig | FileConfig | WebhookConfig | MqttConfig | GpioConfig | OsdpConfig
KINDS: dict[type[Any], Callable[[Any], Output]] = {
    SimulatedConfig: Simulated,
    FileConfig: HeadsFile,
    WebhookConfig: Webhook,
    GpioConfig: Gpio,
}
READERS: dict[type[Any], Callable[[Any, Callable[[str, str], None]], Output]] = {MqttConfig: Mqtt, OsdpConfig: Osdp}
LOOK_S = 0.5  # how often a thread looks for work by itself
STOP_S = 2.0

log = logging.getLogger(__name__)


class ActConfig(Config, frozen=True):
    """`[act]`"""

    outputs: tuple[AnyOutput, ...] = (SimulatedConfig(name="simulated"),)
    # Out of `gate`:
    doors: Annotated[dict[str, str], DERIVED] = msgspec.field(default_factory=dict)  # door -> the output that opens it
    notify: Annotated[tuple[str, ...], DERIVED] = ()  # the outputs that are told
    badge_seconds: Annotated[float, DERIVED] = 15.0


class Act:
    """Judged -> Judged: a message only wakes the threads; what there is to do is in the ledger."""

    def __init__(self, config: ActConfig) -> None:
        names = [one.name for one in config.outputs]
        if len(set(names)) != len(names):
            raise Usage("two outputs have the same name: give each of act.outputs another")
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._doors = frozenset(config.doors)
        self._badge_ns = int(config.badge_seconds * 1e9)
        self._outputs = {one.name: self._made(one) for one in config.outputs}
        jobs: list[Callable[[], Callable[[], float]]] = [
            *(
                lambda door=door, name=name: self._door(door, self._outputs[name])
                for door, name in config.doors.items()
            ),
            *(lambda name=name: self._notices(name, self._outputs[name]) for name in config.notify),
        ]
        self._wakes = [threading.Event() for _ in jobs]
        self._threads = [
            threading.Thread(target=self._run, args=pair, daemon=True) for pair in zip(jobs, self._wakes, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def __call__(self, judged: Judged) -> Judged:
        self._wake()
        return judged

    def tick(self, now: float) -> None:
        """Raises what a thread could not go on after."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let all threads finish what they are at, for two seconds; what is left to tell is told at the next start."""
        self._stop.set()
        self._wake()
        ends = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        for output in self._outputs.values():
            output.close()

    def _made(self, config: AnyOutput) -> Output:
        reads = READERS.get(type(config))
        return reads(config, self._badge) if reads else KINDS[type(config)](config)

    def _badge(self, door: str, number: str) -> None:
        """A badge was shown; called by an output's own thread, and seldom: it opens what it needs.

        What goes wrong is raised by `tick`: in a library's thread it would end that, and the output with it.
        """
        if door not in self._doors:
            log.warning("a badge was shown at a door that is none of the gate's", extra={"door": door})
            return
        try:
            claim(door, number, self._badge_ns)
        except Usage as error:
            log.warning(str(error), extra={"door": door})
        except Failed as error:
            self._error = error

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _run(self, start: Callable[[], Callable[[], float]], wake: threading.Event) -> None:
        """One thread: work until there is none, then wait to be woken."""
        try:
            work = start()
            while not self._stop.is_set():
                wake.clear()
                wake.wait(work())
        except BaseException as error:  # noqa: BLE001  raised by `tick`, where it stops the process
            self._error = error

    def _door(self, door: str, output: Output) -> Callable[[], float]:
        """What the thread of a door does; it opens a ledger of its own, as a connection belongs to one thread."""
        commands = Commands(Ledger(home(), keys(), create=True), door)
        commands.recover()
        doors.begin(door)

        def work() -> float:
            while not self._stop.is_set() and (command := commands.take()):
                try:
                    output.open(command)
                except OutputFailed as error:
                    commands.finish(command, str(error))
                else:
                    commands.finish(command)
                    doors.opened(command)
            return LOOK_S

        return work

    def _notices(self, name: str, output: Output) -> Callable[[], float]:
        """What the thread of an output does: the oldest notice first, and again until it is through.

        Once all are, it is told the head of what was written after the last decision: a clip, an erasure, a restart.
        """
        ledger = Ledger(home(), keys(), create=True)
        outbox = Outbox(ledger, name)
        witnessed = ""

        def work() -> float:
            nonlocal witnessed
            while not self._stop.is_set() and (delivery := outbox.next()):
                try:
                    output.tell(delivery.notice)
                except OutputFailed as error:
                    outbox.failed(delivery.id, str(error), min(LONGEST_S, 2.0**delivery.attempts))
                    return LOOK_S
                outbox.done(delivery.id)
                witnessed = delivery.notice.head.hash
            head = ledger.head()
            if head and head.hash != witnessed and not outbox.waiting()[0]:
                try:
                    output.witness(head)
                except OutputFailed:
                    return LOOK_S  # the next look tries it again, with the head that is the newest then
                witnessed = head.hash
            return LOOK_S

        return work


def claim(door: str, number: str, for_ns: int) -> None:
    """Note that the badge with this number was shown at a door; it counts for so long. Raises Failed and Usage."""
    hashed = Store(home(), keys()).badge(number)
    if hashed is None:
        return  # nobody is enrolled; else whose it is, if anybody's, the gate looks up
    ledger = Ledger(home(), keys(), create=True)
    ledger.claim(door, hashed, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + for_ns)
    ledger.close()
