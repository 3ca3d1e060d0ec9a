"""The `packets` edge: a stream beside the frames, over real sockets, with a queue that cannot grow for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.packets import HEAD, MOST_PIECES, PIECE, PacketHearer, PacketSender
from pipeline.types import Packet
from pipeline.wire import Undecodable, address, open_socket

GROUP = 10  # packets from one key frame to the next


def packet(number: int, size: int, source: str = "cam") -> Packet:
    key = number % GROUP == 0
    return Packet(source, number, 1, number * 40_000_000, 0, key, b"nut" if key else b"", bytes([number % 251]) * size)


class Wires:
    """The ends of edges, in one process."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.ends: list[PacketSender | PacketHearer] = []

    def sender(self, number: int) -> PacketSender:
        self.ends.append(sender := PacketSender(self.context, self.run, number))
        return sender

    def hearer(self, *senders: int) -> PacketHearer:
        self.ends.append(hearer := PacketHearer(self.context, self.run, senders))
        return hearer


@pytest.fixture
def wires(tmp_path: Path) -> Iterator[Wires]:
    wires = Wires(tmp_path)
    yield wires
    for end in wires.ends:
        end.socket.close()
    wires.context.destroy(linger=0)


def greet(*senders: PacketSender) -> None:
    ends = time.monotonic() + 10
    while not all(sender.greeted for sender in senders):
        for sender in senders:
            sender.socket.poll(10)
            sender.listen()
        assert time.monotonic() < ends


def taken(hearer: PacketHearer, count: int) -> list[Packet]:
    """So many, or all that come."""
    found: list[Packet] = []
    while len(found) < count and hearer.socket.poll(10_000):
        while len(found) < count and (one := hearer.take()) is not None:
            found.append(one)
    return found


def test_packets_of_every_size_and_of_several_senders_come_whole(wires: Wires) -> None:
    senders = [wires.sender(number) for number in (1, 2)]
    hearer = wires.hearer(1, 2)
    greet(*senders)
    sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]
    sent = {name: [packet(number, size, name) for number, size in enumerate(sizes)] for name in ("a", "b")}
    for a, b in zip(sent["a"], sent["b"], strict=True):
        assert senders[0].send(a)
        assert senders[1].send(b)
    found = taken(hearer, 2 * len(sizes))
    assert {name: [one for one in found if one.source == name] for name in ("a", "b")} == sent


@pytest.mark.parametrize("size", [100, 5 * PIECE])
def test_who_is_slow_loses_whole_groups_of_pictures_and_memory_is_bounded(wires: Wires, size: int) -> None:
    sender, hearer = wires.sender(1), wires.hearer(1)
    greet(sender)
    sent = [number for number in range(10_000) if sender.send(packet(number, size))]
    assert MOST_PIECES <= len(sent) * (size // PIECE + 1) < 3 * MOST_PIECES, "both queues, and what the kernel holds"
    assert all(number - 1 in sent for number in sent if number % GROUP), "what cannot be decoded is not sent"
    assert [one.number for one in taken(hearer, len(sent))] == sent
    again = [number for number in range(10_005, 10_035) if sender.send(packet(number, size))]
    assert again == list(range(10_010, 10_035)), "from a key frame on"
    assert [(one.number, len(one.data)) for one in taken(hearer, 25)] == [(number, size) for number in again]


def test_where_nobody_hears_nothing_is_kept(wires: Wires) -> None:
    sender = wires.sender(1)
    assert all(sender.send(packet(number, PIECE)) for number in range(2 * MOST_PIECES))


@pytest.mark.parametrize("piece", [b"", b"\0", HEAD.pack(1, True, True) + b"nonsense", HEAD.pack(1, True, True)])
def test_nonsense_is_undecodable_and_what_comes_next_is_heard(wires: Wires, piece: bytes) -> None:
    liar = open_socket(wires.context, zmq.XPUB)
    liar.bind(address(wires.run, 1, "packets"))
    hearer = wires.hearer(1)
    assert liar.poll(10_000)
    liar.recv()
    liar.send(HEAD.pack(1, False, True) + b"the end of what began before we came")
    liar.send(piece)
    assert hearer.socket.poll(10_000)
    with pytest.raises(Undecodable):
        taken(hearer, 1)
    liar.close()
    sender = wires.sender(2)
    hearer.socket.connect(address(wires.run, 2, "packets"))
    greet(sender)
    sender.send(packet(0, 10))
    assert taken(hearer, 1) == [packet(0, 10)]
