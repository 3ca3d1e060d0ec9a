"""How often somebody may ask: over real HTTP, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from stages.show.web import limits as module
from stages.show.web.limits import COSTLY, KNOWN, UNKNOWN, Limits
from stages.show.web.show import Show, ShowConfig, announced
from stages.show.web.users import Role, Users, Who
from tests.fakes import MemoryFrames

PASSWORD = "correct horse battery"
HERS, OTHER = "10.0.0.1", "10.0.0.2"  # addresses


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the limits, seconds: it stands still unless a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Site:
    """A page that runs, and those who ask it."""

    def __init__(self, home: Path, proxies: tuple[str, ...]) -> None:
        self.show = Show(ShowConfig(port=0, trusted_proxies=proxies), MemoryFrames())
        found = announced()
        assert found
        self.address = found.address
        self.users = Users(home)
        self.users.begin(found.setup.partition("#setup=")[2], "ada", PASSWORD)
        self.client = httpx.Client(base_url=self.address, timeout=20)

    def token(self, name: str, role: Role = "operator") -> dict[str, str]:
        """The headers of a program."""
        return {"Authorization": f"Bearer {self.users.new_token(name, role)}"}

    def ask(self, path: str, headers: dict[str, str], method: str = "GET") -> httpx.Response:
        return self.client.request(method, path, headers=headers, content=b"" if method == "POST" else None)

    def last_of(self, times: float, path: str, headers: dict[str, str], method: str = "GET") -> int:
        """Ask so many times, and never be refused; the last answer's status."""
        codes = [self.ask(path, headers, method).status_code for _ in range(int(times))]
        assert 429 not in codes
        return codes[-1]


@pytest.fixture
def site(places: Path, clock: list[float], request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(places / "home", getattr(request, "param", ()))
    yield site
    site.client.close()
    site.show.close()


def forwarded(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}


def test_a_token_that_asks_too_often_is_told_to_wait_and_others_are_not(site: Site, clock: list[float]) -> None:
    busy, other = site.token("busy"), site.token("other")
    assert site.last_of(KNOWN.burst, "/api/me", busy) == 200
    refused = site.ask("/api/me", busy)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json() == {"error": "too many requests: try again in 1 s"}
    with pytest.raises(InvalidStatus) as caught:
        connect(site.address.replace("http", "ws") + "api/push", additional_headers=busy)
    assert (caught.value.response.status_code, caught.value.response.headers["retry-after"]) == (429, "1")
    assert site.ask("/api/me", other).status_code == 200
    clock[0] += 1
    assert site.last_of(KNOWN.a_second, "/api/me", busy) == 200
    assert site.ask("/api/me", busy).status_code == 429


def test_what_costs_much_is_limited_more_tightly(site: Site, clock: list[float]) -> None:
    token = site.token("enrols")
    assert site.last_of(COSTLY.burst, "/api/look", token, "POST") == 400  # no picture
    for path in ("/api/look", "/api/people"):
        assert site.ask(path, token, "POST").status_code == 429
    assert site.ask("/api/people", token).status_code == 200
    clock[0] += 1
    assert site.last_of(COSTLY.a_second, "/api/look", token, "POST") == 400


@pytest.mark.parametrize("site", [("127.0.0.1",)], indirect=True)
def test_who_is_not_logged_in_is_limited_by_address(site: Site) -> None:
    guess = {"Authorization": "Bearer guess"}
    assert site.last_of(COSTLY.burst, "/api/login", forwarded(HERS), "POST") == 400
    assert site.ask("/api/login", forwarded(HERS), "POST").status_code == 429
    spent = COSTLY.burst + 1
    assert site.last_of(UNKNOWN.burst - spent, "/api/me", forwarded(HERS) | guess) == 401
    assert site.ask("/api/me", forwarded(HERS)).status_code == 429
    assert site.ask("/api/me", forwarded(OTHER)).status_code == 401
    assert site.ask("/api/me", forwarded(HERS) | site.token("hers")).status_code == 200
    assert site.ask("/", forwarded(HERS)).status_code == 200  # the page itself


def test_nobody_but_a_trusted_proxy_says_whose_address_it_is(site: Site) -> None:
    assert site.last_of(UNKNOWN.burst, "/api/me", forwarded(HERS)) == 401
    assert site.ask("/api/me", forwarded(OTHER)).status_code == 429


def asked_by(address: str) -> Request:
    return Request({"type": "http", "headers": [], "client": (address, 1)})


def test_a_network_of_one_customer_is_one_asker(clock: list[float]) -> None:
    limits = Limits()
    for number in range(int(UNKNOWN.burst)):
        limits.check(asked_by(f"2001:db8::{number:x}"), None, costly=False)
    with pytest.raises(HTTPException):
        limits.check(asked_by("2001:db8::ffff"), None, costly=False)
    limits.check(asked_by("2001:db8:0:1::1"), None, costly=False)


def test_an_account_and_a_token_of_the_same_name_are_two(clock: list[float]) -> None:
    limits = Limits()
    for _ in range(int(KNOWN.burst)):
        limits.check(asked_by(HERS), Who("ada", "admin", ""), costly=False)
    limits.check(asked_by(HERS), Who("ada", "admin", "csrf"), costly=False)


def test_who_asks_from_very_many_addresses_fills_no_memory(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUCKETS", 10)
    limits = Limits()
    for number in range(100):
        limits.check(asked_by(f"10.0.1.{number}"), None, costly=False)
    assert len(limits._buckets) == 10
