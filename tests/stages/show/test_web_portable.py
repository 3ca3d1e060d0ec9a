"""One person's data out of the API and in again."""

from __future__ import annotations

from pipeline.home import home, keys
from stages.gallery.store import Store
from tests.stages.show.site import EILEEN, PHOTO, Site


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
    assert site.ask("POST", "/api/people/import", json=what).json() == {"name": EILEEN, "photos": 1, "warning": ""}
    (after,) = Store(home(), keys()).people()
    assert (after.name, after.access) == (EILEEN, before.access)
    site.ask("DELETE", f"/api/people/{EILEEN}")
    elsewhere = site.ask("POST", "/api/people/import", json=what | {"gallery": "another"}).json()
    assert elsewhere["warning"].startswith("the badges are of another gallery")
    assert Store(home(), keys()).people()[0].access.badges == ()
    assert after.templates[0].embedding @ before.templates[0].embedding > 0.97


def test_an_import_is_asked_about_as_an_enrolment_is(site: Site) -> None:
    site.enter()
    photo = {"photo": ("a.jpg", PHOTO.read_bytes(), "image/jpeg")}
    site.ask("POST", "/api/people", data={"name": EILEEN}, files=photo)
    what = site.ask("GET", f"/api/people/{EILEEN}/export").json() | {"name": "Twin"}
    doubted = site.ask("POST", "/api/people/import", json=what)
    assert (doubted.status_code, "photo 1 looks like Eileen Collins" in doubted.json()["error"]) == (409, True)
    for badge in ("x" * 5000, "", "A" * 64, "a" * 64 + "\n"):
        bad = site.ask("POST", "/api/people/import", json=what | {"access": {"badges": [badge]}})
        assert (bad.status_code, "64 hexadecimal digits" in bad.json()["error"]) == (409, True)
    assert len(Store(home(), keys()).people()) == 1
    assert site.ask("POST", "/api/people/import?force=true", json=what).status_code == 200
