"""The `packets` edge: a source's compressed stream, PUB/SUB with a queue that is bounded in packets and in bytes.

ZeroMQ bounds a queue by a count of messages. So a packet travels in pieces of at most `PIECE` bytes, a message each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
import zmq

from pipeline.types import Packet
from pipeline.wire import Undecodable, address, open_socket, receive

PIECE = 1 << 17  # bytes
MOST_PIECES = 500  # that wait on either side, 62 MiB of a source: seconds, in which its hearer may be away or slow
HEAD = struct.Struct(">I??")  # the sender's number, as pieces of several may come in turns; first of a packet; last

_decoder = msgspec.msgpack.Decoder(Packet)


class PacketSender:
    """XPUB: the packets of a source, to whoever has subscribed; nobody is waited for."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], run: Path, number: int) -> None:
        # With NODROP it is told when the queue is full: else pieces out of the middle would be lost.
        self.socket = open_socket(context, zmq.XPUB, SNDHWM=MOST_PIECES, XPUB_NODROP=1)
        self.socket.bind(address(run, number, "packets"))
        self.greeted = False
        self._number = number
        self._broken = False  # one was lost: what comes up to the next key frame cannot be decoded

    def listen(self) -> None:
        """Take in who has subscribed."""
        while receive(self.socket) is not None:
            self.greeted = True

    def send(self, packet: Packet) -> bool:
        """Queue a packet; False where it is lost: the queue of a hearer is full, or was since the last key frame."""
        self._broken = (self._broken and not packet.key) or not self._queue(msgspec.msgpack.encode(packet))
        return not self._broken

    def _queue(self, content: bytes) -> bool:
        for at in range(0, len(content), PIECE):
            head = HEAD.pack(self._number, at == 0, at + PIECE >= len(content))
            try:
                self.socket.send(head + content[at : at + PIECE], zmq.NOBLOCK)
            except zmq.Again:
                return False
        return True


class PacketHearer:
    """SUB: the packets of some sources."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], run: Path, senders: Iterable[int]) -> None:
        self.socket = open_socket(context, zmq.SUB, RCVHWM=MOST_PIECES, SUBSCRIBE=b"")
        for sender in senders:
            self.socket.connect(address(run, sender, "packets"))
        self._begun: dict[int, bytearray] = {}  # sender -> what has come of its packet

    def take(self) -> Packet | None:
        """The next packet that is whole, None where there is none. Raises Undecodable."""
        while (piece := receive(self.socket)) is not None:
            try:
                sender, first, last = HEAD.unpack_from(piece)
                if first:  # what is there of one before has lost its end
                    self._begun[sender] = bytearray()
                if sender in self._begun:
                    self._begun[sender] += memoryview(piece)[HEAD.size :]
                    if last:
                        return _decoder.decode(self._begun.pop(sender))
            except (struct.error, msgspec.DecodeError) as error:
                raise Undecodable(str(error)) from error
        return None
