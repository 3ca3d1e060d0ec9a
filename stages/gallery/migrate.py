"""Bring a gallery of an older framewire up to date; what was there before is copied beside it first.

The first `forget` removes these copies: they hold everybody, and the keys in plain.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.errors import Failed
from pipeline.files import replace_file, shred, sync
from stages.gallery.keyfile import ID_BYTES, MAGIC, Keys
from stages.gallery.master import Master
from stages.gallery.people import TAGS, Access, Profile, Sealed
from stages.gallery.rows import Rows
from stages.gallery.sealing import KEY_BYTES, new_key, seal

V1_SLOT = 64  # id, key in plain, BLAKE2b-128 of both

log = logging.getLogger(__name__)


def migrate(file: Rows, rows: sqlite3.Connection, folder: Path, master: Master) -> None:
    """From schema 1, whose keys are not wrapped, within the caller's transaction. Raises Failed.

    The key file is replaced before the rows are committed: a crash in between leaves rows of schema 1 and the new key
    file, which is where the next attempt goes on from.
    """
    gallery: bytes = rows.execute("SELECT id FROM gallery").fetchone()[0]
    path = folder / f"gallery-{gallery.hex()}.keys"
    copies = keep_rows(file.path, 1), _copy(path, 1)
    keys = _new_keys(path, copies[1], master)
    people = rows.execute("SELECT id, name FROM people").fetchall()
    templates = rows.execute("SELECT person, model, enrolled_at, embedding FROM templates ORDER BY rowid").fetchall()
    for table in ("templates", "people", "gallery"):
        rows.execute(f"DROP TABLE {table}")
    file.create(rows, gallery)
    try:
        _write(rows, keys, people, templates)
    except InvalidTag as error:
        raise file.damaged("it does not decrypt") from error
    log.warning(
        "the gallery was brought up to date; copies from before are %s and %s: the latter holds keys in plain, so "
        "delete both once all works, or the first `forget` does",
        *copies,
    )


def remove_copies(rows: Path, keys: Path) -> list[Path]:
    """Remove what an update of the gallery in `rows` and `keys` has left; which files. Raises Failed."""
    try:
        removed = [path for path in (_copy(keys, 1), _copy(rows, 1), _copy(rows, 2)) if path.exists()]
        for path in removed:
            shred(path)
            sync(path.parent)
    except OSError as error:
        raise Failed(f"cannot remove {error.filename}: {error.strerror}; delete it, and say this again") from error
    return removed


def keep_rows(path: Path, version: int) -> Path:
    """Copy the rows of a gallery that is about to be brought up to date; the copy. Raises Failed."""
    copy = _copy(path, version)
    try:
        _copy_rows(path, copy)
    except OSError as error:
        raise _no_room(copy, error) from error
    return copy


def _copy(path: Path, version: int) -> Path:
    return path.with_name(f"{path.name}.v{version}")


def _no_room(copy: Path, error: OSError) -> Failed:
    return Failed(f"cannot keep a copy from before the update in {copy}: {error.strerror}; make room for it")


def _write(
    rows: sqlite3.Connection,
    keys: dict[bytes, bytes],
    people: list[tuple[bytes, bytes]],
    templates: list[tuple[bytes, str, str, bytes]],
) -> None:
    for person, sealed in people:
        if person in keys:  # else forgotten, but a crash came before the rows were deleted
            name = _opened(keys[person], person, b"name", sealed).rstrip(b"\0").decode()
            tag = hmac.new(keys[TAGS], b"name\0" + name.encode(), hashlib.sha256).digest()
            profile = seal(keys[person], Profile(name, Access()).pack(), b"people", person)
            rows.execute("INSERT INTO people VALUES (?, ?, ?)", (person, tag, profile))
    for person, model, enrolled_at, sealed in templates:
        if person in keys:
            row = secrets.token_bytes(ID_BYTES)
            embedding = _opened(keys[person], person, b"template\0" + model.encode(), sealed)
            kept = msgspec.msgpack.encode(Sealed(datetime.fromisoformat(enrolled_at), embedding))
            bound = (b"templates", row, person, model.encode())
            rows.execute(
                "INSERT INTO templates VALUES (?, ?, ?, ?)", (row, person, model, seal(keys[person], kept, *bound))
            )


def _opened(key: bytes, person: bytes, context: bytes, sealed: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], person + context)


def _copy_rows(path: Path, copy: Path) -> None:
    beside = copy.with_name(f"{copy.name}.part")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(beside)) as target,
    ):
        source.backup(target)
    sync(beside)
    os.replace(beside, copy)


def _new_keys(path: Path, copy: Path, master: Master) -> dict[bytes, bytes]:
    """Replace a key file of schema 1 by one whose keys are wrapped; the keys that it holds."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Failed(f"cannot read the key file {path}: {error.strerror}; put that file back") from error
    if content.startswith(MAGIC):
        return Keys(path, master).read()
    plain = _plain_keys(path, content) | {TAGS: new_key()}
    if not copy.exists():
        try:
            replace_file(copy, content, synced=True)
        except OSError as error:
            raise _no_room(copy, error) from error
    folder = path.with_name(f"{path.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    beside = folder / path.name  # of the same name, to which its keys are bound
    wrapped = Keys(beside, master)
    for owner, key in plain.items():
        wrapped.add(owner, key)
    os.replace(beside, path)
    folder.rmdir()
    sync(path.parent)
    return plain


def _plain_keys(path: Path, content: bytes) -> dict[bytes, bytes]:
    keys = {}
    for at in range(0, len(content) - V1_SLOT + 1, V1_SLOT):
        slot = content[at : at + V1_SLOT]
        body, digest = slot[: ID_BYTES + KEY_BYTES], slot[ID_BYTES + KEY_BYTES :]
        if slot == bytes(V1_SLOT):
            continue
        if blake2b(body, digest_size=len(digest)).digest() != digest:
            raise Failed(f"the key file {path} is damaged: put back a copy, or delete the gallery and enroll again")
        keys[body[:ID_BYTES]] = body[ID_BYTES:]
    return keys
