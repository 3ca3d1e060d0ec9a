"""People over the API: enrolled, ruled, renamed, taken for another, exported, forgotten."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import httpx
import numpy as np
import pytest

from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.people import Access
from stages.gallery.store import Store
from tests.stages.clips import vast_png
from tests.stages.gate.scene import embedding
from tests.stages.show.site import EILEEN, PHOTO, Site, turning


def test_people_are_enrolled_ruled_and_forgotten(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    done = site.ask("POST", "/api/people", data={"name": EILEEN}, files=photo)
    assert done.json() == {"name": EILEEN, "photos": 1, "warning": ""}
    twin = site.ask("POST", "/api/people", data={"name": "Twin"}, files=photo)
    assert (twin.status_code, "looks like Eileen Collins" in twin.json()["error"]) == (409, True)
    assert site.ask("GET", f"/api/people/{EILEEN}/portrait").content.startswith(b"\x89PNG")
    rules = {"groups": ["staff"], "windows": ["Mon-Fri 07:00-19:00"], "watch": True}
    assert site.ask("PUT", f"/api/people/{EILEEN}/access", json=rules).status_code == 200
    (person,) = site.ask("GET", "/api/people").json()
    assert (person["access"]["groups"], person["access"]["watch"]) == (["staff"], True)
    bad = site.ask("PUT", f"/api/people/{EILEEN}/access", json={"windows": ["always"]})
    assert (bad.status_code, "weekly time window" in bad.json()["error"]) == (400, True)
    for moment in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"):
        bad = site.ask("PUT", f"/api/people/{EILEEN}/access", json={"valid_until": moment})
        assert (bad.status_code, "no date for a rule" in bad.json()["error"]) == (400, True)
    receipt = site.ask("DELETE", f"/api/people/{EILEEN}").json()["receipt"]
    assert "destroyed: the data key" in " ".join(receipt)
    assert Store(home(), keys()).people() == []


def test_who_is_put_on_the_watch_list_with_another_photo_keeps_their_rules(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    site.ask("POST", "/api/people", data={"name": EILEEN}, files=photo)
    rules = {"groups": ["staff"], "valid_until": "2030-01-01T00:00:00Z", "badges": ["4711"]}
    site.ask("PUT", f"/api/people/{EILEEN}/access", json=rules)
    (before,) = site.ask("GET", "/api/people").json()
    assert site.ask("POST", "/api/people", data={"name": EILEEN, "watch": "true"}, files=photo).status_code == 200
    (person,) = site.ask("GET", "/api/people").json()
    assert person["access"] == before["access"] | {"watch": True}


def test_who_an_operator_says_is_out_is(site: Site) -> None:
    site.enter()
    Store(home(), keys()).add("Ada", "m", embedding(1)[None])
    assert site.ask("POST", "/api/people/Ada/out").json() == {"name": "Ada"}
    (ada,) = Store(home(), keys()).people()
    ledger = Ledger(home(), keys())
    assert ledger.all("SELECT person, inside FROM presence") == [(ada.id, 0)]
    ledger.close()
    nobody = site.ask("POST", "/api/people/Eve/out")
    assert (nobody.status_code, "nobody is enrolled as 'Eve'" in nobody.json()["error"]) == (409, True)


def test_a_name_that_is_no_utf_8_is_refused_and_no_other_name(site: Site) -> None:
    site.enter()
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n' + PHOTO.read_bytes()
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data; boundary=x; charset=latin-1"):
        for name, code in ((b"Zo\xeb", 400), ("Zoë".encode(), 200)):
            field = b'\r\n--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + name + b"\r\n--x--\r\n"
            answer = site.ask("POST", "/api/people", content=head + field, headers={"Content-Type": kind})
            assert answer.status_code == code, answer.text
    assert [person.name for person in Store(home(), keys()).people()] == ["Zoë"]


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
    assert ask("/api/people", ahead, left, right).json() == {"name": "Ada", "photos": 3, "warning": ""}


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
    for name, rules in (("Bob", {"watch": True}), ("Eve", {"windows": ["always"]})):
        both = site.ask("PUT", "/api/people/Ada Lovelace/name", json={"name": name, "access": rules})
        assert both.status_code in (400, 409)
    ada, _ = store.people()
    assert (ada.name, ada.access) == ("Ada Lovelace", Access(groups=("staff",)))
    site.ask("PUT", "/api/people/Ada Lovelace/name", json={"name": "Ada", "access": {"watch": True}})
    ada, _ = store.people()
    assert (ada.name, ada.access) == ("Ada", Access(watch=True))


@pytest.mark.parametrize("name", [".", "..", " .. "])
def test_a_name_that_a_browser_takes_out_of_a_path_is_none(site: Site, name: str) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    refused = site.ask("POST", "/api/people", data={"name": name}, files=photo)
    assert (refused.status_code, "is no name" in refused.json()["error"]) == (400, True)


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


@pytest.mark.parametrize(
    "rules",
    [
        {"window": ["Mon-Fri 07:00-19:00"]},
        {"valid_until": "2030-01-01T00:00:00"},
        {"windows": "Mon"},
        {"windows": ["x"]},
        {"badges": ["4711", " "]},
        {"valid_from": "2030-01-01T00:00:00Z", "valid_until": "2030-01-01T00:00:00+01:00"},
    ],
)
def test_rules_that_are_none_change_nothing(site: Site, rules: dict[str, Any]) -> None:
    site.enter()
    before = Access(windows=("Mon-Fri 07:00-19:00",))
    Store(home(), keys()).add("Ada", "m", embedding(1)[None], access=before)
    assert site.ask("PUT", "/api/people/Ada/access", json=rules).status_code == 400
    (ada,) = Store(home(), keys()).people()
    assert ada.access == before


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
        "a damaged one": whole[: len(whole) // 2],
        "a damaged one: save it again": whole[:-10],  # a decoder would make up the rest
        "moves": moving.tobytes(),
        "has 20000 x 20000 pixels": vast_png(),
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


def test_photos_of_two_people_under_one_name_are_asked_about(site: Site, shared: Path) -> None:
    site.enter()
    obama = shared / "photos" / "face_recognition_examples" / "obama.jpg"
    both = [("photo", ("a.jpg", photo.read_bytes())) for photo in (PHOTO, obama)]
    done = site.ask("POST", "/api/people", data={"name": EILEEN}, files=both)
    assert (done.status_code, "photo 2 does not look like photo 1" in done.json()["error"]) == (409, True)
    done = site.ask("POST", "/api/people", data={"name": EILEEN, "force": "true"}, files=both)
    assert done.json() == {"name": EILEEN, "photos": 2, "warning": ""}
