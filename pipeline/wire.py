"""Message <-> bytes, and the kinds of edges between processes that carry messages.

`latest` is PUB/SUB with CONFLATE, a PUB for each source, so that none takes another's place (a message is one part:
CONFLATE does not support more). `every` is acknowledged: one ROUTER a sender, one DEALER a hearer and sender; messages
are numbered by (source, seq), and the hearer says from time to time how far it is done with each source. What is not
done is sent again to a hearer that is new.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from pipeline.types import Message, Word

VERSION = 1
DTYPES = frozenset(np.dtype(kind).str for kind in (np.uint8, np.int32, np.float32))


class Undecodable(Exception):
    """Bytes that are no message of this version. They are counted and dropped."""


def _pack(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, np.ascontiguousarray(value).data.cast("B") if value.size else b""
    raise TypeError(f"{type(value).__name__} does not travel")


def _unpack(kind: type, value: Any) -> NDArray[Any]:
    dtype, shape, data = value
    if dtype not in DTYPES or not isinstance(data, bytes):
        raise ValueError(f"an array of {dtype!r}")
    return np.frombuffer(data, dtype).reshape(shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message, dec_hook=_unpack)


def encode(message: Message) -> bytes | bytearray:
    """A version byte and MessagePack; arrays travel as (dtype, shape, bytes)."""
    buffer = bytearray([VERSION])
    _encoder.encode_into(message, buffer, 1)
    return buffer


def decode(data: bytes) -> Message:
    """The message; its arrays are read-only. Raises Undecodable, whatever the bytes."""
    if not data or data[0] != VERSION:
        raise Undecodable(f"not version {VERSION}")
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Undecodable(str(error)) from error


def address(run: Path, sender: int, kind: str) -> str:
    """Where the process of that number in the graph sends: in the run directory, which nobody else may enter."""
    return f"ipc://{run}/{sender}.{kind}"


class LatestSender:
    """A PUB for each source: its newest message to whoever listens."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], run: Path, number: int, sources: Mapping[str, int]
    ) -> None:
        """`sources` is their numbers in the run, by name."""
        self.sockets = {source: open_socket(context, zmq.PUB, CONFLATE=1) for source in sources}
        for source, socket in self.sockets.items():
            socket.bind(address(run, number, f"latest{sources[source]}"))

    def send(self, source: str, payload: bytes | bytearray) -> None:
        """Replace what was not taken yet of this source. What comes while libzmq's thread reads waits for the next."""
        self.sockets[source].send(payload)


class LatestHearer:
    """SUB: one pipe a publisher, each with its newest message, served in turn."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], run: Path, publishers: Iterable[tuple[int, int]]
    ) -> None:
        """`publishers` are numbers: of a sender, and of a source that it sends."""
        self.socket = open_socket(context, zmq.SUB, CONFLATE=1, SUBSCRIBE=b"")
        for sender, source in publishers:
            self.socket.connect(address(run, sender, f"latest{source}"))

    def take(self) -> bytes | None:
        """The newest message of the next publisher that has one."""
        return receive(self.socket)


class Done(msgspec.Struct, frozen=True):
    """What a hearer says to its sender: "I, born as `epoch`, am done with each source up to this seq"."""

    epoch: Word
    done: dict[str, int]


_done_decoder = msgspec.msgpack.Decoder(Done)


class EveryHearer:
    """DEALER: every message of one sender, each once."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], run: Path, name: str, sender: int) -> None:
        self.socket = open_socket(context, zmq.DEALER, IDENTITY=name.encode(), SNDHWM=0, RCVHWM=0)
        self.socket.connect(address(run, sender, "every"))
        self._epoch = secrets.randbits(62)

    def take(self) -> bytes | None:
        """The next message, None where there is none.

        The sender repeats our epoch with each: one that it sent to a killed process of our name may reach us before our
        hello reaches it, and would make a gap.
        """
        while (parts := _receive_parts(self.socket)) is not None:
            if parts[0] == self._epoch.to_bytes(8):
                return parts[-1]
        return None

    def done(self, done: dict[str, int]) -> None:
        """Tell the sender how far we are; on connecting, after each message, and from time to time when idle."""
        self.socket.send(msgspec.msgpack.encode(Done(self._epoch, done)))


