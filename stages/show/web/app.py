"""The API and the page: one table of routes, from which the OpenAPI description is made as well."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from pipeline.errors import Usage
from stages.show.web.data import Data
from stages.show.web.guard import ANSWERS, COOKIE, LARGEST, Guarded, admit
from stages.show.web.limits import Limits, network
from stages.show.web.live import Live
from stages.show.web.streams import Streams
from stages.show.web.users import Role, Users

PAGE = Path(__file__).parent / "page"


class Endpoint(NamedTuple):
    """One of the API's routes."""

    method: str
    path: str
    role: Role | None  # who may; None: everybody
    does: Callable[[Api, Request], Awaitable[Any]]
    costly: bool = False  # it runs a network or hashes a password


class Api:
    """What the routes do. Blocking work goes to threads."""

    def __init__(self, users: Users, data: Data, live: Live, secure: bool) -> None:
        """`secure` is whether browsers come over TLS: then the cookie goes over nothing else."""
        self.users, self.data, self.live, self._secure = users, data, live, secure
        self.limits = Limits()
        self.streams = Streams(users, data, live, self.limits)

    async def begin(self, request: Request) -> Any:
        """Make the first admin, with the secret of the link that the gate has printed."""
        given = await _object(request, "secret", "name", "password")
        await run_in_threadpool(self.users.begin, given["secret"], given["name"], given["password"])
        return await self._entered(request, given)

    async def log_in(self, request: Request) -> Any:
        """Begin a session, kept in a cookie."""
        return await self._entered(request, await _object(request, "name", "password"))

    async def log_out(self, request: Request) -> Any:
        """End the session."""
        await run_in_threadpool(self.users.log_out, request.cookies.get(COOKIE, ""))
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response

    async def me(self, request: Request) -> Any:
        """Who is logged in; the CSRF token goes into the header X-CSRF-Token of what changes something."""
        return msgspec.to_builtins(request.state.who)

    async def state(self, request: Request) -> Any:
        """Doors, cameras and health."""
        found = await run_in_threadpool(self.data.state)
        return {**found, "cameras": self.live.cameras(), "warnings": self.live.warnings}

    async def events(self, request: Request) -> Any:
        """Decisions and what else was written down, the newest first; `before` a number, at most `limit`."""
        before = request.query_params.get("before")
        limit = min(200, _number(request.query_params.get("limit", "50")))
        return await run_in_threadpool(self.data.events, None if before is None else _number(before), limit)

    async def snapshot(self, request: Request) -> Any:
        """The picture of a decision, JPEG."""
        found = await run_in_threadpool(self.data.snapshot, _number(request.path_params["seq"]))
        if found is None:
            raise HTTPException(404, "there is no snapshot of this event, or none any more")
        return Response(found, media_type="image/jpeg")

    async def clip(self, request: Request) -> Any:
        """The moving pictures of a decision, MP4."""
        found = await run_in_threadpool(self.data.clip, _number(request.path_params["seq"]))
        if found is None:
            raise HTTPException(404, "there is no clip of this event, not yet, or none any more")
        return Response(found, media_type="video/mp4")

    async def people(self, request: Request) -> Any:
        """Who is enrolled."""
        return await run_in_threadpool(self.data.people)

    async def portrait(self, request: Request) -> Any:
        """A face of somebody, PNG."""
        found = await run_in_threadpool(self.data.portrait, request.path_params["name"])
        if found is None:
            raise HTTPException(404, "no face is kept of this person")
        return Response(found, media_type="image/png")

    async def enroll(self, request: Request) -> Any:
        """Add photos of a person: a form with name, photo (several times), force, and watch for the watch list."""
        async with request.form(max_files=20, max_fields=10) as form:
            photos = [await item.read() for item in form.getlist("photo") if not isinstance(item, str)]
            name = str(form.get("name", ""))
            force, watch = (form.get(option) == "true" for option in ("force", "watch"))
        return await run_in_threadpool(self.data.enroll, name, photos, force, watch)

    async def look(self, request: Request) -> Any:
        """What to do before a picture (the body) is good to enrol somebody, of whom ?taken=N pictures are taken."""
        taken = _number(request.query_params.get("taken", 0))
        return await run_in_threadpool(self.data.look, await request.body(), taken)

    async def forget(self, request: Request) -> Any:
        """Destroy all that is kept of a person; the receipt."""
        return await run_in_threadpool(self.data.forget, request.path_params["name"])

    async def set_access(self, request: Request) -> Any:
        """Replace somebody's groups, windows, validity and watch flag."""
        return await run_in_threadpool(self.data.set_access, request.path_params["name"], await request.body())

    async def badge(self, request: Request) -> Any:
        """A badge was shown at a door: an object with its number. It counts for a while, where the mode is 1:1."""
        given = await _object(request, "number")
        return await run_in_threadpool(self.data.badge, request.path_params["door"], given["number"])

    async def calibration(self, request: Request) -> Any:
        """What gate calibrate found, with the curve; null where nothing was calibrated."""
        return await run_in_threadpool(self.data.calibration)

    async def accounts(self, request: Request) -> Any:
        """Names and roles."""
        return [{"name": name, "role": role} for name, role in await run_in_threadpool(self.users.all)]

    async def add_account(self, request: Request) -> Any:
        """Make an account."""
        given = await _object(request, "name", "role", "password")
        role = msgspec.convert(given["role"], Role)
        await run_in_threadpool(self.users.add, given["name"], role, given["password"])
        return {"name": given["name"]}

    async def remove_account(self, request: Request) -> Any:
        """Remove an account."""
        await run_in_threadpool(self.users.remove, request.path_params["name"])
        return {}

    async def add_token(self, request: Request) -> Any:
        """Make a token for a program, sent as "Authorization: Bearer ..."; it is shown this once."""
        given = await _object(request, "name", "role")
        role = msgspec.convert(given["role"], Role)
        return {"token": await run_in_threadpool(self.users.new_token, given["name"], role)}

    async def remove_token(self, request: Request) -> Any:
        """Make the tokens of a name useless."""
        await run_in_threadpool(self.users.revoke, request.path_params["name"])
        return {}

    async def openapi(self, request: Request) -> Any:
        """This description."""
        return described()

    async def pictures(self, request: Request) -> Any:
        """A camera's live picture, as Motion JPEG; as a WebSocket, a JPEG a message, each to be answered when shown."""
        camera = request.path_params["camera"]
        if camera not in self.live.cameras():
            raise HTTPException(404, "there is no camera of that name")
        return self.streams.motion_jpeg(request, camera)

    async def _entered(self, request: Request, given: dict[str, str]) -> Response:
        secret = await run_in_threadpool(self.users.log_in, given["name"], given["password"], network(request))
        who = await run_in_threadpool(self.users.session, secret)
        response = JSONResponse(msgspec.to_builtins(who))
        response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=self._secure, path="/")
        return response


