"""How often somebody may ask: a token bucket for each account and token, and for each address that is nobody's yet.

And how many streams may be open at once: live pictures, and what the gate pushes; and how many clips are sent.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from stages.show.web.users import Who

BUCKETS = 10_000  # at most; who has asked for longest ago is forgotten first, and that bucket has filled up the most


class Rate(NamedTuple):
    """So many requests at once, and then so many a second."""

    burst: float
    a_second: float


KNOWN = Rate(300, 30)  # a page of events or people asks for a picture each
UNKNOWN = Rate(60, 5)
COSTLY = Rate(20, 2)  # what runs a network or hashes a password; a webcam's guidance asks 1.4 times a second
STREAMS, STREAMS_EACH = 200, 40  # in all, and of an account or token; a page has one, and one more for a picture
CLIPS, CLIPS_EACH = 16, 4  # that are being sent: each is in memory, some 8 MB


class Limits:
    """The buckets and who has streams open, in memory; for one thread, the server's."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()  # tokens, time.monotonic()
        self._open: dict[str, Counter[tuple[str, ...]]] = {"streams": Counter(), "clips": Counter()}

    def check(self, connection: HTTPConnection, who: Who | None, *, costly: bool) -> None:
        """Count a request or the opening of a stream. Raises HTTPException 429 where it is one too many."""
        key = _asker(connection, who)
        wait_s = self._take(key, KNOWN if who else UNKNOWN)
        if costly and not wait_s:
            wait_s = self._take((*key, "costly"), COSTLY)
        if wait_s:
            seconds = math.ceil(wait_s)
            sentence = f"too many requests: try again in {seconds} s"
            raise HTTPException(429, sentence, headers={"Retry-After": str(seconds)})

    def stream(self, connection: HTTPConnection, who: Who) -> AbstractContextManager[None]:
        """A stream is open. Raises HTTPException 429 where it is one too many."""
        return self._counted("streams", _asker(connection, who), STREAMS_EACH, STREAMS)

    def clip(self, connection: HTTPConnection, who: Who) -> AbstractContextManager[None]:
        """A clip is sent. Raises HTTPException 429 where it is one too many."""
        return self._counted("clips", _asker(connection, who), CLIPS_EACH, CLIPS)

    @contextmanager
    def _counted(self, what: str, key: tuple[str, ...], each: int, most: int) -> Iterator[None]:
        opened = self._open[what]
        if opened[key] >= each:
            raise HTTPException(429, f"{each} {what} of this account are open: close a page of this gate")
        if opened.total() >= most:
            raise HTTPException(429, f"{most} {what} are open, which is all there may be: try again later")
        opened[key] += 1
        try:
            yield
        finally:
            opened[key] -= 1
            if not opened[key]:
                del opened[key]

    def _take(self, key: tuple[str, ...], rate: Rate) -> float:
        """Take a token out of a bucket; seconds until there is one again, 0 where there was one."""
        now = time.monotonic()
        tokens, at = self._buckets.get(key, (rate.burst, now))
        tokens = min(rate.burst, tokens + (now - at) * rate.a_second)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / rate.a_second
        self._buckets[key] = (tokens if wait_s else tokens - 1), now
        self._buckets.move_to_end(key)
        if len(self._buckets) > BUCKETS:
            self._buckets.popitem(last=False)
        return wait_s


def _asker(connection: HTTPConnection, who: Who | None) -> tuple[str, ...]:
    """Whose bucket it is."""
    if who:
        return ("account" if who.csrf else "token", who.name)
    return "address", network(connection)


def network(connection: HTTPConnection) -> str:
    """Whence it comes, as `network_of` has it. A trusted proxy's word counts."""
    return network_of(connection.client.host if connection.client else "")


def network_of(address: str) -> str:
    """An address, of IPv6 the /64, as that is what one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:  # of an IPv4 client of a page at "::"
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))