class _Peer:
    """What a sender knows of one hearer."""

    def __init__(self) -> None:
        self.epoch = 0
        self.done: dict[str, int] = {}
        self.sent: dict[str, int] = {}


class EverySender:
    """ROUTER: keeps each message until all hearers are done with it; never more than a window of them is on the way."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        run: Path,
        number: int,
        hearers: Sequence[str],
        windows: dict[str, int],
    ) -> None:
        self.socket = open_socket(context, zmq.ROUTER, ROUTER_MANDATORY=1, ROUTER_HANDOVER=1, SNDHWM=0, RCVHWM=0)
        self.socket.bind(address(run, number, "every"))
        self._peers = {hearer.encode(): _Peer() for hearer in hearers}
        self._windows = windows
        self._kept: dict[str, deque[tuple[int, bytes | bytearray]]] = {source: deque() for source in windows}

    def push(self, source: str, seq: int, payload: bytes | bytearray) -> None:
        """Take a message over; it goes out as far as the window allows."""
        self._kept[source].append((seq, payload))
        self._send()

    def greeted(self) -> bool:
        """Whether every hearer has said where it stands."""
        return all(peer.epoch for peer in self._peers.values())

    def settled(self, source: str) -> int:
        """The seq up to which all hearers said they are done, -1 for none."""
        return min((peer.done.get(source, -1) for peer in self._peers.values()), default=-1)

    def oldest(self, source: str) -> int | None:
        """The first seq that is not done, None where all is."""
        kept = self._kept[source]
        return kept[0][0] if kept else None

    def in_flight(self) -> int:
        """Messages that are not done."""
        return sum(map(len, self._kept.values()))

    def room(self, source: str) -> bool:
        """Whether one more message of this source fits into its window."""
        return len(self._kept[source]) < self._windows[source]

    def listen(self) -> int:
        """Take in what the hearers said; returns how many messages were refused."""
        refused = 0
        while (parts := _receive_parts(self.socket)) is not None:
            if parts[0].startswith(b"\0"):
                continue  # ZeroMQ's own name for a peer without one: above all one whose successor has taken it over
            peer = self._peers.get(parts[0])
            try:
                said = _done_decoder.decode(parts[-1])
            except msgspec.DecodeError:
                peer = None
            if peer is None:
                refused += 1
                continue
            peer.done.update({source: seq for source, seq in said.done.items() if source in self._kept})
            if said.epoch != peer.epoch:  # new to us, or born again: it has what it is done with, and no more
                peer.epoch = said.epoch
                peer.sent = dict(peer.done)
            self._forget()
        self._send()
        return refused

    def _forget(self) -> None:
        for source, kept in self._kept.items():
            settled = self.settled(source)
            while kept and kept[0][0] <= settled:
                kept.popleft()

    def _send(self) -> None:
        for identity, peer in self._peers.items():
            if peer.epoch:
                self._send_what_is_new(identity, peer)

    def _send_what_is_new(self, identity: bytes, peer: _Peer) -> None:
        for source, kept in self._kept.items():
            for seq, payload in kept:
                if seq > peer.sent.get(source, -1):
                    if not self._send_to(identity, peer.epoch, payload):
                        return
                    peer.sent[source] = seq

    def _send_to(self, identity: bytes, epoch: int, payload: bytes | bytearray) -> bool:
        try:
            self.socket.send_multipart([identity, epoch.to_bytes(8), payload], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False  # it died; its successor will say hello
        return True


def open_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, **options: Any) -> zmq.Socket[bytes]:
    """A socket of that kind, with ZeroMQ's `options` by their names; what it has not sent dies with it."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
    return socket


def receive(socket: zmq.Socket[bytes]) -> bytes | None:
    """The next message, None where there is none yet."""
    try:
        return socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None


def _receive_parts(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
