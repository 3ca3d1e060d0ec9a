"""OSDP against libosdp's peripheral device on a pair of pseudo-terminals; GPIO with gpiozero's own mock pins."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import gpiozero
import msgspec
import osdp
import pytest
from gpiozero.pins.mock import MockFactory

from pipeline.errors import Failed, Usage
from stages.act.gpio import Gpio, GpioConfig
from stages.act.osdp import Osdp, OsdpConfig
from stages.act.output import OutputFailed
from stages.events import schema
from stages.events.records import Command, Notice
from tests.command import ROOT, User
from tests.stages.act.test_outputs import notice, until

COMMAND = Command("c0ffee", "front", 3, 2.5, 1 << 62)


class Wire(osdp.Channel):
    """The device's end of a line."""

    def __init__(self, file: int) -> None:
        self.id = 0
        self.file = file

    def read(self, max_bytes: int) -> bytes:
        try:
            return os.read(self.file, max_bytes)
        except OSError:
            return b""

    def write(self, buf: bytes) -> int:
        try:
            return os.write(self.file, buf)
        except OSError:
            return 0

    def flush(self) -> None:
        pass


class Device:
    """A door controller with a reader, as libosdp plays it; its line keeps its name when it is plugged in again."""

    def __init__(self, folder: Path, key: bytes | None) -> None:
        """Without a key it takes the default one of install mode, or none."""
        self.path, self._key = folder / "ttyDOOR", key
        self.commands: list[dict[str, Any]] = []
        self.refuses: set[int] = set()  # kinds of commands
        self.lights = 1
        self.plug()

    def plug(self) -> None:
        self.ours, self.theirs = os.openpty()
        for end in (self.ours, self.theirs):
            tty.setraw(end)
        os.set_blocking(self.ours, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.theirs))
        abilities = osdp.PDCapabilities(
            [
                (osdp.Capability.OutputControl, 1, 1),
                *([(osdp.Capability.LEDControl, 1, self.lights)] if self.lights else []),
                (osdp.Capability.AudibleControl, 1, 1),
                (osdp.Capability.CardDataFormat, 1, 1),
                *([(osdp.Capability.CommunicationSecurity, 1, 1)] if self._key else []),
            ]
        )
        flags = [osdp.LibFlag.EnforceSecure] if self._key else []
        info = osdp.PDInfo(0, Wire(self.ours), self._key, "door", flags)
        self.pd = osdp.PeripheralDevice(info, abilities, osdp.LogLevel.Critical, self._commanded)
        self.pd.start()

    def unplug(self) -> None:
        self.pd.teardown()
        os.close(self.ours)
        os.close(self.theirs)

    def _commanded(self, command: dict[str, Any]) -> tuple[int, Any]:
        self.commands.append(command)
        return (-1 if command["command"] in self.refuses else 0), None

    def read_card(self, data: bytes) -> None:
        event = {
            "event": osdp.Event.CardRead,
            "reader_no": 0,
            "direction": 0,
            "length": 8 * len(data),
            "format": osdp.CardFormat.Wiegand,
            "data": data,
        }
        self.pd.submit_event(event)


@pytest.fixture
def key() -> bytes:
    return secrets.token_bytes(16)


@pytest.fixture
def device(tmp_path: Path, key: bytes) -> Iterator[Device]:
    device = Device(tmp_path, key)
    yield device
    device.unplug()


def panel(device: Device, key: bytes, badges: list[tuple[str, str]], seconds: float = 2.0) -> Osdp:
    path = device.path.with_name("scbk")
    path.unlink(missing_ok=True)
    path.write_text(key.hex())
    path.chmod(0o400)
    config = OsdpConfig(
        name="relay", device=str(device.path), scbk_file=str(path), door="front", timeout_seconds=seconds
    )
    return Osdp(config, lambda *badge: badges.append(badge))


def of_now() -> Notice:
    return msgspec.structs.replace(notice(), at_ns=time.time_ns())


def opens(osdp_panel: Osdp) -> bool:
    try:
        osdp_panel.open(COMMAND)
    except OutputFailed:
        return False
    return True


def test_a_door_is_opened_and_a_badge_is_read_over_the_secure_channel(device: Device, key: bytes) -> None:
    badges: list[tuple[str, str]] = []
    relay = panel(device, key, badges)
    until(lambda: opens(relay), 20)
    (command,) = [one for one in device.commands if one["command"] == osdp.Command.Output]
    assert (command["output_no"], command["control_code"], command["timer_count"]) == (0, 5, 25)
    device.read_card(b"\x12\x34")
    until(lambda: badges)
    assert badges == [("front", "1234")]
    relay.tell(of_now())
    until(lambda: any(one["command"] == osdp.Command.LED for one in device.commands))
    relay.tell(notice())  # of long ago
    assert sum(one["command"] == osdp.Command.LED for one in device.commands) == 1
    relay.close()


