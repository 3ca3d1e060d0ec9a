"""What was decided is carried out: doors at once and once, notices in order, one output without waiting for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.errors import Usage
from pipeline.home import home
from stages.act import doors
from stages.act.act import KINDS, Act, ActConfig
from stages.act.doors import DoorState
from stages.act.output import OutputConfig, OutputFailed
from stages.act.simulated import FileConfig
from stages.events.audit import audit, read_heads
from stages.events.queues import Commands, Outbox
from stages.events.records import Command, Head, Notice, Order
from stages.gallery.store import Store
from tests.command import ROOT
from tests.stages.act.test_outputs import until
from tests.stages.events.conftest import SNAPSHOT, Office, decision

ADA = "0a" * 16


@pytest.fixture
def office(places: Path) -> Iterator[Office]:
    office = Office(places)
    yield office
    office.ledger.close()


def decide(office: Office, outputs: tuple[str, ...] = (), door: str = "front") -> int:
    with office.ledger.commit() as commit:
        return commit.decide(decision("opened", ADA), SNAPSHOT, outputs, [Order(door, 2.0, 10**10)])


def acting(**config: Any) -> Act:
    return Act(msgspec.convert(config, ActConfig))


def test_a_door_opens_and_heads_go_out_in_order(office: Office, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    act = acting(
        outputs=[{"kind": "simulated", "name": "sim"}, {"kind": "file", "name": "heads", "path": str(heads)}],
        doors={"front": "sim"},
        notify=["heads"],
    )
    seqs = [decide(office, ("heads",)) for _ in range(3)]
    act._wake()
    until(lambda: heads.exists() and len(read_heads(heads)) == 3)
    assert [head.seq for head in read_heads(heads)] == seqs
    until((home() / "doors" / "front.json").exists)
    until(lambda: {state for (state,) in office.ledger.all("SELECT state FROM commands")} == {"done"})
    act.close()
    act.tick(0)
    assert Outbox(office.ledger, "heads").waiting() == (0, "")


class MuteConfig(OutputConfig, frozen=True, tag="mute"):
    """A stand-in for an output that knows nothing of HOME/doors."""


class FakeMute:
    """Opens at once, and says nothing."""

    def __init__(self, config: MuteConfig) -> None:
        pass

    def open(self, command: Command) -> None:
        pass

    def tell(self, notice: Notice) -> None:
        pass

    def witness(self, head: Head) -> None:
        pass

    def close(self) -> None:
        pass


def test_whatever_opens_a_door_the_page_hears_of_it_and_forgets_it_at_the_next_start(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, MuteConfig, FakeMute)
    outputs: Any = (MuteConfig(name="mute"),)
    act = Act(ActConfig(outputs=outputs, doors={"front": "mute"}))
    seq = decide(office)
    act._wake()
    until(lambda: doors.state("front").seq == seq)
    act.close()
    found = doors.state("front")
    assert found.opened_ns is not None
    assert found.until_ns == found.opened_ns + 2_000_000_000
    again = Act(ActConfig(outputs=outputs, doors={"front": "mute"}))
    until(lambda: doors.state("front") == DoorState("front"))
    again.close()


def test_a_door_that_did_not_open_is_not_said_to_be_open(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, StuckConfig, FakeStuck)
    outputs: Any = (StuckConfig(name="stuck"),)
    act = Act(ActConfig(outputs=outputs, doors={"front": "stuck"}))
    decide(office)
    act._wake()
    until(lambda: office.ledger.all("SELECT state FROM commands") == [("failed",)])
    act.close()
    assert doors.state("front") == DoorState("front")


def test_the_head_of_what_is_no_decision_goes_out_after_those_that_are(office: Office, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    seq = decide(office, ("heads",))
    with office.ledger.commit() as commit:
        erased = commit.note("clock", jumped_s=1)
    act = acting(outputs=[{"kind": "file", "name": "heads", "path": str(heads)}], notify=["heads"])
    until(lambda: heads.exists() and len(read_heads(heads)) == 2)
    assert [head.seq for head in read_heads(heads)] == [seq, erased]
    office.ledger.erase(bytes.fromhex(ADA))
    until(lambda: len(read_heads(heads)) == 3)
    act.close()
    assert audit(office.ledger, read_heads(heads)).findings == ()
    office.tamper("DELETE FROM chain WHERE seq = 3", "DELETE FROM notes WHERE seq = 3")
    assert any("were cut off" in finding for finding in audit(office.ledger, read_heads(heads)).findings)


class StuckConfig(OutputConfig, frozen=True, tag="stuck"):
    """A stand-in for an output that hangs; real ones are in test_outputs.py."""


class FakeStuck:
    """Never comes back until it is let go."""

    def __init__(self, config: StuckConfig) -> None:
        self.calls = 0

    def open(self, command: Command) -> None:
        self.calls += 1
        raise OutputFailed("the relay does not answer")

    def tell(self, notice: Notice) -> None:
        self.calls += 1
        time.sleep(30)

    def witness(self, head: Head) -> None:
        time.sleep(30)

    def close(self) -> None:
        pass


def test_a_dead_output_delays_no_other_and_not_the_end(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, StuckConfig, FakeStuck)
    heads = tmp_path / "heads.jsonl"
    stuck = ("stuck", "stuck2", "stuck3", "stuck4")
    outputs: Any = (*(StuckConfig(name=name) for name in stuck), FileConfig(name="heads", path=str(heads)))
    act = Act(ActConfig(outputs=outputs, doors={"front": "stuck"}, notify=(*stuck, "heads")))
    seqs = {decide(office, (*stuck, "heads")) for _ in range(2)}
    act._wake()
    until(lambda: heads.exists() and {head.seq for head in read_heads(heads)} >= seqs)
    until(lambda: len(office.ledger.all("SELECT 1 FROM commands WHERE state = 'failed'")) == 2)
    assert any("the relay does not answer" in event.note for event in office.ledger.events())
    began = time.monotonic()
    act.close()
    assert time.monotonic() - began < 7  # then it would be killed; each thread that hangs would take 30
    assert Outbox(office.ledger, "stuck").waiting()[0] == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.events.queues import Commands
assert Commands(Ledger(home(), keys()), "front").take()
os.kill(os.getpid(), signal.SIGKILL)  # between taking and doing
"""


