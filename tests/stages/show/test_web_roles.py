"""Which role each route asks for, written out here once more: one that asks for less fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import get_args

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.home import home
from stages.show.web import limits
from stages.show.web.limits import Rate
from stages.show.web.users import Role, TokenRole, Users
from tests.stages.show.site import PASSWORD, Site

NEEDS: dict[tuple[str, str], TokenRole | None] = {
    ("POST", "/api/setup"): None,
    ("POST", "/api/link"): None,
    ("POST", "/api/login"): None,
    ("POST", "/api/logout"): "viewer",
    ("GET", "/api/me"): "viewer",
    ("PUT", "/api/me/password"): "viewer",
    ("GET", "/api/state"): "viewer",
    ("GET", "/api/events"): "viewer",
    ("GET", "/api/events/{seq}/snapshot"): "viewer",
    ("GET", "/api/events/{seq}/clip"): "viewer",
    ("POST", "/api/events/{seq}/wrong"): "operator",
    ("GET", "/api/people"): "operator",
    ("POST", "/api/people"): "operator",
    ("POST", "/api/people/import"): "admin",
    ("POST", "/api/look"): "operator",
    ("GET", "/api/people/{name:path}/portrait"): "operator",
    ("PUT", "/api/people/{name:path}/access"): "operator",
    ("PUT", "/api/people/{name:path}/name"): "operator",
    ("POST", "/api/people/{name:path}/out"): "operator",
    ("GET", "/api/people/{name:path}/export"): "admin",
    ("DELETE", "/api/people/{name:path}"): "admin",
    ("POST", "/api/doors/{door}/badge"): "reader",
    ("GET", "/api/calibration"): "viewer",
    ("GET", "/api/accounts"): "admin",
    ("POST", "/api/accounts"): "admin",
    ("PUT", "/api/accounts/{name:path}/role"): "admin",
    ("DELETE", "/api/accounts/{name:path}"): "admin",
    ("GET", "/api/tokens"): "admin",
    ("POST", "/api/tokens"): "admin",
    ("DELETE", "/api/tokens/{name:path}"): "admin",
    ("GET", "/api/openapi.json"): None,
    ("GET", "/live/{camera}"): "viewer",
}
SOCKETS: dict[str, TokenRole] = {"/api/push": "viewer", "/live/{camera}": "viewer"}
REFUSED = (401, 403)
# Who may what needs a role; a reader shows badges, which a viewer may not.
MAY = {
    "reader": {"reader", "operator", "admin"},
    "viewer": {"viewer", "operator", "admin"},
    "operator": {"operator", "admin"},
    "admin": {"admin"},
}
Askers = dict[TokenRole | None, list[httpx.Client]]


@pytest.fixture
def askers(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Askers]:
    """Who asks: nobody, of each role an account and a token, and a badge reader's token."""
    monkeypatch.setattr(limits, "KNOWN", Rate(10_000, 10_000))
    monkeypatch.setattr(limits, "UNKNOWN", Rate(10_000, 10_000))
    monkeypatch.setattr(limits, "COSTLY", Rate(10_000, 10_000))
    site.enter()
    users, found = Users(home()), Askers()
    for role in get_args(Role):
        users.add(role, role, PASSWORD)
        account = httpx.Client(timeout=60, base_url=site.address)
        csrf = account.post("/api/login", json={"name": role, "password": PASSWORD}).json()["csrf"]
        account.headers["X-CSRF-Token"] = csrf
        bearer = {"Authorization": f"Bearer {users.new_token(role, role)}"}
        found[role] = [account, httpx.Client(timeout=60, base_url=site.address, headers=bearer)]
    bearer = {"Authorization": f"Bearer {users.new_token('reader', 'reader')}"}
    found["reader"] = [httpx.Client(timeout=60, base_url=site.address, headers=bearer)]
    found[None] = [httpx.Client(timeout=60, base_url=site.address)]
    yield found
    for client in chain.from_iterable(found.values()):
        client.close()


def concrete(path: str) -> str:
    return re.sub(r"{\w+(:path)?}", "x", path.replace("{seq}", "1"))


def test_the_table_has_every_route(site: Site) -> None:
    app = site.show._server.config.app
    assert isinstance(app, Starlette)
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert {(m, route.path) for route in routes for m in (route.methods or set()) - {"HEAD"}} == set(NEEDS)
    assert {route.path for route in app.routes if isinstance(route, WebSocketRoute)} == set(SOCKETS)


def test_below_its_role_a_route_is_closed_and_from_there_on_open(site: Site, askers: Askers) -> None:
    """What is asked is nonsense: who is let through is told so, and nothing is changed."""
    last = ("POST", "/api/logout")  # ends the session that asks
    for (method, path), needed in sorted(NEEDS.items(), key=lambda one: one[0] == last):
        for role, clients in askers.items():
            for client in clients:
                code = client.request(method, concrete(path), content=b"").status_code
                allowed = needed is None or role in MAY[needed]
                assert (code not in REFUSED) == allowed, (method, path, role, code)


def test_a_socket_is_closed_to_who_is_not_logged_in(site: Site, askers: Askers) -> None:
    for path in SOCKETS:
        address = site.address.rstrip("/").replace("http", "ws") + concrete(path)
        for role, clients in askers.items():
            for client in clients:
                headers = dict(client.headers) | {"Cookie": "; ".join(f"{n}={v}" for n, v in client.cookies.items())}
                kept = {name: headers[name] for name in ("Cookie", "authorization") if name in headers}
                if role not in MAY[SOCKETS[path]]:
                    with pytest.raises(InvalidStatus) as caught:
                        connect(address, additional_headers=kept)
                    assert caught.value.response.status_code == 403
                    continue
                with connect(address, additional_headers=kept) as socket:
                    if path == "/api/push":
                        assert socket.recv(timeout=10)
                        continue
                    with pytest.raises(ConnectionClosed) as closed:
                        socket.recv(timeout=10)
                    assert closed.value.rcvd
                    assert closed.value.rcvd.code == 4404  # let through: there is no such camera
