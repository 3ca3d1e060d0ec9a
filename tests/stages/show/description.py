"""What the API says of itself, to hold its answers against."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
from jsonschema import Draft202012Validator


class Description:
    """An OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.kept: set[tuple[str, str]] = set()  # methods and paths of what was done as it is described

    def check(self, answer: httpx.Response) -> None:
        """Fails where a request that was let through, or its answer, is not as it is described."""
        request = answer.request
        method, path = request.method, self._template(request.method, request.url.raw_path.decode().partition("?")[0])
        operation = self.document["paths"][path][method.lower()]
        responses = operation["responses"]
        content = responses["200" if answer.status_code == 200 else f"{answer.status_code // 100}XX"]["content"]
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content, (request.url, kind)
        if kind == "application/json":
            assert self._fits(answer.json(), content[kind]["schema"]), (request.url, answer.text)
        if answer.status_code == 200:
            queries = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
            assert set(request.url.params) <= queries, request.url
            self.kept.add((method, path))
        self._check_body(operation, answer)

    def _check_body(self, operation: dict[str, Any], answer: httpx.Response) -> None:
        """A JSON body that is not as described is never let through."""
        body = operation.get("requestBody", {"content": {}})["content"]
        if answer.status_code == 200 and (content := answer.request.read()) and body:
            kind = answer.request.headers["content-type"].partition(";")[0]
            assert kind in body, (answer.request.url, kind)
            if kind == "application/json":
                assert self._fits(msgspec.json.decode(content), body[kind]["schema"]), content

    def _template(self, method: str, path: str) -> str:
        for template, operations in sorted(self.document["paths"].items(), key=lambda one: one[0].count("{")):
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in operations:
                return str(template)
        raise AssertionError(f"{method} {path} is not described")

    def _fits(self, value: Any, schema: dict[str, Any]) -> bool:
        whole = {**schema, "components": self.document["components"]}
        return bool(Draft202012Validator(whole).is_valid(value))
