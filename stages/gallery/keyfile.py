"""The data keys, one AES-256 key a person, in a file of fixed slots: a key is destroyed by overwriting it in place.

A database would leave copies behind in its journal, and rewriting the file would leave the old one in free blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from pipeline.errors import Failed

ID_BYTES = 16
KEY_BYTES = 32
SLOT_BYTES = 64  # id, key, BLAKE2b-128 of both; divides a disk sector, so that a slot is written whole or not at all
EMPTY = bytes(SLOT_BYTES)


class KeyFile:
    """The keys of one gallery. Writers are serialized by the gallery's own transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[bytes, bytes]:
        """Person id -> key; raises Failed where the file is missing, damaged or open to others."""
        with self._open(os.O_RDONLY, fcntl.LOCK_SH) as file:
            return {slot[:ID_BYTES]: self._key(slot) for slot in _slots(file) if slot != EMPTY}

    def add(self, person: bytes, key: bytes) -> None:
        """Keep `key` (32 bytes) for `person` (16 bytes), in the first empty slot; it is on disk when this returns."""
        created = not self._path.exists()
        with self._open(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            slots = _slots(file)
            index = slots.index(EMPTY) if EMPTY in slots else len(slots)
            self._write(file, index, person + key + _digest(person + key))
        if created:
            _sync_directory(self._path.parent)

    def destroy(self, person: bytes) -> None:
        """Overwrite the key of `person`, if there is one, with zeros; that is on disk when this returns."""
        with self._open(os.O_RDWR, fcntl.LOCK_EX) as file:
            for index, slot in enumerate(_slots(file)):
                if slot.startswith(person):
                    self._write(file, index, EMPTY)

    @contextmanager
    def _open(self, flags: int, lock: int) -> Iterator[int]:
        try:
            file = os.open(self._path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as error:
            raise Failed(
                f"the keys of the gallery are not at {self._path}: put that file back ($FRAMEWIRE_KEYS is its folder), "
                "or delete the gallery and enroll again"
            ) from error
        except OSError as error:
            raise Failed(f"cannot open the key file {self._path}: {error.strerror}") from error
        try:
            if os.fstat(file).st_mode & 0o077:
                raise Failed(f"the key file {self._path} is open to other users: run chmod 600 {self._path}")
            fcntl.flock(file, lock)
            yield file
        finally:
            os.close(file)

    def _write(self, file: int, index: int, slot: bytes) -> None:
        try:
            if os.pwrite(file, slot, index * SLOT_BYTES) < SLOT_BYTES:
                os.ftruncate(file, index * SLOT_BYTES)  # only a new slot, at the end, can be short of room
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            raise Failed(f"cannot write the key file {self._path}: {error.strerror}; make room for it") from error

    def _key(self, slot: bytes) -> bytes:
        if _digest(slot[:-ID_BYTES]) != slot[-ID_BYTES:]:
            raise Failed(f"the key file {self._path} is damaged: put back a copy, or delete the gallery")
        return slot[ID_BYTES : ID_BYTES + KEY_BYTES]


def _slots(file: int) -> list[bytes]:
    content = os.pread(file, os.fstat(file).st_size, 0)
    return [content[at : at + SLOT_BYTES] for at in range(0, len(content) - SLOT_BYTES + 1, SLOT_BYTES)]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=SLOT_BYTES - ID_BYTES - KEY_BYTES).digest()


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
