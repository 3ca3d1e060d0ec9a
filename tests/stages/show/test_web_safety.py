"""What keeps a browser, a session and the file of accounts safe."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.home import home
from stages.show.web import streams, users
from stages.show.web.show import Show, ShowConfig, announced, sentences
from stages.show.web.users import IDLE_S, Users
from tests.command import ROOT, User
from tests.fakes import MemoryFrames
from tests.stages.show.site import PASSWORD, Site

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; media-src blob:; frame-ancestors 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("path", ["/", "/style.css", "/api/me", "/api/openapi.json", "/nothing"])
def test_every_answer_has_the_headers_that_keep_a_browser_safe(site: Site, path: str) -> None:
    assert HEADERS.items() <= dict(site.client.get(path).headers).items()


def test_the_cookie_is_for_this_page_alone_and_goes_at_log_out(site: Site) -> None:
    site.enter()
    given = {"name": "ada", "password": PASSWORD}
    cookie = site.client.post("/api/login", json=given).headers["set-cookie"].lower()
    assert "; httponly" in cookie
    assert "; samesite=strict" in cookie
    assert "; path=/" in cookie
    assert "; secure" not in cookie  # there is no TLS on loopback
    site.csrf = site.ask("GET", "/api/me").json()["csrf"]
    gone = site.ask("POST", "/api/logout", content=b"").headers["set-cookie"].lower()
    assert gone.startswith(f"{cookie.partition('=')[0]}=")
    assert "; max-age=0;" in gone
    assert not site.client.cookies


def test_another_gate_on_this_host_has_another_cookie(site: Site) -> None:
    """Browsers keep the cookies of all ports together."""
    site.enter()
    port = site.address.rstrip("/").rpartition(":")[2]
    assert set(site.client.cookies) == {f"framewire-{port}"}
    schemes = site.description.document["components"]["securitySchemes"]
    assert schemes["cookie"]["name"] == f"framewire-{port}"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
def test_on_loopback_the_page_has_no_other_name(site: Site, host: str) -> None:
    """A site that its name server leads here would be of one origin with the page."""
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = site.client.post("/api/login", json={"name": "ada", "password": PASSWORD}, headers=headers)
    assert (answer.status_code, "this machine alone" in answer.json()["error"]) == (403, True)
    port = site.address.rstrip("/").rpartition(":")[2]
    raw = socket.create_connection(("127.0.0.1", int(port)), 10)  # a socket whose host is this name
    with raw, pytest.raises(InvalidStatus) as caught:
        connect("ws://evil.example/api/push", sock=raw)
    assert b"this machine alone" in caught.value.response.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8765", "[::1]", "[::1]:8765"])
def test_on_loopback_it_has_these(site: Site, host: str) -> None:
    assert site.client.get("/", headers={"Host": host}).status_code == 200


def test_at_the_loopback_of_ipv6_the_address_is_one(places: Path) -> None:
    show = Show(ShowConfig(host="::1", port=0), MemoryFrames())
    found = announced()
    assert found
    assert httpx.get(found.address).status_code == 200
    show.close()


def test_behind_a_proxy_that_does_tls_the_cookie_goes_over_nothing_else(places: Path) -> None:
    show = Show(ShowConfig(port=0, trusted_proxies=("127.0.0.1",)), MemoryFrames())
    found = announced()
    assert found
    first = {"secret": found.setup.partition("#setup=")[2], "name": "ada", "password": PASSWORD}
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    done = httpx.post(f"{found.address}api/setup", json=first, headers=forwarded)
    assert "; secure" in done.headers["set-cookie"].lower()
    show.close()


def said(monkeypatch: pytest.MonkeyPatch, **config: Any) -> list[str]:
    """What is printed of a page, on a machine called gatehouse."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gatehouse")
    Show(ShowConfig(port=0, **config), MemoryFrames()).close()
    found = announced()
    assert found
    return list(sentences(found))


