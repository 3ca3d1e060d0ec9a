"""What the user gave as a source: which kind it is, what it is called, and how it may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import Failed, Usage
from pipeline.graph import Source

STREAMS = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_DEVICE = re.compile(r"\d{1,3}|/dev/video\d{1,3}")
_LONGEST_NAME = 40
_NUMBER = r"-?\d{1,12}"

# The ffmpeg options that a config may set, and what their values look like. Nothing here names a file, a protocol or
# a header: those reach further than the source that was asked for.
OPTIONS = {
    "rtsp_transport": r"tcp|udp|udp_multicast|http|https",
    "tls_verify": r"0|1",
    "user_agent": r"[ -~]{1,200}",
    "video_size": r"\d{1,5}x\d{1,5}",
    "framerate": r"\d{1,5}([./]\d{1,5})?",
    "input_format": r"[a-z0-9_]{1,20}",
    **dict.fromkeys(("analyzeduration", "buffer_size", "live_start_index", "max_delay", "probesize"), _NUMBER),
    "reorder_queue_size": _NUMBER,
    "use_wallclock_as_timestamps": r"0|1",
}


def parse_sources(addresses: Sequence[str]) -> list[Source]:
    """Name each address: cam0, cam1, ... for what is live, the file's stem for the rest. Raises Usage and Failed."""
    sources: list[Source] = []
    taken: set[str] = set()
    for position, address in enumerate(addresses):
        check_name(address)
        live = is_live(address)
        if not live:
            check_file(Path(address))
        wish = f"cam{position}" if live else _safe(Path(address).stem)
        name = wish
        for number in range(2, len(addresses) + 2):
            if name not in taken:
                break
            name = f"{wish}-{number}"
        taken.add(name)
        sources.append(Source(name, address, live))
    return sources


def from_environment() -> list[str]:
    """Addresses that are to stay out of the process list: the lines of $FRAMEWIRE_SOURCE."""
    return [line for line in os.environ.get("FRAMEWIRE_SOURCE", "").splitlines() if line]


def is_live(address: str) -> bool:
    """Whether `address` is a camera or a stream, which do not wait for us. Raises Usage for one that cannot be read."""
    if not address:
        raise Usage("a source is empty: give a camera's number, a file, a folder of images, or an address")
    if _DEVICE.fullmatch(address):
        return True
    scheme = _SCHEME.match(address)
    if scheme is None:
        return False
    try:
        host = urlsplit(address).netloc
    except ValueError:  # its sentence would show the password
        host = ""
    if scheme[1].lower() not in STREAMS or not host:
        raise Usage(
            f"{masked(address)} cannot be read: a source is a camera's number, a file, a folder of images, "
            f"or an address that begins with {', '.join(f'{name}://' for name in STREAMS)} and a host"
        )
    return True


def device(address: str) -> str | None:
    """The V4L2 device that `address` means ("0" is /dev/video0); None where it is not a camera of this machine."""
    if not _DEVICE.fullmatch(address):
        return None
    return f"/dev/video{int(address)}" if address.isdecimal() else address


def masked(address: str) -> str:
    """`address` as it may be shown and logged: without its password and without the values of its query."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address
    rest = address[scheme.end() :]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2]
    if "@" not in authority and "@" in rest and ":" in authority and not port.isdecimal():
        authority = rest[: rest.rindex("@") + 1]  # a password that holds a slash
    user, at, _ = authority.rpartition("@")
    shown = f"{user.partition(':')[0]}:***@" if ":" in user else "***@" if at else ""
    path, question, query = rest[len(user) + len(at) :].partition("?")
    values = re.sub(r"([^=&]*=)?[^&]+", lambda part: f"{part[1] or ''}***", query)
    return f"{scheme[0]}{shown}{path}{question}{values}"


def check_name(name: str) -> None:
    """Raises Usage for a file's name or an address that is not UTF-8: it could not be sent, logged or shown."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Usage(f"the name {masked(name)!a} is not UTF-8: rename it") from None


def check_file(path: Path) -> None:
    """Raises Failed where `path` is not there, cannot be read, or is empty; Usage for a name that is not UTF-8."""
    check_name(str(path))
    if not os.path.exists(path):  # os.path: pathlib raises where a folder above may not be searched
        raise Failed(f"there is no file or folder {path}: check the path")
    if not os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK):
        raise Failed(f"{path} may not be read by this user: change its permissions")
    if not (path.is_file() or path.is_dir()):
        raise Failed(f"{path} is neither a file nor a folder: give the path of a video, or of a folder of images")
    if path.is_file() and path.stat().st_size == 0:
        raise Failed(f"{path} is empty (zero bytes): copy or record it again")


def check_options(options: Mapping[str, str]) -> None:
    """Raises Usage for an ffmpeg option, or a value of one, that is not on the list."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise Usage(f"the capture option {name!r} is not allowed: known are {', '.join(sorted(OPTIONS))}")
        if not re.fullmatch(OPTIONS[name], value):
            raise Usage(f"the capture option {name} cannot be {value!r}: it has to look like {OPTIONS[name]}")


def _safe(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:_LONGEST_NAME] or "clip"