ENDPOINTS = (
    Endpoint("POST", "/api/setup", None, Api.begin, costly=True),
    Endpoint("POST", "/api/login", None, Api.log_in, costly=True),
    Endpoint("POST", "/api/logout", "viewer", Api.log_out),
    Endpoint("GET", "/api/me", "viewer", Api.me),
    Endpoint("GET", "/api/state", "viewer", Api.state),
    Endpoint("GET", "/api/events", "viewer", Api.events),
    Endpoint("GET", "/api/events/{seq:int}/snapshot", "viewer", Api.snapshot),
    Endpoint("GET", "/api/events/{seq:int}/clip", "viewer", Api.clip),
    Endpoint("GET", "/api/people", "operator", Api.people),
    Endpoint("POST", "/api/people", "operator", Api.enroll, costly=True),
    Endpoint("POST", "/api/look", "operator", Api.look, costly=True),
    Endpoint("GET", "/api/people/{name:path}/portrait", "operator", Api.portrait),
    Endpoint("PUT", "/api/people/{name:path}/access", "operator", Api.set_access),
    Endpoint("DELETE", "/api/people/{name:path}", "admin", Api.forget),
    Endpoint("POST", "/api/doors/{door}/badge", "operator", Api.badge),
    Endpoint("GET", "/api/calibration", "viewer", Api.calibration),
    Endpoint("GET", "/api/accounts", "admin", Api.accounts),
    Endpoint("POST", "/api/accounts", "admin", Api.add_account, costly=True),
    Endpoint("DELETE", "/api/accounts/{name}", "admin", Api.remove_account),
    Endpoint("POST", "/api/tokens", "admin", Api.add_token),
    Endpoint("DELETE", "/api/tokens/{name}", "admin", Api.remove_token),
    Endpoint("GET", "/api/openapi.json", None, Api.openapi),
    Endpoint("GET", "/live/{camera}", "viewer", Api.pictures),
)


def application(api: Api, proxied: bool = False) -> Starlette:
    """The whole of it, for a server; `proxied` is whether TLS ends at a proxy."""
    MultiPartParser.spool_max_size = LARGEST  # photos stay in memory: a temporary file would be one in plain
    routes = [Route(one.path, _guarded(api, one), methods=[one.method]) for one in ENDPOINTS]
    return Starlette(
        routes=[
            *routes,
            WebSocketRoute("/api/push", api.streams.push),
            WebSocketRoute("/live/{camera}", api.streams.pictures),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(Guarded, proxied=proxied)],
        exception_handlers=dict(ANSWERS),
    )


def described() -> dict[str, Any]:
    """OpenAPI 3.1, out of the table."""
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        path = one.path.replace(":int}", "}").replace(":path}", "}")
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        where = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        paths.setdefault(path, {})[one.method.lower()] = {
            "summary": inspect.getdoc(one.does),
            "parameters": where,
            "description": f"for the role {one.role}, or above" if one.role else "for everybody",
            "responses": {"200": {"description": "done"}, "4XX": {"description": 'an object with "error", a sentence'}},
        }
    info = {"title": "framewire gate", "version": "1"}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _guarded(api: Api, one: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        request.state.who = await admit(request, api.users, api.limits, one.role, costly=one.costly)
        result = await one.does(api, request)
        if isinstance(result, Response):
            return result
        return Response(msgspec.json.encode(result), media_type="application/json")

    return handle


async def _object(request: Request, *names: str) -> dict[str, str]:
    """The JSON object of a request with just these texts."""
    try:
        given = msgspec.json.decode(await request.body(), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Usage(f"this is no JSON object of texts: {error}") from error
    if set(given) != set(names):
        raise Usage(f"this needs {', '.join(names)}")
    return given


def _number(text: object) -> int:
    try:
        number = int(str(text))
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 62:
        raise Usage(f"{str(text)[:20]!r} is no number")
    return number
