"""A relay at a pin of this machine, by gpiozero (BSD-3); tried with gpiozero's mock pins, not on hardware yet.

The time for which a door is open is kept here: a pin whose process is killed may stay on until `shut`, or a restart of
the process, switches it off. Only the kernel or a relay with a timer of its own are faster: see README.md.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable

from pipeline.errors import Failed
from stages.act.output import OutputConfig, OutputFailed
from stages.events.records import Command, Head, Notice

AGAIN_S = 0.25  # after which a pin that did not switch off is tried again

log = logging.getLogger(__name__)


class GpioConfig(OutputConfig, frozen=True, tag="gpio"):
    """A pin, as gpiozero names it ("GPIO17", "BOARD11")."""

    pin: str
    active_high: bool = True  # False for relays that switch on when the pin is low


class Gpio:
    """On while the door is open; off from when this is made, whatever the pin was before, and at the end."""

    def __init__(self, config: GpioConfig) -> None:
        try:
            import gpiozero
        except ImportError as error:
            raise Failed("GPIO needs gpiozero and lgpio: pip install framewire[gpio]") from error
        try:
            self._relay = gpiozero.OutputDevice(config.pin, active_high=config.active_high, initial_value=False)
        except (gpiozero.GPIOZeroError, OSError) as error:
            raise Failed(f"the pin {config.pin} cannot be used: {error}; check gpio and this user's groups") from error
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._ends = -math.inf  # monotonic, s

    def open(self, command: Command) -> None:
        """Switch on, and off after `command.seconds`; a door that is to be open for longer already stays so."""
        with self._lock:
            try:
                self._relay.on()
            except Exception as error:  # lgpio's own is no OSError
                raise OutputFailed(f"the pin does not switch: {error}") from error
            if self._timer:
                self._timer.cancel()
            self._ends = max(self._ends, time.monotonic() + command.seconds)
            self._turn_off_in(self._ends - time.monotonic())

    def _turn_off_in(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._off)
        self._timer.daemon = True
        self._timer.start()

    def _off(self) -> None:
        """Called by a timer: one that was cancelled too late, as it waited here already, switches nothing."""
        with self._lock:
            if self._timer is not threading.current_thread():
                return
            try:
                self._relay.off()
            except Exception as error:  # noqa: BLE001 - the door is open, and nothing else tries again
                log.error("the pin does not switch off: %s", error)
                self._turn_off_in(AGAIN_S)

    def tell(self, notice: Notice) -> None:
        """A relay tells nobody."""

    def witness(self, head: Head) -> None:
        """A relay keeps nothing."""

    def close(self) -> None:
        """Switch off and let go of the pin."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._timer = None
            self._relay.close()


def shut(outputs: Iterable[OutputConfig]) -> None:
    """Switch off the relays among `outputs`, whatever a process that was killed left on, and let go. Raises Failed."""
    for config in outputs:
        if isinstance(config, GpioConfig):
            Gpio(config).close()
