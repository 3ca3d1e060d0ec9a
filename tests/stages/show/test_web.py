"""The API of the page: over real HTTP, on real photos and databases."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import httpx
import msgspec
import numpy as np
import pytest
import websockets
from websockets.sync.client import connect

from pipeline.briefing import environment
from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.people import Access
from stages.gallery.store import Store
from stages.show.web import streams
from stages.show.web.app import ENDPOINTS
from stages.show.web.show import Show, ShowConfig, announced
from tests.command import ROOT
from tests.fakes import MemoryFrames
from tests.stages.gate.scene import embedding
from tests.stages.show.site import EILEEN, PASSWORD, PHOTO, Site, turning, wait_for


def test_nothing_is_to_be_had_without_logging_in(site: Site) -> None:
    for one in ENDPOINTS:
        path = re.sub(r"{(name|camera|door)[^}]*}", "x", one.path).replace("{seq}", "1")
        if one.role is not None:
            assert site.ask(one.method, path, content=b"").status_code == 401, path
    assert site.client.get("/").status_code == 200
    with pytest.raises(websockets.exceptions.InvalidStatus):
        connect(site.address.replace("http", "ws") + "api/push")


def test_the_headers_that_keep_a_browser_safe(site: Site) -> None:
    headers = site.client.get("/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    site.enter()
    login = site.client.post("/api/login", json={"name": "ada", "password": PASSWORD}).headers["set-cookie"].lower()
    assert "httponly" in login
    assert "samesite=strict" in login


def test_what_changes_something_has_to_come_from_the_page(site: Site) -> None:
    site.enter()
    assert site.ask("DELETE", "/api/tokens/x", headers={"X-CSRF-Token": "guess"}).status_code == 403
    assert site.ask("DELETE", "/api/tokens/x", headers={"Origin": "http://evil.example"}).status_code == 403
    assert site.ask("DELETE", "/api/tokens/x").status_code == 400  # let through: there is no such token
    cookie = f"framewire={site.client.cookies['framewire']}"
    address = site.address.replace("http", "ws") + "api/push"
    with pytest.raises(websockets.exceptions.InvalidStatus):
        connect(address, additional_headers={"Cookie": cookie, "Origin": "http://evil.example"})
    with connect(address, additional_headers={"Cookie": cookie}) as socket:
        assert set(msgspec.json.decode(socket.recv())) == {"doors", "health", "events", "faces", "cameras"}


def test_roles_are_kept(site: Site) -> None:
    site.enter()
    admin, csrf = dict(site.client.cookies), site.csrf
    for role, people in (("viewer", 403), ("operator", 200)):
        site.client.cookies.clear()
        site.client.cookies.update(admin)
        site.csrf = csrf
        site.become(role)
        assert site.ask("GET", "/api/events").status_code == 200
        assert site.ask("GET", "/api/people").status_code == people
        assert site.ask("POST", "/api/events/1/wrong", content=b"").status_code == (403 if role == "viewer" else 409)
        for method, path in (
            ("GET", "accounts"),
            ("GET", "tokens"),
            ("DELETE", "people/x"),
            ("GET", "people/x/export"),
        ):
            assert site.ask(method, f"/api/{path}").status_code == 403


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


def test_people_are_enrolled_ruled_and_forgotten(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    done = site.ask("POST", "/api/people", data={"name": EILEEN}, files=photo)
    assert done.json() == {"name": EILEEN, "photos": 1}
    twin = site.ask("POST", "/api/people", data={"name": "Twin"}, files=photo)
    assert (twin.status_code, "looks like Eileen Collins" in twin.json()["error"]) == (409, True)
    assert site.ask("GET", f"/api/people/{EILEEN}/portrait").content.startswith(b"\x89PNG")
    rules = {"groups": ["staff"], "windows": ["Mon-Fri 07:00-19:00"], "watch": True}
    assert site.ask("PUT", f"/api/people/{EILEEN}/access", json=rules).status_code == 200
    (person,) = site.ask("GET", "/api/people").json()
    assert (person["access"]["groups"], person["access"]["watch"]) == (["staff"], True)
    bad = site.ask("PUT", f"/api/people/{EILEEN}/access", json={"windows": ["always"]})
    assert (bad.status_code, "weekly time window" in bad.json()["error"]) == (400, True)
    receipt = site.ask("DELETE", f"/api/people/{EILEEN}").json()["receipt"]
    assert "destroyed: the data key" in " ".join(receipt)
    assert Store(home(), keys()).people() == []


def test_a_webcam_is_guided_from_one_picture_to_the_next(site: Site) -> None:
    site.enter()
    shot = ("picture", ("shot.jpg", PHOTO.read_bytes()))
    said = [site.ask("POST", "/api/look", files=[shot] * count) for count in (1, 2, 3)]
    assert [one.json()["advice"] for one in said] == ["", "turn a little to your left", "turn a little to your right"]
    for count in (0, 4):
        assert site.ask("POST", "/api/look", files=[shot] * count or None).status_code == 400


def test_a_webcams_pictures_are_three_poses_of_one_person(site: Site, shared: Path) -> None:
    """As the command line has it (tests/stages/gallery/test_camera.py)."""
    site.enter()
    ahead, left, right = turning(shared)

    def ask(path: str, *shots: bytes) -> httpx.Response:
        data = {"name": "Ada"} if path == "/api/people" else {}
        return site.ask("POST", path, data=data, files=[("picture", ("shot.jpg", shot)) for shot in shots])

    other = "this is not the person of the first picture: only the one to enroll"
    assert ask("/api/look", PHOTO.read_bytes(), left).json()["advice"] == other
    for count in (1, 2, 3):
        assert ask("/api/look", *(ahead, left, right)[:count]).json()["advice"] == ""
    for shots, sentence in (
        ((PHOTO.read_bytes(), left, right), f"picture 2 of the webcam: {other}"),
        ((ahead, ahead, right), "picture 2 of the webcam: turn a little to your left"),
        ((ahead, left), "2 of 3 pictures of the webcam are taken: take the others, too"),
    ):
        assert ask("/api/people", *shots).json()["error"] == sentence
    assert ask("/api/people", ahead, left, right, right).status_code == 400
    assert Store(home(), keys()).people() == []
    assert ask("/api/people", ahead, left, right).json() == {"name": "Ada", "photos": 3}


def test_badges_are_set_with_the_rules_and_stay_where_they_are_not_named(site: Site) -> None:
    site.enter()
    store = Store(home(), keys())
    store.add("Ada", "m", embedding(1)[None])
    for rules, badges in (
        ({"badges": ["4711", "4712"]}, (store.badge("4711"), store.badge("4712"))),
        ({"watch": True}, (store.badge("4711"), store.badge("4712"))),
        ({"badges": []}, ()),
    ):
        assert site.ask("PUT", "/api/people/Ada/access", json=rules).status_code == 200
        (ada,) = store.people()
        assert ada.access.badges == badges
        assert site.ask("GET", "/api/people").json()[0]["access"]["badges"] == len(badges)


def test_somebody_gets_another_name_that_nobody_has(site: Site) -> None:
    site.enter()
    store = Store(home(), keys())
    for name in ("Ada", "Bob"):
        store.add(name, "m", embedding(1)[None], access=Access(groups=("staff",)))
    taken = site.ask("PUT", "/api/people/Ada/name", json={"name": "Bob"})
    assert (taken.status_code, "enrolled already" in taken.json()["error"]) == (409, True)
    assert site.ask("PUT", "/api/people/Ada/name", json={"name": " "}).status_code == 400
    assert site.ask("PUT", "/api/people/Ada/name", json={"name": "Ada Lovelace"}).json() == {"name": "Ada Lovelace"}
    assert [(one.name, one.access.groups) for one in store.people()] == [
        ("Ada Lovelace", ("staff",)),
        ("Bob", ("staff",)),
    ]


def test_one_persons_data_go_out_and_come_in(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    site.ask("POST", "/api/people", data={"name": EILEEN}, files=photo)
    site.ask("PUT", f"/api/people/{EILEEN}/access", json={"groups": ["staff"], "badges": ["4711"]})
    (before,) = Store(home(), keys()).people()
    site.decide("opened", person=before.id.hex(), name=EILEEN)
    what = site.ask("GET", f"/api/people/{EILEEN}/export").json()
    assert [len(what[part]) for part in ("photos", "embeddings", "decisions")] == [1, 1, 1]
    assert site.ask("POST", "/api/people/import", json=what).status_code == 409  # enrolled already
    site.ask("DELETE", f"/api/people/{EILEEN}")
    assert site.ask("GET", f"/api/people/{EILEEN}/export").status_code == 409
    assert site.ask("POST", "/api/people/import", json=what | {"photos": [{}]}).status_code == 400
    assert site.ask("POST", "/api/people/import", json=what).json() == {"name": EILEEN, "photos": 1}
    (after,) = Store(home(), keys()).people()
    assert (after.name, after.access) == (EILEEN, before.access)
    assert after.templates[0].embedding @ before.templates[0].embedding > 0.97


def test_who_was_taken_for_another_matches_less(site: Site, shared: Path) -> None:
    site.enter()
    photos = shared / "photos" / "face_recognition_examples"
    files = {"photo": ("b.jpg", (photos / "biden.jpg").read_bytes())}
    site.ask("POST", "/api/people", data={"name": "Biden"}, files=files)
    (biden,) = Store(home(), keys()).people()
    lookalike = (photos / "train" / "biden" / "biden2.jpg").read_bytes()  # as if it were somebody else
    seq = site.decide("opened", lookalike, person=biden.id.hex(), name="Biden")
    found = site.ask("POST", f"/api/events/{seq}/wrong", content=b"").json()
    assert found["name"] == "Biden"
    assert found["after"] < found["before"] - 0.1
    assert len(Store(home(), keys()).people()[0].negatives) == 1
    refused = site.ask("POST", f"/api/events/{seq + 1}/wrong", content=b"")
    assert (refused.status_code, "is no decision" in refused.json()["error"]) == (409, True)


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


@pytest.mark.parametrize(
    "rules",
    [
        {"window": ["Mon-Fri 07:00-19:00"]},
        {"valid_until": "2030-01-01T00:00:00"},
        {"windows": "Mon"},
        {"windows": ["x"]},
    ],
)
def test_rules_that_are_none_change_nothing(site: Site, rules: dict[str, Any]) -> None:
    site.enter()
    before = Access(windows=("Mon-Fri 07:00-19:00",))
    Store(home(), keys()).add("Ada", "m", embedding(1)[None], access=before)
    assert site.ask("PUT", "/api/people/Ada/access", json=rules).status_code == 400
    (ada,) = Store(home(), keys()).people()
    assert ada.access == before


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


def test_a_large_photo_is_never_on_the_disk_in_plain(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.enter()
    rolled: list[int] = []
    roll = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda file: (rolled.append(1), roll(file)))
    photo = PHOTO.read_bytes() + bytes(3 << 20)
    done = site.ask("POST", "/api/people", data={"name": EILEEN}, files={"photo": ("p.jpg", photo)})
    assert done.status_code == 200, done.text
    assert rolled == []


def test_a_name_that_looks_like_a_path_is_a_name(site: Site) -> None:
    site.enter()
    name = "../people/R&D?"
    photo = {"photo": ("a.jpg", PHOTO.read_bytes())}
    assert site.ask("POST", "/api/people", data={"name": name, "watch": "true"}, files=photo).status_code == 200
    path = "/api/people/" + quote(name, safe="")
    assert site.ask("GET", f"{path}/portrait").content.startswith(b"\x89PNG")
    assert site.ask("GET", "/api/people").json()[0]["access"]["watch"]
    assert site.ask("DELETE", path).status_code == 200
    assert Store(home(), keys()).people() == []


def test_two_who_enrol_at_once_get_each_their_own_face(site: Site, shared: Path) -> None:
    site.enter()
    examples = shared / "photos" / "face_recognition_examples"
    paths = {"Obama": examples / "obama.jpg", "Biden": examples / "biden.jpg", EILEEN: PHOTO}

    def enrol(name: str) -> int:
        with httpx.Client(base_url=site.address, cookies=dict(site.client.cookies), timeout=60) as client:
            files = {"photo": ("a.jpg", paths[name].read_bytes())}
            done = client.post("/api/people", data={"name": name}, files=files, headers={"X-CSRF-Token": site.csrf})
            return done.status_code

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(enrol, paths)) == {200}
    alone = Enrol(EnrolConfig())
    for person in Store(home(), keys()).people():
        assert person.templates[0].embedding @ alone([paths[person.name]])[0][0] > 0.999


def test_who_is_logged_out_is_told_nothing_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.1)
    site.enter()
    cookie = f"framewire={site.client.cookies['framewire']}"
    with connect(site.address.replace("http", "ws") + "api/push", additional_headers={"Cookie": cookie}) as socket:
        socket.recv()
        assert site.ask("POST", "/api/logout").status_code == 200
        ends = time.monotonic() + 10
        with suppress(websockets.exceptions.ConnectionClosed):
            while time.monotonic() < ends:
                socket.recv(timeout=10)
        assert time.monotonic() < ends, "it is told on and on"


def pictures() -> dict[str, bytes]:
    """Files that are no photo of a face."""
    whole = PHOTO.read_bytes()
    animation = cv2.Animation()
    animation.frames = [np.full((64, 64, 3), shade, np.uint8) for shade in (10, 200)]
    animation.durations = np.array([100, 100])
    _, moving = cv2.imencodeanimation(".webp", animation)
    return {
        "is empty": b"",
        "is no photo": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "is no photo, or": b"\x89PNG\r\n\x1a\n" + whole[:100],
        "moves": moving.tobytes(),
        "shows no face": cv2.imencode(".png", np.full((300, 300, 3), 128, np.uint8))[1].tobytes(),
    }


def test_what_is_uploaded_and_no_photo_is_said_to_be_and_leaves_nothing(site: Site) -> None:
    site.enter()
    for sentence, content in pictures().items():
        done = site.ask("POST", "/api/people", data={"name": "../x'; DROP"}, files={"photo": ("../../x", content)})
        assert done.status_code == 409, sentence
        assert sentence in done.json()["error"]
    huge = site.ask("POST", "/api/people", data={"name": "x"}, files={"photo": ("x", bytes(13 << 20))})
    assert (huge.status_code, "12 MB" in huge.json()["error"]) == (413, True)
    assert site.ask("POST", "/api/people", data={"name": "x"}).status_code == 400
    assert Store(home(), keys()).people() == []


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


BOMB = """
import struct, zlib, sys
import cv2, numpy as np
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
from stages.gallery.enrol import decoded
from pipeline.errors import Failed
try: decoded(png, "it")
except Failed as error: print(error)
"""


def test_a_small_file_that_would_be_a_huge_picture_is_not_unpacked() -> None:
    """In a process of the graph, which gets the limit with its environment."""
    command = [sys.executable, "-c", BOMB.replace("\\\\", "\\")]
    limits = environment(1)
    done = subprocess.run(command, env=limits, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "cannot be decoded" in done.stdout, done.stderr


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
    cookie = {"Cookie": f"framewire={site.client.cookies['framewire']}"}
    for bad, headers in (("cam0", {}), ("cam0", cookie | {"Origin": "http://evil.example"})):
        with pytest.raises(websockets.exceptions.InvalidStatus):
            connect(address + bad, additional_headers=headers)
    nothing = connect(address + "nothing", additional_headers=cookie)
    with nothing as socket, pytest.raises(websockets.exceptions.ConnectionClosed):
        socket.recv(timeout=10)
    with connect(address + "cam0", additional_headers=cookie) as socket:
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
