"""The description of the API: valid, complete, and what the server keeps to."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from stages.show.web.app import ENDPOINTS
from tests.stages.show.site import PASSWORD, Site


def operations(site: Site) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path."""
    paths = site.description.document["paths"]
    return {(method.upper(), path): one for path, found in paths.items() for method, one in found.items()}


def test_it_is_valid_and_has_every_route(site: Site) -> None:
    validate(site.description.document)
    routes = [route for route in site.show._server.config.app.routes if isinstance(route, Route)]
    served = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {(method, path.replace(":path}", "}")) for method, path in served} == set(operations(site))
    assert len(routes) == len(ENDPOINTS)


def test_it_says_how_to_log_in_what_goes_in_and_what_comes_out(site: Site) -> None:
    found = operations(site)
    events, enroll = found["GET", "/api/events"], found["POST", "/api/people"]
    assert {(one["name"], one["in"]) for one in events["parameters"]} == {("before", "query"), ("limit", "query")}
    assert events["security"] == [{"cookie": []}, {"token": []}]
    assert enroll["security"] == [{"cookie": [], "csrf": []}, {"token": []}]
    assert found["POST", "/api/login"]["security"] == []
    assert set(enroll["requestBody"]["content"]) == {"multipart/form-data"}
    photo = site.description.document["components"]["schemas"]["Enrolment"]["properties"]["photo"]["items"]
    assert "contentEncoding" not in photo  # a file as it is
    for path, kind in (("snapshot", "image/jpeg"), ("clip", "video/mp4")):
        assert set(found["GET", f"/api/events/{{seq}}/{path}"]["responses"]["200"]["content"]) == {kind}
    assert set(found["GET", "/live/{camera}"]["responses"]["200"]["content"]) == {"multipart/x-mixed-replace"}
    assert all(one["responses"]["4XX"]["content"]["application/json"] for one in found.values())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/accounts", {"name": "eve", "role": "owner", "password": PASSWORD}),
        ("POST", "/api/accounts", {"name": "eve", "role": "viewer", "password": PASSWORD, "admin": "true"}),
        ("POST", "/api/accounts", ["eve"]),
        ("POST", "/api/accounts", b'{"name": "\xff", "role": "viewer", "password": "correct horse battery"}'),
        ("POST", "/api/tokens", {"name": "ci"}),
        ("POST", "/api/doors/front/badge", {"number": 4711}),
        ("PUT", "/api/people/Ada/access", {"badges": [""]}),
        ("GET", "/api/events?limit=0", None),
        ("GET", "/api/events?before=-1", None),
        ("GET", f"/api/events/{1 << 62}/clip", None),
    ],
)
def test_what_is_not_as_described_is_refused(site: Site, method: str, path: str, body: object) -> None:
    site.enter()
    given = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
    answer = site.ask(method, path, **given)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the request is not as /api/openapi.json describes it: ")
