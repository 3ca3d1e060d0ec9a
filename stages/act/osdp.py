"""A door controller or reader by OSDP (SIA OSDP 2.2, IEC 60839-11-5), over RS-485, by libosdp (Apache-2.0).

The secure channel is not optional: a device that does not know the key (SCBK) is not talked to, and the default key of
install mode is never used. Tried against libosdp's own peripheral device over a pair of pseudo-terminals, not on
hardware yet.
"""

from __future__ import annotations

import errno
import math
import os
import termios
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from pipeline.errors import Failed, Usage
from stages.act.output import OutputConfig, OutputFailed, SafeName, Seconds, SomePath, secret
from stages.events.records import Command, Head, Notice

SCBK_BYTES = 16
TICK_S = 0.1  # of the timers in output commands
ON_FOR_A_TIME = 5  # control code: "temporarily on, then as before"
LATE_NS = 5_000_000_000  # a light that comes later says nothing any more
REOPEN_S = 1.0
AWAY = 4  # times REOPEN_S: what a device may take to come online by itself
BAUD = {
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
}


class OsdpConfig(OutputConfig, frozen=True, tag="osdp"):
    """One peripheral device."""

    device: SomePath  # the serial line, like /dev/ttyUSB0
    scbk_file: SomePath  # the secure channel's base key, 32 hexadecimal digits, for its owner alone
    baud: int = 9600
    address: Annotated[int, Meta(ge=0, le=126)] = 0
    relay: Annotated[int, Meta(ge=0, le=255)] = 0  # which of its outputs opens the door
    door: SafeName = "door"  # where badges that its reader reads are shown
    timeout_seconds: Seconds = 2.0


@dataclass
class _Sent:
    """A command that libosdp has not completed yet."""

    kind: int
    done: threading.Event = field(default_factory=threading.Event)
    status: int = -1


class Osdp:
    """Control panel of one device; libosdp's own thread keeps the line alive."""

    def __init__(self, config: OsdpConfig, on_badge: Callable[[str, str], None]) -> None:
        """`on_badge` is called with a door and a badge's number, in libosdp's thread. Raises Usage and Failed."""
        try:
            import osdp
        except ImportError as error:
            raise Failed("OSDP needs libosdp: pip install framewire[osdp]") from error
        if config.baud not in BAUD:
            raise Usage(f"the baud of output {config.name!r} has to be one of {', '.join(map(str, BAUD))}")
        self._osdp, self._config, self._on_badge = osdp, config, on_badge
        self._line = _line(osdp.Channel, config)
        info = osdp.PDInfo(config.address, self._line, _scbk(config), config.name, [osdp.LibFlag.EnforceSecure])
        self._panel = osdp.ControlPanel([info], osdp.LogLevel.Error, self._heard, self._completed)
        self._sending = threading.Lock()
        self._sent: list[_Sent] = []
        self._panel.start()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def open(self, command: Command) -> None:
        """Switch the relay on for `command.seconds`, and wait until the device has acknowledged it, or it expires."""
        self._send(
            {
                "command": self._osdp.Command.Output,
                "output_no": self._config.relay,
                "control_code": ON_FOR_A_TIME,
                "timer_count": max(1, round(command.seconds / TICK_S)),
            },
            command.until_ns,
        )

    def tell(self, notice: Notice) -> None:
        """Show green or red at the reader; a device that is away, or has no light, has nothing to show it on."""
        color, address = self._osdp.CommandLEDColor, self._config.address
        if time.time_ns() - notice.at_ns > LATE_NS or not self._panel.is_sc_active(address):
            return
        _, lights = self._panel.check_capability(address, self._osdp.Capability.LEDControl)
        if not lights:  # to ask all the same would take the line down for seconds, and the door with it
            return
        self._send(
            {
                "command": self._osdp.Command.LED,
                "reader": 0,
                "led_number": 0,
                "temporary": True,
                "control_code": 2,
                "on_count": 10,
                "off_count": 0,
                "on_color": color.Green if notice.outcome == "opened" else color.Red,
                "off_color": color.Black,
                "timer_count": 20,
            }
        )

    def witness(self, head: Head) -> None:
        """A device keeps nothing."""

    def close(self) -> None:
        """Stop talking; a relay that is on goes off by its own timer."""
        self._stop.set()
        self._keeper.join()
        self._panel.teardown()
        self._line.close()

    def _keep(self) -> None:
        """Try a device that is away every few seconds: libosdp itself would rest for up to five minutes."""
        address, away = self._config.address, 0
        while not self._stop.wait(REOPEN_S):
            away = 0 if self._panel.is_sc_active(address) else away + 1
            if away == AWAY:
                self._panel.disable_pd(address)
            elif away > AWAY:
                self._panel.enable_pd(address)
                away = 0

    def _send(self, command: dict[str, Any], until_ns: float = math.inf) -> None:
        """One at a time: a door and a light may share the device, and whoever gives up throws away what is queued.

        Nothing is begun after `until_ns`, by the wall clock, or waited for.
        """
        address = self._config.address
        with self._sending:
            left_s = (until_ns - time.time_ns()) / 1e9
            if left_s <= 0:
                raise OutputFailed(f"the OSDP device {address} was busy until it was too late")
            if not self._panel.is_sc_active(address):
                raise OutputFailed(f"the OSDP device {address} is away, or has another key")
            sent = _Sent(command["command"])
            self._sent.append(sent)
            if not self._panel.submit_command(address, command):
                self._sent.remove(sent)
                raise OutputFailed(f"the OSDP device {address} takes no command now")
            if not sent.done.wait(min(left_s, self._config.timeout_seconds)):
                self._panel.flush_commands(address)
                raise OutputFailed(f"the OSDP device {address} does not answer")
        if sent.status != self._osdp.CompletionStatus.Ok:
            raise OutputFailed(f"the OSDP device {address} refuses the command")

    def _completed(self, _address: int, command: dict[str, Any], status: int) -> None:
        """Each command is completed once, in order; one that was on the line when it was given up, later."""
        sent = next((one for one in tuple(self._sent) if one.kind == command["command"]), None)
        if sent:
            self._sent.remove(sent)
            sent.status = status
            sent.done.set()

    def _heard(self, _device: int, event: dict[str, Any]) -> int:
        if event["event"] == self._osdp.Event.CardRead:
            self._on_badge(self._config.door, bytes(event["data"]).hex())
        return 0


