"""The OpenAPI 3.1 description of the API, out of the table of its routes and the types that they name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request

from stages.show.web.bodies import Error, Form, Query
from stages.show.web.endpoint import Endpoint
from stages.show.web.users import ALLOWED

ABOUT = (
    "Log in and keep the cookie, and send the CSRF token of /api/me with what changes something; or send a token as a"
    " program does. Besides, there are two WebSockets: /live/{camera} gives a JPEG a message, each to be answered when"
    " it is shown; /api/push gives the gate's time (now_ns), doors, health, cameras, faces and new events, a JSON"
    " object a message; with ?after=SEQ it begins behind that event."
)


def described(endpoints: Sequence[Endpoint], cookie: str) -> dict[str, Any]:
    """The document; `cookie` is the name of the session's."""
    schemes = {
        "cookie": {"type": "apiKey", "in": "cookie", "name": cookie},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
        "token": {"type": "http", "scheme": "bearer"},
    }
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path.replace(":path}", "}"), {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "framewire gate", "version": "1", "description": ABOUT},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": schemes},
    }


class _Schemas:
    """Schemas of types; those that have a name are collected."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """A type's schema, or where it is."""
        (schema,), named = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        self.components |= named
        return schema

    def content(self, kind: Any) -> dict[str, Any]:
        """A body of that type or media type."""
        if isinstance(kind, str):
            return {kind: {}}
        schema = self.of(kind)
        if isinstance(kind, type) and issubclass(kind, Form):
            self.components[kind.__name__] = _with_files(self.components[kind.__name__])
            return {"multipart/form-data": {"schema": schema}}
        return {"application/json": {"schema": schema}}

    def parameters(self, name: str, kind: Any) -> list[dict[str, Any]]:
        """A part of the path, or all that may come behind the question mark."""
        if not (isinstance(kind, type) and issubclass(kind, Query)):
            return [{"name": name, "in": "path", "required": True, "schema": self.of(kind)}]
        fields = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
        return [{"name": field, "in": "query", "schema": schema} for field, schema in fields.items()]


def _operation(one: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    takes = one.takes()
    body = takes.pop("body", None)
    browser: dict[str, list[str]] = {"cookie": []} if one.method == "GET" else {"cookie": [], "csrf": []}
    return {
        "operationId": one.does.__name__,
        "summary": inspect.getdoc(one.does),
        "description": f"for the roles {', '.join(ALLOWED[one.role])}" if one.role else "for everybody",
        "security": [browser, {"token": []}] if one.role else [],
        "parameters": [
            parameter
            for name, kind in takes.items()
            if kind is not Request
            for parameter in schemas.parameters(name, kind)
        ],
        **({"requestBody": {"required": True, "content": schemas.content(body)}} if body else {}),
        "responses": {
            "200": {"description": "it is done", "content": schemas.content(one.gives())},
            "4XX": {"description": "it is not done", "content": schemas.content(Error)},
        },
    }


def _with_files(schema: Any) -> Any:
    """A form's schema, whose bytes come as they are: msgspec takes them for base64."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        return {"type": "string", "contentMediaType": "application/octet-stream"}
    return {key: _with_files(value) for key, value in schema.items()}
