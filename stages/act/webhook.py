"""Tell, or open a door, by an HTTP request that is signed and time-stamped.

The signature is HMAC-SHA256 over "timestamp.body", hexadecimal, as Stripe's webhooks have it: a receiver that knows the
secret checks it, and takes no request whose time is long past. The same delivery has the same Idempotency-Key.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from pipeline.errors import Usage
from stages.act.output import OutputConfig, OutputFailed, Seconds, SomePath, secret
from stages.events.records import Command, Head, Notice


class WebhookConfig(OutputConfig, frozen=True, tag="webhook"):
    """An address that takes POST requests."""

    url: str
    secret_file: SomePath  # for the signature; readable by its owner alone
    timeout_seconds: Seconds = 5.0


class Webhook:
    """POSTs JSON; an answer of 2xx is success. Redirects are not followed: they would be sent what is not for them."""

    def __init__(self, config: WebhookConfig) -> None:
        """Raises Usage for an address that no request can be sent to."""
        self._url = _address(config)
        self._secret = secret(config.secret_file, "secret of the web hook")
        self._timeout = config.timeout_seconds

    def open(self, command: Command) -> None:
        """Ask the other side to open the door: {"open": door, "seconds": ..., "event": seq, "key": ..., "until": ...}.

        The key is signed with the rest, so that who hears an order cannot have it carried out again under another.

        It is to open nothing after `until`, in seconds since the epoch: the request may have been long on the way.
        """
        body = {"open": command.door, "seconds": command.seconds, "event": command.seq}
        body |= {"key": command.id, "until": command.until_ns / 1e9}
        self._post(command.id, body)

    def tell(self, notice: Notice) -> None:
        """Send the notice."""
        self._post(notice.key, msgspec.to_builtins(notice))

    def witness(self, head: Head) -> None:
        """Send {"head": {"seq": ..., "hash": ..., "signature": ...}}."""
        self._post(f"{head.hash[:16]}-head", {"head": msgspec.to_builtins(head)})

    def close(self) -> None:
        """A connection lasts for one request."""

    def _post(self, key: str, what: dict[str, Any]) -> None:
        body, now = msgspec.json.encode(what), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "Framewire-Timestamp": now,
            "Framewire-Signature": hmac.new(self._secret, f"{now}.".encode() + body, hashlib.sha256).hexdigest(),
        }
        connection, ends = self._connection(), time.monotonic() + self._timeout
        try:
            connection.connect()
            with _cut_off(connection.sock, ends):
                connection.request("POST", _target(self._url), body, headers)
                answer = connection.getresponse()
                answer.read(1024)
        except (OSError, http.client.HTTPException) as error:
            why = "in time" if time.monotonic() >= ends else f"({error or type(error).__name__})"
            raise OutputFailed(f"{self._url.hostname} does not answer {why}") from error
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise OutputFailed(f"{self._url.hostname} answers {answer.status} {answer.reason}")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)


def _address(config: WebhookConfig) -> SplitResult:
    """The url, if a request can be sent to it: http.client itself says so only when one is. Raises Usage."""
    what = f"the url of output {config.name!r}"
    try:
        url = urlsplit(config.url)
        host, port = (url.hostname or "").encode("idna"), url.port
    except ValueError as error:
        raise Usage(f"{what} names no host and port that can be: write it as https://host:port/path") from error
    if url.scheme not in ("http", "https") or not host or "@" in url.netloc:
        raise Usage(f"{what} has to begin with https:// or http:// and a host")
    if port == 0 or not _plain(host.decode()):
        raise Usage(f"{what} names no host and port that can be: write it as https://host:port/path")
    if not _plain(_target(url)):
        raise Usage(f"{what} has to be ASCII without spaces behind the host: write others as in %C3%BC")
    return url


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@contextmanager
def _cut_off(connection: socket.socket, ends: float) -> Iterator[None]:
    """Break the connection at that time: a socket's own time-out begins anew with each byte that it gets."""

    def cut() -> None:
        with suppress(OSError):  # it ended by itself
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS's own would take its state from who reads

    timer = threading.Timer(ends - time.monotonic(), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
