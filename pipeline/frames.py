"""The frame ring: one a source, in a memfd that the supervisor owns; capture writes it, everybody else reads it.

A slot's lap is a sequence lock: odd while capture writes, even and equal to the ticket's while the pixels are the
ticket's. Nobody holds a reference, so a killed reader leaks nothing and blocks nobody. Each slot also keeps what its
ticket said, so a restarted capture finds its last frames whole and goes on behind them.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline import limits
from pipeline.errors import Failed
from pipeline.types import MOST_SIDE, Frame

PAGE = 4096
MAP_FLAGS = mmap.MAP_SHARED | mmap.MAP_POPULATE  # else each page of the first lap is a fault: 5 ms a 1080p frame, not 1
WORDS = 8  # a record: one cache line of 64-bit words; the first says whose ring it is, then there is one a slot
LAP, SEQ, CAPTURED, PTS, WIDTH, HEIGHT, KEY_SEQ, KEY_PTS = range(WORDS)
DAMAGE = 1  # the first record's word for what a source found damaged so far
NO_FRAME = -1

_fence = threading.Lock()  # taken and released between lap and pixels: orders the accesses where the machine does not


class Overwritten(Exception):
    """The pixels of a ticket are gone: the ring has come round. A counted drop, not an error."""


class Frames(Protocol):
    """Where a stage finds the pixels of a ticket."""

    def view(self, frame: Frame) -> AbstractContextManager[NDArray[np.uint8]]:
        """(height, width, 3) uint8 BGR, read-only, good inside the block only; raises Overwritten."""


class RingInfo(msgspec.Struct, frozen=True):
    """What a process must know to open a ring."""

    source: str
    id: int  # random; a ticket of another ring is refused
    path: str  # /proc/<supervisor>/fd/N
    slots: int
    slot_bytes: int

    @property
    def stride(self) -> int:
        """Bytes from one slot's pixels to the next's: whole pages."""
        return -(-self.slot_bytes // PAGE) * PAGE

    @property
    def pixels_at(self) -> int:
        """Where the first slot's pixels begin: behind the records."""
        return -(-(self.slots + 1) * WORDS * 8 // PAGE) * PAGE

    def pixels(self, slot: int) -> int:
        """Where a slot's pixels begin."""
        return self.pixels_at + slot * self.stride

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.pixels_at + self.slots * self.stride

    def holds(self, frame: Frame) -> bool:
        """Whether the slot and the shape that `frame` names exist in this ring."""
        return frame.slot < self.slots and frame.width * frame.height * 3 <= self.slot_bytes


class Mark(msgspec.Struct, frozen=True):
    """Where a source stood: its last whole frame and the key frame before it. -1 where it is not known."""

    seq: int
    pts_ns: int
    key_seq: int
    key_pts_ns: int
    damage: int = 0  # places that it could not decode


def allocate(source: str, width: int, height: int, slots: int) -> tuple[int, RingInfo]:
    """Make a ring of `slots` frames; returns its descriptor, which the caller keeps open, and what readers need.

    Raises Failed where the memory is not there: it is taken now, so that no later write can run out of it.
    """
    info = RingInfo(source, secrets.randbits(62), "", slots, width * height * 3)
    free = limits.memory().free
    sentence = (
        f"not enough memory for the frames of {source}: {slots} of {width}x{height} need {info.size >> 20} MB and "
        f"{free >> 20} MB are free; "
        "give the engine fewer slots ([engine] slots in the config) or the source a lower resolution"
    )
    if info.size > free:
        raise Failed(sentence)
    fd = os.memfd_create(f"framewire-{source}", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, info.size)
        os.pwrite(fd, info.id.to_bytes(8, sys.byteorder), 0)
    except OSError as error:
        os.close(fd)
        raise Failed(sentence) from error
    return fd, msgspec.structs.replace(info, path=f"/proc/{os.getpid()}/fd/{fd}")


def _record(slot: int) -> int:
    return (slot + 1) * WORDS


class RingWriter:
    """Capture's side of a ring. One writer a ring."""

    def __init__(self, info: RingInfo) -> None:
        self.info = info
        fd = os.open(info.path, os.O_RDWR | os.O_CLOEXEC)
        memory = mmap.mmap(fd, info.size, MAP_FLAGS)
        os.close(fd)
        self._words = memoryview(memory).cast("q")
        self._bytes = np.frombuffer(memory, np.uint8)
        self._slot = 0
        newest = NO_FRAME
        for slot in range(info.slots):
            at = _record(slot)
            if self._words[at + LAP] % 2:  # its writer was killed in the middle: no frame, and no ticket has this lap
                self._words[at + SEQ] = NO_FRAME
                self._words[at + LAP] += 1
            if self._words[at + LAP] and self._words[at + SEQ] >= newest:
                newest = self._words[at + SEQ]
                self._slot = (slot + 1) % info.slots

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size goes into a slot."""
        return width * height * 3 <= self.info.slot_bytes

    def claim(self, width: int, height: int) -> NDArray[np.uint8]:
        """The next slot to write into, (height, width, 3) uint8 BGR. Old tickets for it are void from here on.

        Raises Failed for a frame that no ticket can describe.
        """
        if max(width, height) > MOST_SIDE:
            raise Failed(f"{self.info.source} has frames of {width}x{height}: scale them to {MOST_SIDE} pixels or less")
        at = _record(self._slot)
        if self._words[at + LAP] % 2 == 0:
            self._words[at + LAP] += 1
        with _fence:
            pass
        start = self.info.pixels(self._slot)
        return self._bytes[start : start + width * height * 3].reshape(height, width, 3)

    def commit(
        self,
        *,
        source: str,
        seq: int,
        captured_ns: int,
        pts_ns: int,
        key_seq: int,
        key_pts_ns: int,
        width: int,
        height: int,
        damage: int = 0,
    ) -> Frame:
        """The claimed slot is written: returns its ticket. The slot after it is void before the ticket exists.

        `key_seq`, `key_pts_ns` and `damage` (places of the source that did not decode, so far) are for a successor.
        """
        at = _record(self._slot)
        lap = self._words[at + LAP] + 1
        record = (seq, captured_ns, pts_ns, width, height, key_seq, key_pts_ns)
        for word, value in enumerate(record, start=SEQ):
            self._words[at + word] = value
        self._words[DAMAGE] = damage
        with _fence:
            pass
        self._words[at + LAP] = lap
        frame = Frame(source, seq, captured_ns, pts_ns, self.info.id, self._slot, lap, width, height)
        self._slot = (self._slot + 1) % self.info.slots
        self._words[_record(self._slot) + LAP] |= 1
        return frame

    def whole(self) -> list[Frame]:
        """The tickets of all frames that are whole, oldest first: what a killed writer left."""
        found = []
        for slot in range(self.info.slots):
            lap, seq, captured, pts, width, height, _, _ = self._words[_record(slot) : _record(slot + 1)]
            if lap and lap % 2 == 0 and seq != NO_FRAME:
                found.append(Frame(self.info.source, seq, captured, pts, self.info.id, slot, lap, width, height))
        return sorted(found, key=lambda frame: frame.seq)

    def mark(self) -> Mark | None:
        """Where the killed writer stood: None for an empty ring."""
        frames = self.whole()
        if not frames:
            return None
        at = _record(frames[-1].slot)
        seq, pts, key_seq, key_pts = (self._words[at + word] for word in (SEQ, PTS, KEY_SEQ, KEY_PTS))
        return Mark(seq, pts, key_seq, key_pts, self._words[DAMAGE])


class RingReader:
    """Every other process's side: finds the pixels of a ticket in whichever ring it names."""

    def __init__(self, lookup: Callable[[int], RingInfo | None]) -> None:
        self._lookup = lookup
        self._open: dict[str, tuple[RingInfo, NDArray[np.uint8], memoryview]] = {}  # a source's newest ring

    def knows(self, frame: Frame) -> bool:
        """Whether the ring, the slot and the shape that the ticket names exist."""
        info = self._lookup(frame.ring)
        return info is not None and info.holds(frame)

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        """(height, width, 3) uint8 BGR, read-only, good inside the block only; raises Overwritten.

        The lap is checked on entry and on the way out: an exception that torn pixels caused is Overwritten too.
        """
        info, pixels, words = self._ring(frame)
        at = _record(frame.slot) + LAP
        if words[at] != frame.lap:
            raise Overwritten(f"frame {frame.seq} of {frame.source}")
        start = info.pixels(frame.slot)
        try:
            yield pixels[start : start + frame.width * frame.height * 3].reshape(frame.height, frame.width, 3)
        finally:
            with _fence:
                pass
            if words[at] != frame.lap:
                raise Overwritten(f"frame {frame.seq} of {frame.source}")

    def _ring(self, frame: Frame) -> tuple[RingInfo, NDArray[np.uint8], memoryview]:
        opened = self._open.get(frame.source)
        if opened is None or opened[0].id != frame.ring:
            info = self._lookup(frame.ring)
            if info is None or not info.holds(frame):
                raise Overwritten(f"frame {frame.seq} of {frame.source}: its ring is gone")
            try:
                fd = os.open(info.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # the supervisor has closed it, or its number is another kind of file by now
                raise Overwritten(f"frame {frame.seq} of {frame.source}: its ring is gone") from None
            try:
                memory = mmap.mmap(fd, info.size, MAP_FLAGS, mmap.PROT_READ)
            except (OSError, ValueError):  # no memory, or less than the ring was
                raise Overwritten(f"frame {frame.seq} of {frame.source}: its ring is gone") from None
            finally:
                os.close(fd)
            opened = (info, np.frombuffer(memory, np.uint8), memoryview(memory).cast("q"))
            if opened[2][0] != info.id:  # the number of the closed descriptor has gone to another ring
                raise Overwritten(f"frame {frame.seq} of {frame.source}: its ring is gone")
            self._open[frame.source] = opened
        return opened
