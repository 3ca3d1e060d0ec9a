"""Who is not logged in takes the page away from nobody: over real sockets."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from pipeline.errors import Usage
from stages.show.web import listening
from stages.show.web.show import Show, ShowConfig, announced
from tests.fakes import MemoryFrames
from tests.stages.show.site import wait_for


@pytest.fixture
def port(places: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a page that runs."""
    show = Show(ShowConfig(port=0, trusted_proxies=getattr(request, "param", ())), MemoryFrames())
    found = announced()
    assert found
    yield int(found.address.rstrip("/").rpartition(":")[2])
    show.close()


def opened(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10, (source, 0))


def is_closed(connection: socket.socket) -> bool:
    """Waits for what the page says next."""
    with suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def status(port: int, source: str = "127.0.0.1") -> int:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
        return client.get(f"http://127.0.0.1:{port}/api/openapi.json").status_code


def test_a_network_has_so_many_connections_and_others_have_theirs(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS_EACH", 4)
    monkeypatch.setattr(listening, "CONNECTIONS", 6)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(opened(port))
        assert is_closed(stack.enter_context(opened(port)))
        assert status(port, "127.0.0.2") == 200
        for _ in range(2):
            stack.enter_context(opened(port, "127.0.0.3"))
        assert is_closed(stack.enter_context(opened(port, "127.0.0.4")))  # there are as many as there may be
    wait_for(lambda: not is_closed_at_once(port))
    assert status(port) == 200


def is_closed_at_once(port: int) -> bool:
    try:
        return status(port) != 200
    except httpx.TransportError:
        return True


@pytest.mark.parametrize("port", [("127.0.0.1",)], indirect=True)
def test_a_proxy_has_as_many_as_there_may_be(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS_EACH", 2)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(opened(port))
        assert status(port) == 403  # it has not forwarded anything: but it is answered


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /api/me HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /api/me HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ",
        b"POST /api/people HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["nothing", "a part of a head", "a part of the next head", "a body that nobody wants"],
)
def test_who_does_not_come_to_an_end_is_let_go(port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.3)
    with opened(port) as connection:
        connection.sendall(begun)
        connection.settimeout(0.05)  # and a byte now and then

        def let_go() -> bool:
            try:
                if begun:
                    connection.sendall(b"x")
                return not connection.recv(4096)
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True

        wait_for(let_go)


@pytest.mark.alone  # it limits the files of its whole process
def test_where_no_more_files_may_be_open_who_comes_is_refused_and_it_is_said_once(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert status(port) == 200
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket()) for _ in range(10)]
        fill = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, fill)
        while fill < waiting[-1].fileno():  # no lower number is free then
            fill = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, fill)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fill + 1, limits[1]))
        refused = 0
        while refused < 3:  # the first may get the place of a file that was closed meanwhile
            connection = waiting.pop()
            connection.settimeout(2)
            connection.connect(("127.0.0.1", port))
            with suppress(TimeoutError):
                refused += is_closed(connection)
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == [
        "connections to the page are refused, as this process may open no more files: raise its limit"
    ]
    assert status(port) == 200


@pytest.mark.parametrize("proxy", ["*", "0.0.0.0/0", "::/0", "proxy.local", ""])
def test_a_proxy_is_named_by_its_address(proxy: str) -> None:
    with pytest.raises(Usage, match="name the addresses or networks of your proxies"):
        ShowConfig(trusted_proxies=(proxy,)).check()
    ShowConfig(host="0.0.0.0", trusted_proxies=("10.0.0.1", "10.0.0.3/28", "2001:db8::/64")).check()