def test_the_link_leads_to_where_browsers_find_the_page(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::"):
        page, setup, proxied = said(monkeypatch, host=host, trusted_proxies=("10.0.0.1",))
        assert re.fullmatch(r"the page: http://gatehouse:\d+/", page)
        assert re.search(r"http://gatehouse:\d+/#setup=", setup)
        assert proxied.startswith("browsers come through your proxy: put its address in place of this one")
    for address in ("https://gate.example", "https://gate.example/"):
        page, setup = said(monkeypatch, trusted_proxies=("10.0.0.1",), address=address)
        assert page == "the page: https://gate.example/"
        assert " https://gate.example/#setup=" in setup
    for wrong in ("gate.example", "https://gate.example/gate", "ftp://gate.example"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"address": wrong}, ShowConfig)


def test_a_link_is_printed_in_one_piece(site: Site, places: Path) -> None:
    """On a terminal, too, where numbers and addresses would be coloured."""
    site.enter()
    ours, theirs = os.openpty()
    command = [sys.executable, str(ROOT / "run_pipeline.py"), "gate", "account", "ada"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "60"}
    assert subprocess.run(command, stdout=theirs, env=environment, check=False).returncode == 0
    assert re.search(rf"once: {re.escape(site.address)}#setup=[\w-]{{43}}\s", os.read(ours, 1 << 16).decode())
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("path", ["/api/login", "/api/setup", "/api/link"])
def test_what_nobody_has_to_be_logged_in_for_has_to_come_from_the_page_as_well(site: Site, path: str) -> None:
    """A log-in from another site would be somebody else's, unnoticed."""
    own = site.address.rstrip("/")
    for origin in ("http://evil.example", "null", own.replace("http", "https")):
        answer = site.ask("POST", path, json={}, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["error"]) == (403, "this came from another site")
    assert site.ask("POST", path, json={}, headers={"Origin": own}).status_code == 400  # let through: there is no body


def test_to_watch_keeps_no_session_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.05)
    site.enter()
    wall, ends = time.time, time.monotonic() + 10
    with connect(site.address.replace("http", "ws") + "api/push", additional_headers=site.cookie()) as pushed:
        monkeypatch.setattr(users.time, "time", lambda: wall() + IDLE_S / 2)
        for _ in range(5):  # it is looked at its session
            pushed.recv(timeout=10)
        monkeypatch.setattr(users.time, "time", lambda: wall() + IDLE_S + 1)
        with suppress(ConnectionClosed):
            while time.monotonic() < ends:
                pushed.recv(timeout=10)
    assert time.monotonic() < ends, "it is told on and on"
    assert site.ask("GET", "/api/me").status_code == 401


def test_a_form_has_at_most_twenty_files(site: Site) -> None:
    site.enter()
    many = site.ask("POST", "/api/people", data={"name": "Ada"}, files=[("photo", ("a.jpg", b"x"))] * 21)
    assert (many.status_code, "Too many files" in many.json()["error"]) == (400, True)


def test_a_command_gives_a_way_back_in(site: Site, places: Path) -> None:
    site.enter()
    user = User(places)
    assert user("gate", "account", "eve").sentence == "there is no account called 'eve': there is ada"
    printed = user("gate", "account", "ada").out
    assert printed.startswith(f"set a password for ada, once: {site.address}#setup=")
    given = {"secret": printed.strip().partition("#setup=")[2], "name": "ada", "password": "another horse entirely"}
    with httpx.Client(base_url=site.address) as elsewhere:
        assert elsewhere.post("/api/setup", json=given).json()["role"] == "admin"
        assert elsewhere.get("/api/me").status_code == 200
    assert site.ask("GET", "/api/me").status_code == 401  # the session from before


def test_where_no_page_has_been_there_is_no_way_in(places: Path) -> None:
    assert "start the gate first" in User(places)("gate", "account", "ada").sentence


def test_what_is_deleted_from_the_accounts_is_zeros_in_the_file(site: Site) -> None:
    accounts, name = Users(home()), "n" * 50
    accounts.add("ada", "admin", PASSWORD)
    accounts.add(name, "viewer", PASSWORD)
    content = (home() / "web.sqlite").read_bytes()
    assert name.encode() in content
    accounts.remove(name)
    assert name.encode() not in (home() / "web.sqlite").read_bytes()