def test_a_device_that_refuses_is_a_failure(device: Device, key: bytes) -> None:
    relay = panel(device, key, [])
    until(lambda: opens(relay), 20)
    device.refuses = {osdp.Command.Output}
    with pytest.raises(OutputFailed, match="refuses"):
        relay.open(COMMAND)
    relay.close()


@contextmanager
def telling(relay: Osdp) -> Iterator[None]:
    """A light is on its way to the device, and was acknowledged or given up afterwards."""
    submitted, submit = threading.Event(), relay._panel.submit_command

    def tell() -> None:
        with suppress(OutputFailed):
            relay.tell(of_now())

    relay._panel.submit_command = lambda *what: (submit(*what), submitted.set())[0]
    thread = threading.Thread(target=tell)
    thread.start()
    assert submitted.wait(10)
    yield
    thread.join()


def test_a_light_that_is_acknowledged_does_not_speak_for_the_door(device: Device, key: bytes) -> None:
    with closing(panel(device, key, [])) as relay:
        until(lambda: opens(relay), 20)
        device.refuses = {osdp.Command.Output}
        with telling(relay), pytest.raises(OutputFailed, match="refuses"):
            relay.open(COMMAND)


def test_a_light_that_is_given_up_takes_no_door_with_it(device: Device, key: bytes) -> None:
    with closing(panel(device, key, [], seconds=0.4)) as relay:
        until(lambda: opens(relay), 20)
        beep = {"command": osdp.Command.Buzzer, "reader": 0, "control_code": 1}
        beep |= dict.fromkeys(("on_count", "off_count", "rep_count"), 1)
        for _ in range(12):  # what the line is busy with for longer than the light is waited for
            assert relay._panel.submit_command(0, beep)
        with telling(relay):
            relay.open(COMMAND)
        assert [one["command"] for one in device.commands].count(osdp.Command.Output) == 2


def test_a_door_whose_order_expires_behind_a_light_stays_shut(device: Device, key: bytes) -> None:
    with closing(panel(device, key, [])) as relay:
        until(lambda: opens(relay), 20)
        opened = len(device.commands)
        with telling(relay), pytest.raises(OutputFailed, match="busy until it was too late"):
            relay.open(msgspec.structs.replace(COMMAND, until_ns=time.time_ns()))
        assert {one["command"] for one in device.commands[opened:]} == {osdp.Command.LED}


def test_a_device_has_no_longer_than_the_order(device: Device, key: bytes) -> None:
    with closing(panel(device, key, [], seconds=60)) as relay:
        until(lambda: opens(relay), 20)

        def late(address: int, command: dict[str, Any]) -> bool:
            threading.Timer(1, relay._completed, (address, command, osdp.CompletionStatus.Ok)).start()
            return True

        relay._panel.submit_command = late
        with pytest.raises(OutputFailed, match="does not answer"):
            relay.open(msgspec.structs.replace(COMMAND, until_ns=time.time_ns() + 100_000_000))


def test_a_device_without_a_light_is_asked_for_none(device: Device, key: bytes) -> None:
    """It would refuse, and libosdp rest for seconds, in which the door does not open."""
    device.unplug()
    device.lights = 0
    device.plug()
    with closing(panel(device, key, [])) as relay:
        until(lambda: opens(relay), 20)
        relay.tell(of_now())
        relay.open(COMMAND)
        assert {one["command"] for one in device.commands} == {osdp.Command.Output}


def test_a_device_with_another_key_is_not_talked_to(device: Device) -> None:
    relay = panel(device, bytes(16), [])
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        with pytest.raises(OutputFailed, match="is away, or has another key"):
            relay.open(COMMAND)
        time.sleep(0.1)
    assert device.commands == []
    relay.close()


def test_a_device_that_enforces_no_secure_channel_is_not_heard(tmp_path: Path, key: bytes) -> None:
    device, badges = Device(tmp_path, None), list[tuple[str, str]]()
    with closing(panel(device, key, badges)) as relay:
        tried, enable = threading.Event(), relay._panel.enable_pd
        relay._panel.enable_pd = lambda address: (tried.set(), enable(address))[1]
        device.read_card(b"\x12\x34")
        until(lambda: badges or tried.is_set(), 20)  # it was given up, and is tried once more
        assert badges == []
    device.unplug()


def test_a_device_that_goes_away_comes_back(device: Device, key: bytes) -> None:
    relay = panel(device, key, [])
    until(lambda: opens(relay), 20)
    device.unplug()
    until(lambda: not opens(relay), 20)
    device.plug()
    until(lambda: opens(relay), 30)
    began = time.monotonic()
    relay.close()
    assert time.monotonic() - began < 10  # it does not wait for a line that is silent