def test_a_door_command_in_hand_at_a_kill_is_not_repeated(office: Office) -> None:
    seq = decide(office)
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    act = acting(doors={"front": "simulated"})
    until(lambda: office.ledger.all("SELECT state FROM commands") == [("unknown",)])
    act.close()
    assert not (home() / "doors" / "front.json").exists()
    note = office.ledger.events()[0].note
    assert f'"decision":{seq}' in note
    assert Commands(office.ledger, "front").take() is None


def test_two_outputs_of_one_name(places: Path) -> None:
    with pytest.raises(Usage, match="same name"):
        acting(outputs=[{"kind": "simulated", "name": "a"}] * 2)


@pytest.mark.parametrize("outputs", [[{"kind": "fax", "name": "x"}], [{"kind": "simulated", "name": "a b"}]])
def test_an_output_that_is_none_is_named_by_its_key(outputs: list[dict[str, str]]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.outputs\[0\]"):
        msgspec.convert({"outputs": outputs}, ActConfig)


def test_a_badge_of_nobody_ends_neither_the_reader_nor_the_gate(office: Office) -> None:
    act = acting(doors={"front": "simulated"})
    act._badge("front", "4711")  # nobody is enrolled at all
    act._badge("front", " \n")
    act.tick(0)
    assert office.ledger.claimed("front", 0) is None
    act.close()


def test_a_badge_that_is_shown_becomes_a_claim(office: Office, places: Path) -> None:
    store = Store(home(), places / "keys")
    store.add("Ada", "m", np.eye(1, 8, dtype=np.float32))
    act = acting(doors={"front": "simulated"}, badge_seconds=30)
    act._badge("front", "4711\r\n")
    act._badge("nowhere", "4711")
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert office.ledger.claimed("front", now) == store.badge("4711")
    assert office.ledger.claimed("front", now + 31 * 10**9) is None
    assert office.ledger.claimed("nowhere", now) is None
    act.close()
