"""A route of the API. The signature of what it does is read twice: to take a request apart, and to describe it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.errors import Usage
from stages.show.web.bodies import Form
from stages.show.web.users import TokenRole

# Bytes of a body: of words, of pictures, and of all that is kept of a person, which is taken in one at a time.
SMALL, PHOTOS, EXPORT = 64 << 10, 12 << 20, 64 << 20
BODY_S = 60.0  # how long a body may take


class Endpoint(NamedTuple):
    """What is done where, and for whom.

    Of the parameters of `does`, behind whom it belongs to, `body` and `query` are the request's, `request` is itself,
    and all others are parts of the path. What it returns is sent as JSON. Bytes and Responses say of which media type
    they are, `Annotated[Response, "image/png"]`, or which type their JSON has. It runs in a thread.
    """

    method: str
    path: str
    role: TokenRole | None  # who may; None: everybody
    does: Callable[..., Any]
    costly: bool = False  # it runs a network, hashes a password, or gives or takes very much
    largest: int = SMALL  # bytes of its body

    def takes(self) -> dict[str, Any]:
        """The types of its parameters, or, of a body as it is, the media type."""
        types = get_type_hints(self.does, include_extras=True)
        return {name: _content(types[name]) for name in list(inspect.signature(self.does).parameters)[1:]}

    def gives(self) -> Any:
        """The type of what it answers as JSON, or the media type."""
        return _content(get_type_hints(self.does, include_extras=True)["return"])


def _content(kind: Any) -> Any:
    annotated = get_origin(kind) is Annotated and get_args(kind)[0] in (bytes, Response)
    return get_args(kind)[1] if annotated else kind


def served(one: Endpoint, owner: object, admit: Callable[[Request], Awaitable[None]]) -> Callable[..., Any]:
    """What a server calls for a request to `one`; `admit` raises for who may not."""
    types = one.takes()

    turn = asyncio.Lock() if one.largest > PHOTOS else nullcontext()

    async def handle(request: Request) -> Response:
        await admit(request)
        async with turn:
            result = await run_in_threadpool(partial(one.does, owner, **await _all_given(request, types)))
        if isinstance(result, Response):
            return result
        return Response(msgspec.json.encode(result), media_type="application/json")

    return handle


async def _all_given(request: Request, types: dict[str, Any]) -> dict[str, Any]:
    """The parameters' values. Raises Usage, and HTTPException where they take too long."""
    try:
        async with asyncio.timeout(BODY_S):
            return {name: await _given(request, name, kind) for name, kind in types.items()}
    except TimeoutError as error:
        sentence = f"the request took longer than {BODY_S:.0f} s to arrive: send it again, or less"
        raise HTTPException(408, sentence, headers={"Connection": "close"}) from error


async def _given(request: Request, name: str, kind: Any) -> Any:
    """A parameter's value out of a request. Raises Usage."""
    if name == "request":
        return request
    try:
        if name != "body":
            found = dict(request.query_params) if name == "query" else request.path_params[name]
            return msgspec.convert(found, kind, strict=False)
        if isinstance(kind, str):
            return await request.body()
        if issubclass(kind, Form):
            return msgspec.convert(await _fields(request, kind), kind, strict=False)
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Usage(f"the request is not as /api/openapi.json describes it: {error}") from error


async def _fields(request: Request, kind: type[Form]) -> dict[str, Any]:
    """The fields of a form, files as bytes."""
    types = get_type_hints(kind)
    text: Callable[[str], str] = str
    if request.headers.get("content-type", "").startswith("multipart/"):
        request, text = _lossless(request), _utf8
    async with request.form(max_files=20, max_fields=10) as form:
        fields = {
            name: [await item.read() if isinstance(item, UploadFile) else text(item) for item in form.getlist(name)]
            for name in form
        }
    return {name: values if get_origin(types.get(name)) is tuple else values[-1] for name, values in fields.items()}


def _lossless(request: Request) -> Request:
    """The same, all of it read as Latin-1: the parser does so in silence with what is no UTF-8, as another name."""
    kind = request.headers["content-type"].encode("latin-1") + b"; charset=latin-1"
    others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    return Request({**request.scope, "headers": [*others, (b"content-type", kind)]}, request.receive)


def _utf8(text: str) -> str:
    """What was read as Latin-1. Raises UnicodeDecodeError."""
    return text.encode("latin-1").decode()
