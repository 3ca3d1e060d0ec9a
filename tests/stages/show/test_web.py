"""The API of the page: over real HTTP, on real photos and databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn
import websockets
from websockets.sync.client import ClientConnection, connect

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.store import Store
from stages.show.web import data, streams
from stages.show.web.data import Data
from stages.show.web.show import Show, ShowConfig, announced
from tests.fakes import MemoryFrames
from tests.stages.gate.scene import embedding
from tests.stages.show.site import PASSWORD, Site, wait_for


def test_what_changes_something_has_to_come_from_the_page(site: Site) -> None:
    site.enter()
    assert site.ask("DELETE", "/api/tokens/x", headers={"X-CSRF-Token": "guess"}).status_code == 403
    assert site.ask("DELETE", "/api/tokens/x", headers={"Origin": "http://evil.example"}).status_code == 403
    assert site.ask("DELETE", "/api/tokens/x").status_code == 400  # let through: there is no such token
    address = site.address.replace("http", "ws") + "api/push"
    with pytest.raises(websockets.exceptions.InvalidStatus):
        connect(address, additional_headers=site.cookie() | {"Origin": "http://evil.example"})
    with connect(address, additional_headers=site.cookie()) as socket:
        told = set(msgspec.json.decode(socket.recv()))
        assert told == {"now_ns", "doors", "health", "events", "faces", "cameras", "gallery"}


def test_a_token_is_enough_for_a_program(site: Site) -> None:
    site.enter()
    token = site.ask("POST", "/api/tokens", json={"name": "ci", "role": "viewer"}).json()["token"]
    bare = httpx.Client(base_url=site.address, headers={"Authorization": f"Bearer {token}"})
    assert bare.get("/api/events").json() == []
    assert bare.get("/api/people").status_code == 403
    (listed,) = site.ask("GET", "/api/tokens").json()
    assert (listed["name"], listed["role"], listed["made_at"][:2]) == ("ci", "viewer", "20")
    change = {"old": PASSWORD, "new": "another horse entirely"}
    assert "has no password" in bare.put("/api/me/password", json=change).json()["error"]
    site.ask("DELETE", "/api/tokens/ci")
    assert bare.get("/api/events").status_code == 401
    bare.close()


def test_a_password_is_changed_and_the_other_sessions_end(site: Site) -> None:
    site.enter()
    change = {"old": PASSWORD, "new": "another horse entirely"}
    with httpx.Client(base_url=site.address) as elsewhere:
        elsewhere.post("/api/login", json={"name": "ada", "password": PASSWORD})
        assert site.ask("PUT", "/api/me/password", json=change | {"old": "guess"}).status_code == 403
        done = site.ask("PUT", "/api/me/password", json=change)
        site.csrf = done.json()["csrf"]
        assert site.ask("GET", "/api/accounts").json() == [{"name": "ada", "role": "admin"}]
        assert site.ask("DELETE", "/api/tokens/x").status_code == 400  # let through
        assert elsewhere.get("/api/me").status_code == 401


def test_an_account_and_a_token_with_a_slash_are_removed(site: Site) -> None:
    site.enter()
    site.ask("POST", "/api/accounts", json={"name": "a/b", "role": "viewer", "password": PASSWORD})
    site.ask("POST", "/api/tokens", json={"name": "a/b", "role": "viewer"})
    for kind in ("accounts", "tokens"):
        assert site.ask("DELETE", f"/api/{kind}/a%2Fb").status_code == 200


def test_who_comes_to_the_page_before_its_server_has_started_waits(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, run = threading.Event(), uvicorn.Server.run
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, given: starts.wait(20) and run(server, given))
    show = Show(ShowConfig(port=0), MemoryFrames())
    found = announced()
    assert found
    with ThreadPoolExecutor(1) as threads:
        came = threads.submit(httpx.get, found.address, timeout=20)
        assert not wait([came], 0.1).done
        starts.set()
        assert came.result().status_code == 200
    show.close()


def test_only_the_proxy_that_was_named_is_answered(places: Path) -> None:
    show = Show(ShowConfig(port=0, trusted_proxies=("127.0.0.1",)), MemoryFrames())
    found = announced()
    assert found
    address = found.address
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    assert httpx.get(address, headers=forwarded).status_code == 200
    assert "come through the proxy" in httpx.get(address).json()["error"]
    with pytest.raises(websockets.exceptions.InvalidStatus):
        connect(address.replace("http", "ws") + "api/push")
    show.close()
    show = Show(ShowConfig(port=0, trusted_proxies=("192.0.2.1",)), MemoryFrames())
    found = announced()
    assert found
    assert httpx.get(found.address, headers=forwarded).status_code == 403, "the word of whoever is no proxy of ours"
    show.close()


def test_who_is_logged_out_is_told_nothing_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.1)
    site.enter()
    with connect(site.address.replace("http", "ws") + "api/push", additional_headers=site.cookie()) as socket:
        socket.recv()
        assert site.ask("POST", "/api/logout").status_code == 200
        ends = time.monotonic() + 10
        with suppress(websockets.exceptions.ConnectionClosed):
            while time.monotonic() < ends:
                socket.recv(timeout=10)
        assert time.monotonic() < ends, "it is told on and on"


def test_events_come_with_their_snapshots(site: Site) -> None:
    site.enter()
    seqs = [site.decide(), site.decide("opened", person="0a" * 16, name="Ada")]
    found = site.ask("GET", "/api/events").json()
    assert [event["seq"] for event in found] == seqs[::-1]
    assert found[0]["decision"]["name"] == "Ada"
    assert site.ask("GET", f"/api/events/{seqs[0]}/snapshot").content.startswith(b"\xff\xd8")
    assert site.ask("GET", "/api/events/99/snapshot").status_code == 404
    assert site.ask("GET", f"/api/events/{seqs[1]}/clip").status_code == 404
    site.film(seqs[1])
    answer = site.ask("GET", f"/api/events/{seqs[1]}/clip")
    assert (answer.headers["content-type"], answer.content[4:8]) == ("video/mp4", b"ftyp")
    assert [event["seq"] for event in site.ask("GET", f"/api/events?before={seqs[1]}").json()] == seqs[:1]
    assert site.ask("GET", "/api/events?before=x").status_code == 400
    assert site.ask("GET", "/api/calibration").json() is None


def test_a_reader_shows_a_badge_over_http(site: Site) -> None:
    site.enter()
    store = Store(home(), keys())
    store.add("Ada", "m", embedding(1)[None])
    token = site.ask("POST", "/api/tokens", json={"name": "reader", "role": "operator"}).json()["token"]
    with httpx.Client(base_url=site.address, headers={"Authorization": f"Bearer {token}"}) as reader:
        assert reader.post("/api/doors/front/badge", json={"number": "4711"}).status_code == 200
        assert reader.post("/api/doors/back/badge", json={"number": "4711"}).status_code == 400
        assert reader.post("/api/doors/front/badge", json={"number": ""}).status_code == 400
    ledger = Ledger(home(), keys())
    assert ledger.claimed("front", time.clock_gettime_ns(time.CLOCK_BOOTTIME)) == store.badge("4711")
    ledger.close()


def test_pictures_are_drawn_only_while_somebody_watches(site: Site) -> None:
    site.enter()
    site.frame()
    assert site.ask("GET", "/api/state").json()["cameras"] == ["cam0"]
    assert site.show._live.picture("cam0") == (1, b"")
    with site.client.stream("GET", "/live/cam0") as answer:
        wait_for(lambda: site.show._live.is_watched("cam0"))
        site.frame("Ada")
        content = b""
        for part in answer.iter_bytes():
            content += part
            if b"\xff\xd9" in content:
                break
    assert b"Content-Type: image/jpeg" in content
    assert site.ask("GET", "/live/nothing").status_code == 404


def test_a_socket_gets_no_picture_ahead_of_its_answers(site: Site) -> None:
    site.enter()
    site.frame()
    address = site.address.replace("http", "ws") + "live/"
    for bad, headers in (("cam0", {}), ("cam0", site.cookie() | {"Origin": "http://evil.example"})):
        with pytest.raises(websockets.exceptions.InvalidStatus):
            connect(address + bad, additional_headers=headers)
    nothing = connect(address + "nothing", additional_headers=site.cookie())
    with nothing as socket, pytest.raises(websockets.exceptions.ConnectionClosed):
        socket.recv(timeout=10)
    with connect(address + "cam0", additional_headers=site.cookie()) as socket:
        wait_for(lambda: site.show._live.is_watched("cam0"))
        for _ in range(streams.AHEAD):
            site.frame("Ada")
            assert bytes(socket.recv(timeout=10)).startswith(b"\xff\xd8")
        for name in ("Grace", "Eileen"):
            site.frame(name)
        socket.send("")
        assert socket.recv(timeout=10) == site.show._live.picture("cam0")[1]  # Grace's was left out
    wait_for(lambda: not site.show._live.is_watched("cam0"))


@pytest.mark.parametrize("config", [{"host": "0.0.0.0"}, {"tls_cert": "x"}])
def test_a_page_for_others_needs_tls(config: dict[str, str]) -> None:
    with pytest.raises(Usage, match="tls"):
        msgspec.convert(config, ShowConfig).check()
    msgspec.convert({"host": "0.0.0.0", "trusted_proxies": ["10.0.0.1"]}, ShowConfig).check()


def test_a_port_that_is_taken_is_said_to_be(site: Site) -> None:
    port = int(site.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(Failed, match=r"set show\.port"):
        Show(ShowConfig(port=port), site.frames)


def test_all_who_listen_share_one_look_and_each_gets_every_event_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    newer = Data.newer
    monkeypatch.setattr(Data, "newer", lambda data, after, limit: (looks.append(after), newer(data, after, limit))[1])
    site.enter()
    address = site.address.replace("http", "ws") + "api/push"
    made: list[int] = []
    with ExitStack() as stack:
        sockets: list[ClientConnection] = []
        for _ in range(10):  # each comes behind an event that it has from the list
            made.append(site.decide())
            sockets.append(stack.enter_context(connect(address, additional_headers=site.cookie())))
            sockets[-1].recv(timeout=10)
        made.append(site.decide())
        for place, socket in enumerate(sockets):
            got: list[int] = []
            while made[-1] not in got:
                got += [event["seq"] for event in msgspec.json.decode(socket.recv(timeout=10))["events"]]
            assert got == made[place + 1 :]
        looks.clear()
        for _ in range(5):
            for socket in sockets:
                socket.recv(timeout=10)
        assert len(looks) <= 10, "each looks for itself"


def test_who_was_away_is_told_what_came_meanwhile(site: Site) -> None:
    site.enter()
    known, *missed = [site.decide() for _ in range(3)]
    address = site.address.replace("http", "ws") + "api/push"
    for asked, told in ((f"?after={known}", missed), ("", []), ("?after=x", []), ("?after=" + "9" * 5000, [])):
        with connect(address + asked, additional_headers=site.cookie()) as socket:
            assert [event["seq"] for event in msgspec.json.decode(socket.recv(timeout=10))["events"]] == told


def test_the_events_are_opened_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(data, "Ledger", lambda *given, **more: (opened.append(1), Ledger(*given, **more))[1])
    site.enter()
    seq = site.decide()
    with ThreadPoolExecutor(4) as threads:
        paths = ["api/events", f"api/events/{seq}/snapshot"] * 4
        cookies = dict(site.client.cookies)
        assert {
            done.status_code for done in threads.map(lambda p: httpx.get(site.address + p, cookies=cookies), paths)
        } == {200}
    assert opened == [1]
