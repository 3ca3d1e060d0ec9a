"""What may be sent: how much, how long it may take, and what becomes of what is broken off."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline.home import home, keys
from stages.events import clips
from stages.events.ledger import Ledger
from stages.events.records import Clip
from stages.gallery.people import Portrait
from stages.gallery.store import Store
from stages.show.web import app, endpoint, limits, streams
from stages.show.web.limits import Rate
from stages.show.web.users import Who
from tests.stages.gate.scene import embedding
from tests.stages.show.site import Site, wait_for


def begun(site: Site, path: str, kind: str = "application/json") -> socket.socket:
    """A request of somebody who is logged in, of whose body only a part has come."""
    host, _, port = site.address.removeprefix("http://").rstrip("/").rpartition(":")
    connection = socket.create_connection((host, int(port)), 10)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n"
    head += f"Cookie: {site.cookie()['Cookie']}\r\nX-CSRF-Token: {site.csrf}\r\n\r\n"
    connection.sendall(head.encode() + (b"{" if "json" in kind else b"--x\r\n"))
    return connection


@pytest.mark.parametrize("path", ["login", "setup", "tokens", "accounts", "doors/front/badge"])
def test_words_are_at_most_64_kb(site: Site, path: str) -> None:
    site.enter()
    for size, code in ((endpoint.SMALL + 1, 413), (endpoint.SMALL, 400)):
        answer = site.ask("POST", f"/api/{path}", content=b"x" * size)
        assert answer.status_code == code
    assert site.ask("POST", "/api/login", content=b"x" * 70_000).json() == {
        "error": "more than 64 kB were sent: send less"
    }


def test_a_body_that_does_not_come_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BODY_S", 0.2)
    site.enter()
    for path, kind in (("/api/tokens", "application/json"), ("/api/people", "multipart/form-data; boundary=x")):
        with begun(site, path, kind) as connection:
            answer = b"".join(iter(lambda: connection.recv(4096), b""))  # until it is closed
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"to arrive" in answer


def test_an_upload_that_is_broken_off_is_no_error_of_ours(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.enter()
    tasks = site.show._server.server_state.tasks
    for path, kind in (("/api/tokens", "application/json"), ("/api/people", "multipart/form-data; boundary=x")):
        with begun(site, path, kind):
            wait_for(lambda: bool(tasks))
        wait_for(lambda: not tasks)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_export_gives_import_takes(site: Site) -> None:
    """More than photos may have, and one after the other."""
    site.enter()
    image = bytes(range(256)) * (20 << 10)
    faces = [Portrait(image, ((1.0, 1.0),) * 5) for _ in range(3)]
    Store(home(), keys()).add("Ada", "m", embedding(1).repeat(3).reshape(-1, 3).T, faces)
    content = site.ask("GET", "/api/people/Ada/export").content
    assert len(content) > endpoint.PHOTOS
    answer = site.ask("POST", "/api/people/import", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "no photo" in answer.json()["error"]) == (409, True)  # it has been looked at


def test_one_import_is_in_memory_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.enter()
    admit, all_given = app.admit, endpoint._all_given
    admitted: list[str] = []
    inside: list[int] = [0]  # how many were being read, at each beginning and end

    async def admitting(request: Request, *given: Any) -> Who | None:
        who = await admit(request, *given)
        admitted.append(request.url.path)
        return who

    async def reading(*given: Any) -> dict[str, Any]:
        inside.append(inside[-1] + 1)
        try:
            return await all_given(*given)
        finally:
            inside.append(inside[-1] - 1)

    monkeypatch.setattr(app, "admit", admitting)
    monkeypatch.setattr(endpoint, "_all_given", reading)
    with ThreadPoolExecutor(1) as threads:
        with begun(site, "/api/people/import"):
            wait_for(lambda: inside[-1] == 1)
            second = threads.submit(site.ask, "POST", "/api/people/import", json={})
            wait_for(lambda: len(admitted) == 2)
        assert second.result().status_code == 400
    assert max(inside) == 1


def test_exports_are_costly(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COSTLY", Rate(2, 0.01))
    site.enter()
    codes = [site.ask("GET", "/api/people/x/export").status_code for _ in range(3)]
    assert codes == [409, 409, 429]


def test_an_answer_that_is_none_ends_the_picture_quietly(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.enter()
    site.frame()
    address = site.address.replace("http", "ws") + "live/cam0"
    with connect(address, additional_headers=site.cookie()) as socket:
        socket.send(b"\0")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1003
    wait_for(lambda: not site.show._live.is_watched("cam0"))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_a_browser_says_to_a_socket_is_short_and_to_the_push_nothing(site: Site) -> None:
    site.enter()
    site.frame()
    push, live = (site.address.replace("http", "ws") + path for path in ("api/push", "live/cam0"))
    for address, said, code in ((push, "", 1003), (push, "x" * 2000, 1009), (live, "x" * 2000, 1009)):
        with connect(address, additional_headers=site.cookie()) as open_socket:
            assert open_socket.protocol.extensions == []
            open_socket.send(said)
            with suppress(ConnectionClosed):
                while True:
                    open_socket.recv(timeout=10)  # what was on its way
            assert open_socket.close_code == code


def test_clips_that_nobody_takes_in_are_few_and_broken_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COSTLY", Rate(10_000, 10_000))
    monkeypatch.setattr(limits, "CLIPS_EACH", 1)
    monkeypatch.setattr(streams, "SEND_S", 1.0)
    site.enter()
    seq = site.decide("opened")
    ledger = Ledger(home(), keys())
    clips.put(ledger, seq, Clip(bytes(8 << 20), ()))
    ledger.close()
    host, _, port = site.address.removeprefix("http://").rstrip("/").rpartition(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        head = f"GET /api/events/{seq}/clip HTTP/1.1\r\nHost: {host}\r\nCookie: {site.cookie()['Cookie']}\r\n\r\n"
        slow.sendall(head.encode())
        assert slow.recv(12) == b"HTTP/1.1 200"
        refused = site.ask("GET", f"/api/events/{seq}/clip")
        assert (refused.status_code, "1 clips of this account are open" in refused.json()["error"]) == (429, True)
        wait_for(lambda: site.client.get(f"/api/events/{seq}/clip").status_code == 200)
        rest = b"".join(iter(lambda: slow.recv(1 << 20), b""))
        assert len(rest) < 8 << 20