def test_keys_and_lines_that_are_none(device: Device, tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_text("abcd")
    path.chmod(0o400)
    with pytest.raises(Usage, match="32 hexadecimal digits"):
        Osdp(OsdpConfig(name="x", device=str(device.path), scbk_file=str(path)), lambda *_: None)
    with pytest.raises(Failed, match="cannot read the key"):
        Osdp(OsdpConfig(name="x", device=str(device.path), scbk_file=str(tmp_path / "no")), lambda *_: None)
    with pytest.raises(Usage, match="baud"):
        Osdp(OsdpConfig(name="x", device=str(device.path), scbk_file=str(path), baud=300), lambda *_: None)


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    """gpiozero's mock pins: a fake, as no machine here has real ones."""
    factory = MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    yield factory
    factory.reset()


@pytest.mark.parametrize("active_high", [True, False])
def test_a_relay_is_off_then_on_for_a_time_then_off(pins: MockFactory, active_high: bool) -> None:
    relay = Gpio(GpioConfig(name="relay", pin="GPIO17", active_high=active_high))
    pin = pins.pin("GPIO17")
    assert pin.state != active_high
    relay.open(Command("1", "front", 1, 0.2, 0))
    assert pin.state == active_high
    until(lambda: pin.state != active_high)
    relay.open(Command("2", "front", 1, 30, 0))
    assert pin.state == active_high
    relay.close()
    assert pin.function == "input"  # let go of: no relay is driven any more


def test_a_shorter_order_takes_nothing_from_a_longer_one(pins: MockFactory) -> None:
    with closing(Gpio(GpioConfig(name="relay", pin="GPIO17"))) as relay:
        relay.open(Command("1", "front", 1, 60, 0))
        first = relay._timer
        relay.open(Command("2", "front", 1, 1, 0))
        second = relay._timer
        assert first
        assert second
        assert first.finished.is_set(), "it was not cancelled"
        assert second.interval > 30
        first.function()  # as where it waited for the lock already when it was cancelled
        assert pins.pin("GPIO17").state


def test_a_pin_that_does_not_switch_off_is_tried_again(pins: MockFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Gpio(GpioConfig(name="relay", pin="GPIO17"))
    pin, off, tries = pins.pin("GPIO17"), relay._relay.off, []

    def fails_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise Exception("GPIO busy")
        off()

    monkeypatch.setattr(relay._relay, "off", fails_once)
    relay.open(msgspec.structs.replace(COMMAND, seconds=0.05))
    until(lambda: not pin.state)
    assert len(tries) == 2
    relay.close()


def test_a_pin_that_is_none(pins: MockFactory) -> None:
    with pytest.raises(Failed, match="the pin GPIO99 cannot be used"):
        Gpio(GpioConfig(name="relay", pin="GPIO99"))


KILLED = """
import gpiozero
from gpiozero.pins.mock import MockFactory

gpiozero.Device.pin_factory = MockFactory()
pin = gpiozero.Device.pin_factory.pin("GPIO17")


def left_on(*_):
    \"\"\"As a process that is killed leaves it.\"\"\"
    print("was", pin.state)
    pin.function, pin.state = "output", True


import run_pipeline

left_on()
run_pipeline.follow = left_on
try:
    run_pipeline.app()
finally:
    print("in the end", pin.state, pin.function)
"""


def left_on(user: User, script: str) -> subprocess.CompletedProcess[str]:
    """Start a gate that finds its pin switched on."""
    config = user.folder / "gate.toml"
    config.write_text("""
[gate]
accept_photos = true
liveness = "none"
doors = [{name = "front", output = "relay"}]

[[act.outputs]]
kind = "gpio"
name = "relay"
pin = "GPIO17"
""")
    return subprocess.run(
        [sys.executable, "-c", script, "gate", "--config", config],
        env=user.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_a_killed_gate_left_on_is_switched_off_before_all_else_and_in_the_end(tmp_path: Path) -> None:
    done = left_on(User(tmp_path), KILLED)
    assert done.stdout.splitlines().count("was False") == 2, done.stderr
    assert "in the end False input" in done.stdout


def test_a_gate_that_fails_switches_off_in_the_end(tmp_path: Path) -> None:
    fails = KILLED.replace("follow = left_on", "follow = lambda *_: left_on() or 1 / 0")
    assert fails != KILLED
    done = left_on(User(tmp_path), fails)
    assert "in the end False input" in done.stdout, done.stderr


def test_a_second_gate_leaves_the_pins_of_the_one_that_runs(tmp_path: Path) -> None:
    user = User(tmp_path)
    lock = schema.lock(tmp_path / "home")
    done = left_on(user, KILLED)
    os.close(lock)
    assert "another gate runs on the data" in done.stderr
    assert "in the end True output" in done.stdout
