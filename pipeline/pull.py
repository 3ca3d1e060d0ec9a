"""Get a model file of the catalogue from upstream or from a mirror; only a file with the right sha256 is ever kept."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from pipeline.errors import Failed, Usage
from pipeline.registry import Upstream, pulled, sha256_of, upstream

TIMEOUT = 20.0  # seconds without a byte
BLOCK = 1 << 20  # bytes


def pull(name: str, destination: Path | None = None, mirror: str | None = None) -> Path:
    """Fetch a model into `destination` (default: the directory of pulled models), with its card; returns its path.

    `mirror` is a folder or an http(s) address that holds the catalogue's files by name. Raises Usage for a name or a
    mirror that makes no sense, and Failed where the file cannot be had whole or is another one; then nothing is kept.
    """
    entry = _entry(name)
    target = (destination or pulled()) / entry.file
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.isfile(target) or sha256_of(target) != entry.sha256:
            _fetch(entry, target, mirror)
        _write_card(entry, target.with_suffix(".toml"))
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror}") from error
    return target


def _fetch(entry: Upstream, target: Path, mirror: str | None) -> None:
    part = target.with_name(f"{target.name}.part")
    try:
        with _open(entry, mirror) as source, part.open("wb") as stream:
            _copy(entry, source, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _entry(name: str) -> Upstream:
    entries = {entry.name: entry for entry in upstream()}
    if name not in entries:
        raise Usage(f"there is no model {name} to pull: choose one of {', '.join(entries)}")
    return entries[name]


def _open(entry: Upstream, mirror: str | None) -> contextlib.AbstractContextManager[BinaryIO]:
    if mirror is None:
        return _request(entry, entry.address)
    if mirror.startswith(("http://", "https://")):
        return _request(entry, f"{mirror.rstrip('/')}/{urllib.parse.quote(entry.file)}")
    if not os.path.isdir(mirror):  # os.path: pathlib raises where it may not look
        raise Usage(f"the mirror {mirror} is neither a folder nor an http(s) address")
    try:
        return (Path(mirror) / entry.file).open("rb")
    except OSError as error:
        raise Failed(f"the mirror {mirror} has no readable {entry.file}: {error.strerror}") from error


def _request(entry: Upstream, address: str) -> contextlib.AbstractContextManager[BinaryIO]:
    request = urllib.request.Request(address, headers={"User-Agent": "framewire"})
    try:
        return cast(contextlib.AbstractContextManager[BinaryIO], urllib.request.urlopen(request, timeout=TIMEOUT))
    except urllib.error.HTTPError as error:
        error.close()
        raise Failed(f"{address} answers {error.code} {error.reason}: check the address or use --mirror") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"cannot reach {address} for {entry.name} ({_cause(error)}): try again or use --mirror") from error


def _copy(entry: Upstream, source: BinaryIO, target: BinaryIO) -> None:
    """Copy at most one byte more than there should be, and refuse anything but the file itself."""
    digest, size = hashlib.sha256(), 0
    while size <= entry.bytes:
        try:
            block = source.read(min(BLOCK, entry.bytes + 1 - size))
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{entry.file} broke off after {size} bytes ({_cause(error)}): try again") from error
        if not block:
            break
        digest.update(block)
        size += len(block)
        target.write(block)
    if size < entry.bytes:
        raise Failed(f"{entry.file} broke off after {size} of {entry.bytes} bytes: try again")
    if size > entry.bytes or digest.hexdigest() != entry.sha256:
        raise Failed(f"{entry.file} from there is another file (its sha256 or size differs): nothing was kept")


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason) or type(error).__name__


def _write_card(entry: Upstream, path: Path) -> None:
    """Lay the card beside the file, as TOML; JSON writes strings, numbers and lists the same way."""
    fields = {key: value for key, value in msgspec.to_builtins(entry.card()).items() if value not in ("", None, {})}
    part = path.with_name(f"{path.name}.part")
    part.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()), encoding="utf-8")
    part.replace(path)
