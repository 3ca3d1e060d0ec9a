"""How often somebody may ask: over real HTTP, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline.types import Faces, Judged
from stages.show.web import guesses
from stages.show.web import limits as module
from stages.show.web.limits import COSTLY, KNOWN, UNKNOWN, Limits
from stages.show.web.show import Show, ShowConfig, announced
from stages.show.web.users import Role, Users, Who
from tests.fakes import MemoryFrames
from tests.stages.gate.scene import Camera
from tests.stages.show.test_web import wait_for

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

    def listen(self, path: str, headers: dict[str, str]) -> ClientConnection:
        return connect(self.address.replace("http", "ws") + path, additional_headers=headers)

    def refused(self, headers: dict[str, str]) -> str:
        """With which sentence a socket of theirs is closed."""
        with self.listen("api/push", headers) as socket, pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=10)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1013
        return caught.value.rcvd.reason

    def frame(self) -> None:
        """The gate has seen nobody."""
        faces = Camera()()
        self.show(Judged(**{field: getattr(faces, field) for field in Faces.__struct_fields__}, verdicts=()))

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


def test_too_many_streams_are_refused_until_one_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS", 3)
    monkeypatch.setattr(module, "STREAMS_EACH", 2)
    site.frame()
    hers, his = site.token("hers", "viewer"), site.token("his", "viewer")
    with site.listen("api/push", hers), site.client.stream("GET", "/live/cam0", headers=hers) as motion:
        assert motion.status_code == 200
        wait_for(lambda: site.show._live.is_watched("cam0"))
        assert site.ask("/live/cam0", hers).json() == {"error": site.refused(hers)}
        assert "2 streams of this account are open" in site.refused(hers)
        with site.listen("live/cam0", his):
            wait_for(lambda: len(site.show._live._watchers) == 2)
            assert "3 streams are open" in site.refused(his)
    wait_for(lambda: not site.show._live.is_watched("cam0"))
    with site.listen("api/push", hers) as socket:
        assert socket.recv(timeout=10)


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


@pytest.mark.parametrize("site", [("127.0.0.1",)], indirect=True)
def test_a_network_of_one_customer_guesses_at_passwords_as_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "ADDRESS_FAILURES", 2)

    def log_in(address: str, password: str = PASSWORD) -> httpx.Response:
        given = {"name": "ada", "password": password}
        return site.client.post("/api/login", json=given, headers=forwarded(address))

    for number in range(2):
        assert log_in(f"2001:db8::{number}", "not the password").status_code == 403
    assert "too many wrong passwords from 2001:db8::/64" in log_in("2001:db8::ffff").json()["error"]
    assert log_in("2001:db8:0:1::1").status_code == 200


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
