"""The description of the API: valid, complete, and what the server keeps to."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from pipeline.home import home, keys
from stages.act import doors
from stages.events.records import Command
from stages.gallery.store import Store
from stages.gate.health import Pulse
from stages.show.web.app import ENDPOINTS
from stages.show.web.users import Users
from tests.stages.gate.scene import calibrated
from tests.stages.show.site import PASSWORD, PHOTO, Site


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


def test_all_of_it_is_done_as_described(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes())}
    site.ask("POST", "/api/people", data={"name": "Eileen", "watch": "false"}, files=photo)
    (eileen,) = Store(home(), keys()).people()
    site.film(site.decide("opened", PHOTO.read_bytes(), person=eileen.id.hex(), name="Eileen"))
    calibrated()
    pulse = Pulse(home(), deadline_ms=1000)
    pulse.see(site.camera().frame)
    pulse.beat(1, "")
    doors.opened(Command("a", "front", 1, 5, 0))
    site.frame("Eileen", "come in")
    for path in ("me", "state", "events?limit=3&before=9", "events/1/snapshot", "events/1/clip", "people"):
        assert site.ask("GET", f"/api/{path}").status_code == 200
    with site.client.stream("GET", "/live/cam0") as answer:
        site.description.check(answer)
    account = {"name": "bob", "role": "viewer"}
    what = site.ask("GET", "/api/people/Eileen/export").json() | {"name": "Ada"}
    for method, path, body in (
        ("GET", "people/Eileen/portrait", None),
        ("PUT", "people/Eileen/access", {"groups": ["staff"], "valid_until": "2030-01-01T00:00:00Z", "badges": ["1"]}),
        ("PUT", "people/Eileen/name", {"name": "Eileen Collins"}),
        ("POST", "people/Eileen Collins/out", {}),
        ("POST", "people/import?force=true", what),
        ("DELETE", "people/Ada", None),
        ("POST", "events/1/wrong", {}),
        ("POST", "doors/front/badge", {"number": "1"}),
        ("GET", "calibration", None),
        ("POST", "accounts", account | {"password": PASSWORD}),
        ("GET", "accounts", None),
        ("PUT", "accounts/bob/role", {"role": "operator"}),
        ("DELETE", "accounts/bob", None),
        ("POST", "tokens", account),
        ("GET", "tokens", None),
        ("DELETE", "tokens/bob", None),
        ("POST", "link", {"secret": Users(home()).invite("ada")}),
        ("GET", "openapi.json", None),
    ):
        answer = site.ask(method, f"/api/{path}", **({} if body is None else {"json": body}))
        assert answer.status_code == 200, answer.text
    site.ask("POST", "/api/look", files={"picture": photo["photo"]})
    site.csrf = site.ask("PUT", "/api/me/password", json={"old": PASSWORD, "new": PASSWORD[::-1]}).json()["csrf"]
    site.ask("POST", "/api/login", json={"name": "ada", "password": PASSWORD[::-1]})
    site.csrf = site.ask("GET", "/api/me").json()["csrf"]
    site.ask("POST", "/api/logout", content=b"")
    assert site.description.kept == set(operations(site))


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
