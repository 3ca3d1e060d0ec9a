"""The key database: data keys, one AES-256 key an owner, each wrapped by the master key, in a file of fixed slots.

A key is destroyed by overwriting it in place. A database would leave copies behind in its journal, and rewriting the
file would leave the old one in free blocks. An owner is a person, a stranger's event, or a purpose.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import Failed, Usage
from pipeline.files import sync
from stages.gallery.master import FINGERPRINT_BYTES, Master
from stages.gallery.sealing import KEY_BYTES, SEAL_BYTES, Unreadable, new_key

ID_BYTES = 16
WRAPPED_BYTES = KEY_BYTES + SEAL_BYTES
DIGEST_BYTES = 16
SLOT_BYTES = 128  # divides a disk sector, so that a slot is written whole or not at all
EMPTY = bytes(SLOT_BYTES)
MAGIC = b"framewire keys 2"
_PADDING = bytes(SLOT_BYTES - ID_BYTES - WRAPPED_BYTES - FINGERPRINT_BYTES - DIGEST_BYTES)


class _Slot(NamedTuple):
    """One key, as it stands in the file: id, wrapped key, which master wrapped it; a BLAKE2b-128 of these follows."""

    owner: bytes
    wrapped: bytes
    master: bytes

    def pack(self) -> bytes:
        body = self.owner + self.wrapped + self.master + _PADDING
        return body + _digest(body)


class Keys:
    """One file of keys. The first slot holds a counter that tells other processes when to read it again."""

    def __init__(self, path: Path, master: Master) -> None:
        self._path = path
        self._master = master
        self._forget()

    def _forget(self) -> None:
        """All of the file is to be read again."""
        self._counter = -1
        self._content = bytearray()  # of the file; a key is unwrapped when it is asked for
        self._places: dict[bytes, int] = {}  # owner -> slot
        self._free: set[int] = set()

    def read(self) -> dict[bytes, bytes]:
        """Owner -> key; raises Failed where the file is missing, damaged, open to others or of another master key."""
        with self._open(os.O_RDONLY, fcntl.LOCK_SH):
            return {owner: self._key(self._slot(place)) for owner, place in self._places.items()}

    def get(self, owner: bytes) -> bytes | None:
        """The key of one owner; None where it has none, or none any more."""
        with self._open(os.O_RDONLY, fcntl.LOCK_SH):
            place = self._places.get(owner)
            return None if place is None else self._key(self._slot(place))

    def owners(self) -> set[bytes]:
        """All who have a key."""
        with self._open(os.O_RDONLY, fcntl.LOCK_SH):
            return set(self._places)

    def add(self, owner: bytes, key: bytes) -> None:
        """Keep `key` (32 bytes) for `owner` (16 bytes), in an empty slot; it is on disk when this returns."""
        with self._open(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            index = next(iter(self._free), len(self._content) // SLOT_BYTES)
            slot = _Slot(owner, self._master.wrap(key, *self._bound(owner)), self._master.fingerprint)
            self._change(file, {index: slot.pack()})
            self._free.discard(index)
            self._places[owner] = index

    def new(self, owner: bytes) -> bytes:
        """Make a random key for `owner` and keep it."""
        key = new_key()
        self.add(owner, key)
        return key

    def destroy(self, *owners: bytes) -> int:
        """Overwrite the keys of `owners` with zeros; that is on disk when this returns. How many there were."""
        with self._open(os.O_RDWR, fcntl.LOCK_EX) as file:
            found = {owner: self._places[owner] for owner in owners if owner in self._places}
            if found:
                self._change(file, dict.fromkeys(found.values(), EMPTY))
            for owner, index in found.items():
                del self._places[owner]
                self._free.add(index)
            return len(found)

    def rewrap(self, new: Master) -> int:
        """Wrap every key by `new` in place of the present master key; returns how many.

        A crash leaves some wrapped by either: run it again. Slots that `new` wrapped already are left alone.
        """
        with self._open(os.O_RDWR, fcntl.LOCK_EX) as file:
            count = 0
            for owner, index in self._places.items():
                slot = self._slot(index)
                if slot.master != new.fingerprint:
                    rewrapped = _Slot(owner, new.wrap(self._key(slot), *self._bound(owner)), new.fingerprint)
                    self._change(file, {index: rewrapped.pack()})
                    count += 1
        return count

    def _bound(self, owner: bytes) -> tuple[bytes, ...]:
        return self._path.name.encode(), owner

    def _key(self, slot: _Slot) -> bytes:
        if slot.master != self._master.fingerprint:
            raise Failed(
                f"the keys in {self._path} are wrapped by another master key: put back the one they belong to, "
                "or finish `gallery rotate`"
            )
        try:
            return self._master.unwrap(slot.wrapped, *self._bound(slot.owner))
        except Unreadable as error:
            raise self._damaged() from error

    @contextmanager
    def _open(self, flags: int, lock: int) -> Iterator[int]:
        created = bool(flags & os.O_CREAT) and not self._path.exists()
        try:
            file = os.open(self._path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as error:
            raise Failed(
                f"the keys are not at {self._path}: put that file back ($FRAMEWIRE_KEYS is its folder), "
                "or delete the data and enroll again"
            ) from error
        except OSError as error:
            raise Failed(f"cannot open the key file {self._path}: {error.strerror}") from error
        try:
            if os.fstat(file).st_mode & 0o077:
                raise Failed(f"the key file {self._path} is open to other users: run chmod 600 {self._path}")
            fcntl.flock(file, lock)
            if not os.fstat(file).st_size and lock == fcntl.LOCK_EX:
                self._write(file, 0, _header(0))
            self._take_in(file)
            yield file
        finally:
            os.close(file)
        if created:
            sync(self._path.parent)

    def _take_in(self, file: int) -> None:
        """Read the file, unless it is as it was, and see to the slots that have changed: the others were seen to."""
        header = os.pread(file, SLOT_BYTES, 0)
        if header and not header.startswith(MAGIC):
            raise self._damaged()
        counter = int.from_bytes(header[len(MAGIC) : len(MAGIC) + 8], "big")
        if counter == self._counter:
            return
        content = bytearray(os.pread(file, os.fstat(file).st_size, 0))
        del content[len(content) // SLOT_BYTES * SLOT_BYTES :]
        changed = {index: _raw(content, index) for index in _differing(self._content, content) if index}
        for raw in changed.values():
            if raw not in (EMPTY, b"") and _digest(raw[:-DIGEST_BYTES]) != raw[-DIGEST_BYTES:]:
                raise self._damaged()
        for index in changed:
            self._free.discard(index)
            owner = _raw(self._content, index)[:ID_BYTES]
            if self._places.get(owner) == index:
                del self._places[owner]
        self._free |= {index for index, raw in changed.items() if raw == EMPTY}
        self._places |= {raw[:ID_BYTES]: index for index, raw in changed.items() if raw not in (EMPTY, b"")}
        self._content, self._counter = content, counter

    def _slot(self, index: int) -> _Slot:
        raw, wrapped_end = _raw(self._content, index), ID_BYTES + WRAPPED_BYTES
        return _Slot(raw[:ID_BYTES], raw[ID_BYTES:wrapped_end], raw[wrapped_end : wrapped_end + FINGERPRINT_BYTES])

    def _change(self, file: int, slots: dict[int, bytes]) -> None:
        """Write slots; the counter first, so that nobody takes what was before for what is."""
        self._write(file, 0, _header(self._counter + 1))
        self._counter += 1
        for index, slot in slots.items():
            self._write(file, index, slot)
            self._content[index * SLOT_BYTES : (index + 1) * SLOT_BYTES] = slot
        try:
            os.fsync(file)
        except OSError as error:
            raise self._full(error) from error

    def _write(self, file: int, index: int, slot: bytes) -> None:
        try:
            if os.pwrite(file, slot, index * SLOT_BYTES) < SLOT_BYTES:
                os.ftruncate(file, index * SLOT_BYTES)  # only a new slot, at the end, can be short of room
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> Failed:
        self._forget()
        return Failed(f"cannot write the key file {self._path}: {error.strerror}; make room for it")

    def _damaged(self) -> Failed:
        return Failed(f"the key file {self._path} is damaged: put back a copy, or delete the data and enroll again")


def check_apart(folder: Path, home: Path) -> None:
    """Raises Usage where the keys in `folder` would be in every copy of the data in `home`."""
    if folder.resolve().is_relative_to(home.resolve()):
        raise Usage(f"the keys ({folder}) may not lie inside of the data they protect ({home}): set $FRAMEWIRE_KEYS")


def _header(counter: int) -> bytes:
    return (MAGIC + counter.to_bytes(8, "big")).ljust(SLOT_BYTES, b"\0")


def _raw(content: bytearray, index: int) -> bytes:
    return bytes(content[index * SLOT_BYTES : (index + 1) * SLOT_BYTES])


def _differing(before: bytearray, after: bytearray) -> list[int]:
    """The slots that are not as before, or that one of the two does not have."""
    words = SLOT_BYTES // 8  # compared eight bytes at a time: of 100,000 slots one or two have changed
    old, new = (np.frombuffer(content, np.uint64).reshape(-1, words) for content in (before, after))
    both = min(len(old), len(new))
    changed: list[int] = (old[:both] != new[:both]).any(axis=1).nonzero()[0].tolist()
    return [*changed, *range(both, max(len(old), len(new)))]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()
