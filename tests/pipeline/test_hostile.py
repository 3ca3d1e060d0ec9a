"""A real process, and a sender that lies: nonsense is counted and dropped, and what is good still arrives."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from msgspec.structs import replace

from pipeline.control import Channel, Ended, NeedRing, Neighbour, Ready, Rings, StageSpec, Start, Trouble, pair
from pipeline.frames import RingWriter, allocate
from pipeline.graph import Source
from pipeline.metrics import Counter, Page, new_page
from pipeline.types import Detections, Frame, Matches
from pipeline.wire import VERSION, address, encode
from tests.pipeline.parts import CountConfig, LookConfig, NameConfig, WriteConfig

ROOT = Path(__file__).parents[2]
SOURCE = Source("cam", "cam", False)


def config_of(stage: str, config: msgspec.Struct) -> StageSpec:
    return StageSpec("tests.pipeline.parts", stage, msgspec.json.encode(config))


class Alone:
    """`python -m pipeline`, whose supervisor is the test itself."""

    def __init__(self, folder: Path, stages: list[StageSpec], **more: Any) -> None:
        self.run = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are too long for a Unix socket
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.page_fd = new_page("alone", 1)
        self.page = Page(self.page_fd, 1)
        ours, theirs = pair()
        self.channel = Channel(ours)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno(), self.page_fd],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        theirs.close()
        plain = {"hears": [], "heard_by": [], "source": None, "rings": [], "restarts": 0, "suspects": [], "skip": []}
        start = plain | {
            "name": "alone",
            "number": 1,
            "stages": stages,
            "sources": [SOURCE],
            "windows": {SOURCE.name: 7},
            "run": str(self.run),
            "log": str(folder / "log"),
            "page_fd": self.page_fd,
            "threads": 1,
        }
        self.channel.send(Start(**(start | more)))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.channel.end.close()
        self.context.destroy(linger=0)
        os.close(self.page_fd)
        shutil.rmtree(self.run)


class Victim(Alone):
    """Three stages that hear the test."""

    def __init__(self, folder: Path) -> None:
        self.lines = folder / "lines"
        self.ring_fd, self.ring = allocate(SOURCE.name, 64, 48, 8)
        stages = [
            config_of("Look", LookConfig()),
            config_of("Name", NameConfig()),
            config_of("Write", WriteConfig(path=str(self.lines))),
        ]
        super().__init__(folder, stages, hears=[Neighbour("liar", 0, "every", [0])], rings=[self.ring])
        self.router = self.context.socket(zmq.ROUTER)
        self.router.bind(address(self.run, 0, "every"))
        self.identity, hello = self.hear()
        self.epoch = msgspec.msgpack.decode(hello)["epoch"].to_bytes(8)

    def hear(self) -> tuple[bytes, bytes]:
        assert self.router.poll(20_000), "the process says nothing"
        identity, said = self.router.recv_multipart()
        return identity, said

    def say(self, *parts: bytes) -> None:
        self.router.send_multipart([self.identity, *parts])

    def finish(self, last: int) -> list[int]:
        """As a sender does, wait until all is done before ending; returns the seqs that came out."""
        while msgspec.msgpack.decode(self.hear()[1])["done"].get(SOURCE.name, -1) < last:
            assert self.process.poll() is None
        self.channel.send(Ended("liar", {SOURCE.name: last}))
        assert self.process.wait(20) == 0
        return [json.loads(line)["seq"] for line in self.lines.read_text().splitlines()]

    def close(self) -> None:
        super().close()
        os.close(self.ring_fd)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path)
    yield victim
    victim.close()


def test_a_process_that_leaves_is_heard_out() -> None:
    """Its orders unread, Linux says first that the connection was reset; what the process said comes behind."""
    ours, theirs = pair()
    supervisor, process = Channel(ours), Channel(theirs)
    supervisor.send(Ended("somebody", {}))
    process.send(Ready())
    process.send(Trouble("no such camera", 1))
    theirs.close()
    assert [supervisor.report(), supervisor.over] == [Ready(), False]
    assert [supervisor.report(), supervisor.over] == [Trouble("no such camera", 1), False]
    assert [supervisor.report(), supervisor.over] == [None, True]
    ours.close()


def matches(frame: Frame) -> Matches:
    """Nobody in the frame."""
    nothing = np.zeros(0, np.float32)
    found = Detections(frame, np.zeros((0, 4), np.float32), nothing, np.zeros(0, np.int32), None, ())
    return Matches(found, (), nothing)


def picture(writer: RingWriter, seq: int) -> Frame:
    writer.claim(64, 48)[:] = seq
    return writer.commit(source="cam", seq=seq, captured_ns=1, pts_ns=0, key_seq=0, key_pts_ns=0, width=64, height=48)


def test_nonsense_is_counted_and_dropped(victim: Victim) -> None:
    writer = RingWriter(victim.ring)
    first, second = picture(writer, 0), picture(writer, 9)
    noise = random.Random(1)
    nonsense = [b"", b"\x00", bytes([VERSION]), bytes([VERSION]) + b"\xc1", bytes([VERSION + 1]) + encode(first)[1:]]
    nonsense += [bytes([VERSION]) + noise.randbytes(40) for _ in range(50)]
    nonsense += [
        bytes(encode(matches(replace(first, seq=5)))),  # the first stage takes tickets
        bytes(encode(replace(first, source="another"))),
        bytes(encode(replace(first, seq=1, ring=12345))),
        bytes(encode(replace(first, seq=2, slot=8))),
        bytes(encode(replace(first, seq=3, width=9000, height=9000))),
        bytes(encode(replace(first, seq=1000, ring=12345))),
        bytes(encode(replace(first, seq=(1 << 64) - 1))),
        bytes(encode(replace(first, seq=4, captured_ns=(1 << 64) - 1))),
    ]
    victim.say(victim.epoch, bytes(encode(first)))
    for data in nonsense:
        victim.say(victim.epoch, data)
    victim.say(victim.epoch, bytes(encode(second)))
    assert victim.finish(9) == [0, 9]
    assert victim.page.get(Counter.REFUSED) == len(nonsense)


def test_a_ticket_for_pixels_that_are_gone_is_a_counted_drop(victim: Victim) -> None:
    writer = RingWriter(victim.ring)
    first, second = picture(writer, 0), picture(writer, 1)
    victim.say(victim.epoch, bytes(encode(replace(first, lap=first.lap + 2))))
    victim.say(victim.epoch, bytes(encode(second)))
    assert victim.finish(1) == [1]
    assert victim.page.get(Counter.OVERWRITTEN) == 1
    assert victim.page.get(Counter.REFUSED) == 0


def test_what_was_meant_for_a_killed_predecessor_is_ignored(victim: Victim) -> None:
    writer = RingWriter(victim.ring)
    frames = [picture(writer, seq) for seq in range(3)]
    victim.say(bytes(8), bytes(encode(frames[2])))
    for frame in frames:
        victim.say(victim.epoch, bytes(encode(frame)))
    assert victim.finish(2) == [0, 1, 2], "the stray message would have made a gap"


def test_what_came_twice_is_done_once(victim: Victim) -> None:
    writer = RingWriter(victim.ring)
    frames = [picture(writer, seq) for seq in range(3)]
    for frame in [frames[0], frames[1], frames[0], frames[1], frames[2]]:
        victim.say(victim.epoch, bytes(encode(frame)))
    assert victim.finish(2) == [0, 1, 2]


def test_a_source_does_not_write_into_the_ring_of_another(tmp_path: Path) -> None:
    rings = {name: allocate(name, 64, 48, 8) for name in ("another", SOURCE.name)}
    reader = Alone(tmp_path, [config_of("Count", CountConfig(frames=3))], source=SOURCE)
    said = []
    while reader.process.poll() is None:
        if select.select([reader.channel], [], [], 20)[0] and (report := reader.channel.report()):
            said.append(report)
            if isinstance(report, NeedRing):
                for _, info in rings.values():  # the news of the other source's ring comes first
                    reader.channel.send(Rings([info]))
    written = {name: [frame.seq for frame in RingWriter(info).whole()] for name, (_, info) in rings.items()}
    reader.close()
    for fd, _ in rings.values():
        os.close(fd)
    assert said == [Ready(), NeedRing(64, 48)]
    assert written == {"another": [], SOURCE.name: [0, 1, 2]}
