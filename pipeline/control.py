"""What the supervisor and its processes say to each other, over one SOCK_SEQPACKET pair a process."""

from __future__ import annotations

import socket

import msgspec

from pipeline.frames import RingInfo
from pipeline.graph import Policy, Source

LARGEST = 1 << 20  # bytes of one control message


class StageSpec(msgspec.Struct, frozen=True):
    """A stage's class and its config, encoded."""

    module: str
    name: str
    config: bytes  # JSON


class Neighbour(msgspec.Struct, frozen=True):
    """A process at the other end of an edge."""

    name: str
    number: int  # its place in the graph: names its sockets
    policy: Policy
    sources: list[int]  # places in the run of those whose messages come over the edge


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Everything a process must know."""

    name: str
    number: int
    stages: list[StageSpec]
    hears: list[Neighbour]
    heard_by: list[Neighbour]
    sources: list[Source]
    source: Source | None  # the one that this process reads
    windows: dict[str, int]  # messages of a source that may be on the way
    rings: list[RingInfo]
    run: str
    log: str
    page_fd: int
    restarts: int
    suspects: list[tuple[int, int]]  # (source index, seq) in hand when its predecessor died: each on its own now
    skip: list[tuple[int, int]]  # those that killed it twice
    threads: int


class Rings(msgspec.Struct, frozen=True, tag="rings"):
    """A ring was made."""

    rings: list[RingInfo]


class NoRing(msgspec.Struct, frozen=True, tag="no_ring"):
    """The ring that was asked for cannot be had."""

    sentence: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A sender has ended for good; after these there is nothing."""

    sender: str
    last: dict[str, int]  # source -> seq


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """To a source: read no more, then end."""


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Close what is open and end; nothing more will come."""


Order = Start | Rings | NoRing | Ended | Finish | Abort


class NeedRing(msgspec.Struct, frozen=True, tag="need_ring"):
    """Capture knows the size of its frames."""

    width: int
    height: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The stages are built and warm."""


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """A sentence for the user; the process ends with EXIT_FAILED after it."""

    sentence: str
    code: int


Report = NeedRing | Ready | Trouble

EXIT_FAILED = 3  # final, like 0: a crash is any other

_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class Channel:
    """One end of the pair."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.over = False  # the other end is closed, and all that it said has been taken in

    def fileno(self) -> int:
        """For a poller."""
        return self.end.fileno()

    def send(self, message: Order | Report) -> bool:
        """Returns False where the other end is gone."""
        try:
            self.end.send(msgspec.msgpack.encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def order(self, *, wait: bool) -> Order | None:
        """The supervisor's next order; None where there is none. A closed end is Abort."""
        data = self._receive(wait)
        return None if data is None else _orders.decode(data) if data else Abort()

    def report(self) -> Report | None:
        """The process's next report, without waiting."""
        data = self._receive(wait=False)
        self.over = data == b""
        return _reports.decode(data) if data else None

    def _receive(self, wait: bool) -> bytes | None:
        try:
            return self.end.recv(LARGEST, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # once, where it left orders unread; what it said comes behind
            return self._receive(wait)


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end and the process's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    return ours, theirs
