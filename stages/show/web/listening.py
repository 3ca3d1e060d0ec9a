"""Who may stay connected: so many at once, and only who says within a while what they want."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.errors import Failed
from stages.show.web.limits import network_of

# In all, and of a network, which has room for all streams. A process may have 1024 files open on most systems.
CONNECTIONS, CONNECTIONS_EACH = 500, 250
HEAD_S = 10.0  # how long the head of a request may take, or the rest of a body that nobody wants
FULL = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger(__name__)


class Listening(socket.socket):
    """A socket that listens, and closes each connection that is one too many as soon as it comes, before any TLS."""

    def __init__(self, host: str, port: int, proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        """All others come through the `proxies`, so only `CONNECTIONS` limits these. Raises Failed."""
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._proxies, self._open = proxies, list[tuple[socket.socket, str]]()
        self._spare, self._told = _spare(), False
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.bind((host, port))
            self.listen()  # now, as the address is told: the server takes a moment to start
        except OSError as error:
            self.close()
            raise Failed(f"the page cannot be at {host}:{port}: {error.strerror}; set show.port to another") from error

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError where it was one too many: the server goes on with the next."""
        connection, address = self._accepted()
        self._open = [(one, whose) for one, whose in self._open if one.fileno() >= 0]
        whose = network_of(address[0])
        from_proxy = any(ip_address(address[0]) in proxy for proxy in self._proxies)
        of_network = 0 if from_proxy else sum(other == whose for _, other in self._open)
        if len(self._open) >= CONNECTIONS or of_network >= CONNECTIONS_EACH:
            connection.close()
            raise ConnectionAbortedError
        self._open.append((connection, whose))
        return connection, address

    def close(self) -> None:
        """Listen no more."""
        super().close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accepted(self) -> tuple[socket.socket, Any]:
        """The next connection. Where no file can be opened for it, the spare one's place is used to close it."""
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in FULL:
                raise
        os.close(self._spare)
        try:
            super().accept()[0].close()
        finally:
            self._spare = _spare()
        if not self._told:
            self._told = True
            log.warning("connections to the page are refused, as this process may open no more files: raise its limit")
        raise ConnectionAbortedError


def _spare() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Http(H11Protocol):
    """A connection that is closed where the head of a request, or a body that nobody wants, takes too long."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is open."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some more has come."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        super().connection_lost(exc)
        if self._due:
            self._due.cancel()

    def _watch(self) -> None:
        """The server's own time-out begins anew with each byte, so a byte now and then would hold a connection."""
        waiting = self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE
        if waiting and self._due is None:
            self._due = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)
        elif not waiting and self._due:
            self._due.cancel()
            self._due = None
