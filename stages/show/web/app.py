"""The API and the page: one table of routes, from which the OpenAPI description is made as well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from stages.show.web.api import Api
from stages.show.web.endpoint import EXPORT, PHOTOS, Endpoint, served
from stages.show.web.guard import ANSWERS, Guarded, Way, admit, cookie
from stages.show.web.openapi import described

PAGE = Path(__file__).parent / "page"


def openapi(api: Api, request: Request) -> dict[str, Any]:
    """This description."""
    return described(ENDPOINTS, cookie(request))


ENDPOINTS = (
    Endpoint("POST", "/api/setup", None, Api.begin, costly=True),
    Endpoint("POST", "/api/link", None, Api.link),
    Endpoint("POST", "/api/login", None, Api.log_in, costly=True),
    Endpoint("POST", "/api/logout", "viewer", Api.log_out),
    Endpoint("GET", "/api/me", "viewer", Api.me),
    Endpoint("PUT", "/api/me/password", "viewer", Api.change_password, costly=True),
    Endpoint("GET", "/api/state", "viewer", Api.state),
    Endpoint("GET", "/api/events", "viewer", Api.events),
    Endpoint("GET", "/api/events/{seq}/snapshot", "viewer", Api.snapshot),
    Endpoint("GET", "/api/events/{seq}/clip", "viewer", Api.clip, costly=True),
    Endpoint("POST", "/api/events/{seq}/wrong", "operator", Api.mistaken, costly=True),
    Endpoint("GET", "/api/people", "operator", Api.people),
    Endpoint("POST", "/api/people", "operator", Api.enroll, costly=True, largest=PHOTOS),
    Endpoint("POST", "/api/people/import", "admin", Api.take_in, costly=True, largest=EXPORT),
    Endpoint("POST", "/api/look", "operator", Api.look, costly=True, largest=PHOTOS),
    Endpoint("GET", "/api/people/{name:path}/portrait", "operator", Api.portrait),
    Endpoint("PUT", "/api/people/{name:path}/access", "operator", Api.set_access),
    Endpoint("PUT", "/api/people/{name:path}/name", "operator", Api.rename),
    Endpoint("POST", "/api/people/{name:path}/out", "operator", Api.out),
    Endpoint("GET", "/api/people/{name:path}/export", "admin", Api.export, costly=True),
    Endpoint("DELETE", "/api/people/{name:path}", "admin", Api.forget),
    Endpoint("POST", "/api/doors/{door}/badge", "reader", Api.badge),
    Endpoint("GET", "/api/calibration", "viewer", Api.calibration),
    Endpoint("GET", "/api/accounts", "admin", Api.accounts),
    Endpoint("POST", "/api/accounts", "admin", Api.add_account, costly=True),
    Endpoint("PUT", "/api/accounts/{name:path}/role", "admin", Api.set_role),
    Endpoint("DELETE", "/api/accounts/{name:path}", "admin", Api.remove_account),
    Endpoint("GET", "/api/tokens", "admin", Api.tokens),
    Endpoint("POST", "/api/tokens", "admin", Api.add_token),
    Endpoint("DELETE", "/api/tokens/{name:path}", "admin", Api.remove_token),
    Endpoint("GET", "/api/openapi.json", None, openapi),
    Endpoint("GET", "/live/{camera}", "viewer", Api.pictures),
)


def application(api: Api, way: Way) -> Starlette:
    """The whole of it, for a server."""
    MultiPartParser.spool_max_size = PHOTOS  # photos stay in memory: a temporary file would be one in plain

    async def let_in(one: Endpoint, request: Request) -> None:
        request.state.who = await admit(request, api.users, api.limits, one)

    routes = [Route(one.path, served(one, api, partial(let_in, one)), methods=[one.method]) for one in ENDPOINTS]
    return Starlette(
        routes=[
            *routes,
            WebSocketRoute("/api/push", api.streams.push),
            WebSocketRoute("/live/{camera}", api.streams.pictures),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(Guarded, way=way)],
        exception_handlers=dict(ANSWERS),
    )
