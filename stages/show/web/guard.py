"""Who is let through: log-in, role, how often, origin, token, size; and the headers that browsers are to obey."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import Failed, Usage
from stages.show.web.endpoint import Endpoint
from stages.show.web.guesses import Denied
from stages.show.web.limits import Limits
from stages.show.web.users import Users, Who

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; media-src blob:; "
    "frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


# TLS here; TLS at a proxy: then only those whom it lets through over TLS are answered; none, on loopback: then only who
# calls it by a name of loopback, as the name of another site may be made to lead here (DNS rebinding).
Way = Literal["direct", "proxied", "local"]
LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)


class Guarded:
    """Puts the headers that browsers are to obey on every answer."""

    def __init__(self, app: ASGIApp, way: Way) -> None:
        self._app, self._way = app, way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sentence = self._objection(scope) if scope["type"] in ("http", "websocket") else ""
        if sentence:
            await JSONResponse({"error": sentence}, 403)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)

    def _objection(self, scope: Scope) -> str:
        """Why whoever asks is not answered; "" where they are."""
        if self._way == "proxied" and scope["scheme"] not in ("https", "wss"):
            return "come through the proxy, over https; it has to send X-Forwarded-For and X-Forwarded-Proto"
        if self._way == "local" and not LOCAL.fullmatch(Headers(scope=scope).get("host", "")):
            return "this page is for this machine alone: call it by http://localhost or http://127.0.0.1"
        return ""


async def admit(request: Request, users: Users, limits: Limits, one: Endpoint) -> Who | None:
    """Who asks for `one`, if they may, and from our own page where something is changed.

    Raises HTTPException, also where they ask too often, or send too much.
    """
    changes = request.method != "GET"
    who = await run_in_threadpool(identified, users, request)
    limits.check(request, who, costly=one.costly)
    _check_length(request, changes, one.largest)
    if one.role is not None:
        if who is None:
            raise HTTPException(401, "log in first")
        if not who.may(one.role):
            raise HTTPException(403, f"this is for the role {one.role}")
    if changes and not same_origin(request):
        raise HTTPException(403, "this came from another site")
    if changes and one.role and who and who.csrf != request.headers.get("x-csrf-token", ""):
        raise HTTPException(403, "the X-CSRF-Token is missing or wrong: load the page again")
    return who


def _check_length(request: Request, changes: bool, largest: int) -> None:
    told = request.headers.get("content-length", "" if changes and request.method != "DELETE" else "0")
    if not told.isdecimal():
        raise HTTPException(411, "the request has to say how long it is (Content-Length)")
    if int(told) > largest:
        most = f"{largest >> 20} MB" if largest >> 20 else f"{largest >> 10} kB"
        raise HTTPException(413, f"more than {most} were sent: send less")


def identified(users: Users, connection: HTTPConnection, *, keep: bool = True) -> Who | None:
    """Whose token or session a request or socket comes with; `keep` as in `Users.session`."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return users.token(token)
    secret = connection.cookies.get(cookie(connection))
    return users.session(secret, keep=keep) if secret else None


def cookie(connection: HTTPConnection) -> str:
    """What the cookie is called: browsers keep those of all ports of a host together, and another gate has another."""
    return f"framewire-{connection.scope['server'][1]}"


def same_origin(connection: HTTPConnection) -> bool:
    """Whether a browser says that it comes from this very page; programs say nothing."""
    origin, scheme = connection.headers.get("origin"), connection.url.scheme.replace("ws", "http")
    return origin is None or origin == f"{scheme}://{connection.headers.get('host')}"


def _told(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def tell(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status)

    return tell


def refusal(error: HTTPException) -> JSONResponse:
    """The answer that an exception stands for."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # which nobody hears


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error)


# What an error is to whoever asks: an object with "error", a sentence.
ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Usage: _told(400),
    Failed: _told(409),
    Denied: _told(403),
    msgspec.ValidationError: _told(400),
    HTTPException: _http,
    ClientDisconnect: _gone,
}
