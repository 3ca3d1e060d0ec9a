"""A hop between two processes: our ticket and ring beside imagezmq, which sends the pixels. `python -m bench.hop`

The ticket: from the send in one process to the receive in the other, the pixels being in the ring already. With the
copy: from private pixels in one process to readable pixels in the other, which is what imagezmq does too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagezmq
import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from bench.table import Row, report
from pipeline.copying import Copier
from pipeline.frames import RingInfo, RingReader, RingWriter, allocate
from pipeline.types import Frame
from pipeline.wire import LatestHearer, LatestSender, decode, encode

SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160)}
FRAMES, ROUNDS = 60, 5  # a round of one, then a round of the other
PACE_S = 0.02
GATES = {"1080p": 8.0, "4K": 25.0}


class Peer:
    """The hearing process: answers each round with the milliseconds that each frame took."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "bench.hop", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines = self.process.stdout
        self.read()  # it is ready

    def read(self) -> Any:
        """The next line it says."""
        assert self.lines is not None
        return msgspec.json.decode(self.lines.readline())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        if self.lines:
            self.lines.close()


def say(value: Any) -> None:
    """One line to the other process."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def paced(send: Callable[[int], None]) -> None:
    """Send one round at a camera's pace."""
    for seq in range(FRAMES):
        time.sleep(PACE_S)
        send(seq)


def send_round(
    writer: RingWriter, copy: Copier, sender: LatestSender, pixels: NDArray[np.uint8], base: int
) -> list[float]:
    """framewire's sender: copy into the ring, then the ticket; pts_ns carries when the ticket left.

    Returns the milliseconds of each copy by itself: what the hop with the copy spends on memory.
    """
    height, width = pixels.shape[:2]
    alone = []

    def send(number: int) -> None:
        began = time.monotonic_ns()
        slot = writer.claim(width, height)
        claimed = time.monotonic_ns()
        copy(slot, pixels)
        alone.append((time.monotonic_ns() - claimed) / 1e6)
        frame = writer.commit(
            source="cam",
            seq=base + number,
            captured_ns=began,
            pts_ns=time.monotonic_ns(),
            key_seq=0,
            key_pts_ns=0,
            width=width,
            height=height,
        )
        sender.send("cam", encode(frame))

    paced(send)
    return alone


def hear(run: str, ring: str) -> None:
    """framewire's hearer."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hearer = LatestHearer(context, Path(run), [(0, 0)])
    info = msgspec.json.decode(ring, type=RingInfo)
    frames = RingReader({info.id: info}.get)
    say("ready")
    while True:
        tickets, copies = [], []
        last = False
        while not last:  # the last of a round always comes; one before it may be overtaken
            hearer.socket.poll()
            data = hearer.take()
            assert data is not None
            frame = decode(data)
            arrived = time.monotonic_ns()
            assert isinstance(frame, Frame)
            last = frame.seq % FRAMES == FRAMES - 1
            with frames.view(frame) as pixels:
                _ = int(pixels[0, 0, 0])
            copies.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
            tickets.append((arrived - frame.pts_ns) / 1e6)
        say([tickets, copies])


def hear_imagezmq(address: str) -> None:
    """imagezmq's hearer, PUB/SUB like ours."""
    hub = imagezmq.ImageHub(open_port=address, REQ_REP=False)
    say("ready")
    while True:
        took = []
        for _ in range(FRAMES):
            sent, pixels = hub.recv_image()
            _ = int(pixels[0, 0, 0])
            took.append((time.monotonic_ns() - int(sent)) / 1e6)
        say(took)


def measure(width: int, height: int) -> dict[str, list[float]]:
    """Milliseconds of every frame: the ticket, the ticket with the copy, the copy by itself, imagezmq."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    found: dict[str, list[float]] = {"ticket": [], "copy": [], "alone": [], "imagezmq": []}
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        fd, info = allocate("cam", width, height, 8)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sender = LatestSender(context, Path(run), 0, {"cam": 0})
        writer, copier = RingWriter(info), Copier(helped=True)
        other = imagezmq.ImageSender(connect_to=f"ipc://{run}/other", REQ_REP=False)
        peers = [Peer("hear", run, msgspec.json.encode(info).decode()), Peer("hear_imagezmq", f"ipc://{run}/other")]
        time.sleep(0.5)  # until both subscriptions have reached their publishers
        for number in range(ROUNDS):
            found["alone"] += send_round(writer, copier, sender, pixels, number * FRAMES)
            tickets, copies = peers[0].read()
            found["ticket"] += tickets
            found["copy"] += copies
            paced(lambda _: other.send_image(str(time.monotonic_ns()), pixels))
            found["imagezmq"] += peers[1].read()
        for peer in peers:
            peer.close()
        for each in (context, other.zmq_context):
            each.destroy(linger=0)
        copier.close()
        os.close(fd)
    return found


def main() -> int:
    """Measure both sizes; returns the exit status."""
    rows = []
    for name, (width, height) in SIZES.items():
        found = measure(width, height)
        ticket, copy, alone, theirs = (float(np.median(found[key])) for key in ("ticket", "copy", "alone", "imagezmq"))
        p99 = float(np.quantile(found["ticket"], 0.99))
        heard = 100 * len(found["ticket"]) / (ROUNDS * FRAMES)  # a ticket that waits is replaced by the next
        rows += [
            Row(f"{name}: imagezmq, p50", theirs, "ms"),
            Row(f"{name}: ticket, p50", ticket, "ms", "<= 0.4"),
            Row(f"{name}: ticket, p99", p99, "ms"),
            Row(f"{name}: tickets heard, of {ROUNDS * FRAMES} sent", heard, "%", ">= 95"),
            Row(f"{name}: imagezmq / ticket", theirs / ticket, "x", f">= {GATES[name]:g}"),
            Row(f"{name}: ticket with the copy, p50", copy, "ms"),
            Row(f"{name}: the copy by itself, p50", alone, "ms"),
            Row(f"{name}: imagezmq / ticket with the copy", theirs / copy, "x", ">= 2"),
        ]
    return report("hop", rows, versions=("imagezmq", "pyzmq", "msgspec", "numpy"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["hear", run, ring]:
            hear(run, ring)
        case ["hear_imagezmq", address]:
            hear_imagezmq(address)
    sys.exit(main())
