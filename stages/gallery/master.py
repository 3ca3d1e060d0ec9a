"""The master key, which wraps all data keys: a file of 32 bytes for its owner alone, or a systemd credential."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path

from pipeline.errors import Failed, Usage
from pipeline.files import sync
from pipeline.home import keys
from stages.gallery.sealing import KEY_BYTES, seal, unseal

FINGERPRINT_BYTES = 8
CREDENTIAL = "framewire-master"  # its name in a unit's LoadCredential= (systemd.exec(5))

log = logging.getLogger(__name__)


class Master:
    """Wraps and unwraps data keys."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 random bytes."""
        self._key = key
        self.fingerprint = hashlib.blake2b(key, digest_size=FINGERPRINT_BYTES, person=b"framewire master").digest()

    @classmethod
    def load(cls, home: Path, *, create: bool = False) -> Master:
        """The master key of this installation; with `create`, a new one is made where there is none.

        Raises Usage where it lies inside the data directory `home`, and Failed where it is missing or open to others.
        """
        text = os.environ.get("FRAMEWIRE_MASTER_KEY")
        if text:
            log.warning("the master key comes from $FRAMEWIRE_MASTER_KEY: for development only")
            return cls(_from_text(text))
        path = master_path()
        if path.resolve().is_relative_to(home.resolve()):
            raise Usage(
                f"the master key ({path}) may not lie inside the data that it protects ({home}): set $FRAMEWIRE_MASTER"
            )
        if create and not path.exists():
            make_master(path)
        return cls.of(path)

    @classmethod
    def of(cls, path: Path) -> Master:
        """The master key in a file. Raises Failed where it is missing, damaged or open to others."""
        return cls(_read(path))

    def wrap(self, key: bytes, *bound: bytes) -> bytes:
        """A data key, sealed (60 bytes)."""
        return seal(self._key, key, *bound)

    def unwrap(self, wrapped: bytes, *bound: bytes) -> bytes:
        """The data key. Raises Unreadable."""
        return unseal(self._key, wrapped, *bound)


def master_path() -> Path:
    """Where the master key is: $FRAMEWIRE_MASTER, a systemd credential, or beside the key database's folder."""
    if chosen := os.environ.get("FRAMEWIRE_MASTER"):
        return Path(chosen)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (path := Path(credentials) / CREDENTIAL).exists():
        return path
    return keys().parent / "master.key"


def make_master(path: Path) -> None:
    """Write a new random key, whole or not at all; two at once end up with one."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            os.write(file, secrets.token_bytes(KEY_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(beside, path)  # unlike a rename, it never replaces a key that is there
        except FileExistsError:
            pass
        finally:
            beside.unlink()
        sync(path.parent)
    except OSError as error:
        raise Failed(f"cannot write the master key {path}: {error.strerror}; set $FRAMEWIRE_MASTER") from error


def _read(path: Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mode, content = os.fstat(file).st_mode, os.read(file, KEY_BYTES + 1)
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise Failed(
            f"the master key is not at {path}: put that file back ($FRAMEWIRE_MASTER names it), "
            "or delete the gallery and enroll again"
        ) from error
    except OSError as error:
        raise Failed(f"cannot read the master key {path}: {error.strerror}") from error
    # systemd lets a service's user read a credential by an ACL, whose mask stat shows as the group's right to read.
    closed_to = 0o037 if path.parent == Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) else 0o077
    if not stat.S_ISREG(mode) or mode & closed_to:
        raise Failed(f"the master key {path} is open to other users: run chmod 400 {path}")
    if len(content) != KEY_BYTES:
        raise Failed(f"the master key {path} is damaged: it has to be {KEY_BYTES} bytes; put back a copy")
    return content


def _from_text(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Usage("$FRAMEWIRE_MASTER_KEY has to be 64 hexadecimal digits: set it so, or use a file")
    return key