def _scbk(config: OsdpConfig) -> bytes:
    text = secret(config.scbk_file, "key of the secure channel")
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != SCBK_BYTES:
        raise Usage(f"{config.scbk_file} has to hold {2 * SCBK_BYTES} hexadecimal digits")
    return key


def _line(base: type[Any], config: OsdpConfig) -> Any:
    """The serial line as one of libosdp's channels; a line that is unplugged is opened again when it is back."""

    class Line(base):  # type: ignore[misc]  # made here, as libosdp is there only where it is used
        def __init__(self) -> None:
            self.id = 0
            self._file, self._tried = -1, -REOPEN_S

        def read(self, max_bytes: int) -> bytes:
            try:
                return os.read(self._open(), max_bytes) if self._open() >= 0 else b""
            except BlockingIOError:
                return b""
            except OSError:
                self.close()
                return b""

        def write(self, buf: bytes) -> int:
            """What cannot be sent counts as lost on the way: of an error libosdp rests for five minutes."""
            try:
                if self._open() >= 0:
                    os.write(self._open(), buf)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
            return len(buf)

        def flush(self) -> None:
            """Nothing is held back."""

        def close(self) -> None:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

        def _open(self) -> int:
            if self._file < 0 and time.monotonic() - self._tried >= REOPEN_S:
                self._tried = time.monotonic()
                self._file = _serial(config.device, config.baud)
            return self._file

    return Line()


def _serial(device: str, baud: int) -> int:
    """A descriptor of the line, raw; -1 where it is not there."""
    try:
        file = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        tty.setraw(file)
        mode = termios.tcgetattr(file)
        mode[4] = mode[5] = BAUD[baud]
        termios.tcsetattr(file, termios.TCSANOW, mode)
    except termios.error as error:
        os.close(file)
        if error.args[0] == errno.ENOTTY:
            raise Usage(f"{device} is no serial line: set device to one like /dev/ttyUSB0") from error
        return -1
    return file
