"""Who is enrolled, in a real browser, on real photos and databases."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from pipeline.home import home, keys
from stages.gallery.people import Access
from stages.gallery.store import Store
from tests.stages.gate.scene import calibrated, embedding
from tests.stages.show.site import EILEEN, PHOTO, Site, begin, turning, visit


def test_in_a_browser_people_are_enrolled_and_forgotten(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    page.get_by_label("Photos").set_input_files(PHOTO)
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text(EILEEN)).to_be_visible(timeout=20_000)
    page.get_by_role("button", name=f"Rules of {EILEEN}").click()
    page.get_by_label("Weekly windows").fill("Mon-Fri 07:00-19:00")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Mon-Fri 07:00-19:00")).to_be_visible()
    page.get_by_role("button", name=f"{EILEEN} is out").click()
    page.get_by_role("dialog").get_by_role("button", name=f"{EILEEN} is out").click()
    expect(page.get_by_text("may come in again.")).to_be_visible()
    page.get_by_role("button", name=f"Forget {EILEEN}").click()
    page.get_by_role("button", name="for good").click()
    expect(page.get_by_text("destroyed: the data key")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Nobody is enrolled yet.")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("main")).to_be_focused()  # the button that asked is gone


def test_in_a_browser_rules_have_badges_and_two_dates_that_stay_as_they_are(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    store.add("Ada", "m", embedding(1)[None])

    def saved(**fields: str) -> Access:
        page.get_by_role("button", name="Rules of Ada").click()
        for label, text in fields.items():
            page.get_by_label(label.replace("_", " ")).fill(text)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        return store.people()[0].access

    begin(page, site)
    visit(page, "People")
    first = saved(May_come_in_from="2026-12-01", until="2026-12-31", Numbers_of_badges="4711, 4712")
    assert [str(moment) for moment in (first.valid_from, first.valid_until)] == [
        "2026-12-01 05:00:00+00:00",  # midnight in New York
        "2027-01-01 04:59:59+00:00",
    ]
    assert first.badges == (store.badge("4711"), store.badge("4712"))
    expect(page.get_by_text("from 12/1/2026 · until 12/31/2026 · 2 badges")).to_be_visible()
    assert saved() == first
    page.get_by_role("button", name="Rules of Ada").click()
    page.get_by_label("Take the 2 badges away").check()
    page.get_by_label("Name", exact=True).fill("Ada Lovelace")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("article").get_by_text("Ada Lovelace")).to_be_visible()
    assert store.people()[0].access.badges == ()


def test_in_a_browser_rules_of_which_a_part_is_refused_change_nothing(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    for seed, name in enumerate(("Ada", "Bob"), 1):
        store.add(name, "m", embedding(seed)[None])
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Rules of Ada").click()
    name, until = page.get_by_label("Name", exact=True), page.get_by_label("until")
    refused = page.get_by_role("dialog").get_by_role("alert")
    page.get_by_label("Names from the gate").fill("staff")
    name.fill("Bob")
    page.get_by_role("button", name="Save").click()
    expect(refused).to_contain_text("somebody called 'Bob' is enrolled already")
    name.fill("Ada Lovelace")
    page.get_by_label("May come in from").fill("2026-12-31")
    until.fill("2026-12-01")
    page.get_by_role("button", name="Save").click()
    expect(refused).to_contain_text("give an end that is after the beginning")
    assert [(one.name, one.access) for one in store.people()] == [("Ada", Access()), ("Bob", Access())]
    until.fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("article").filter(has_text="Ada Lovelace")).to_contain_text("staff")


def test_in_a_browser_a_webcam_takes_three_poses(site: Site, page: Page, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "webcam.mjpeg").write_bytes(b"".join(shot for shot in turning(shared) for _ in range(60)))
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill("Ada")
    page.get_by_role("button", name="Use the webcam").click()
    expect(page.get_by_role("img", name="Picture 1")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Start again").click()
    for number in (1, 2, 3):
        expect(page.get_by_role("img", name=f"Picture {number}")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("All three pictures are taken")).to_be_visible()
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_text("Ada is enrolled with 3 photos.")).to_be_visible(timeout=20_000)
    (ada,) = Store(home(), keys()).people()
    faces = [template.embedding for template in ada.templates]
    assert all(0.6 <= faces[0] @ face < 0.98 for face in faces[1:])  # one person, turned otherwise


def test_in_a_browser_photos_that_differ_are_enrolled_all_the_same(site: Site, page: Page, shared: Path) -> None:
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    obama = shared / "photos" / "face_recognition_examples" / "obama.jpg"
    page.get_by_label("Photos").set_input_files([PHOTO, obama])
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_text("photo 2 does not look like photo 1")).to_be_visible(timeout=20_000)
    page.get_by_label("Enrol it all the same").check()
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text("2 photos")).to_be_visible(timeout=20_000)


def test_in_a_browser_who_presses_twice_enrols_once(site: Site, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method) if request.url.endswith("/api/people") else None)
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    page.get_by_label("Photos").set_input_files(PHOTO)
    page.get_by_role("button", name="Enrol", exact=True).dblclick()
    expect(page.get_by_role("article").get_by_text("1 photo")).to_be_visible(timeout=20_000)
    assert asked.count("POST") == 1


def test_in_a_browser_a_photo_that_is_empty_is_said_to_be(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    page.get_by_label("Photos").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b""})
    page.get_by_role("button", name="Enrol", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_have_text("photo 1 is empty (0 bytes): copy it again", timeout=20_000)
    expect(page.get_by_role("button", name="Enrol", exact=True)).to_be_focused()


def test_in_a_browser_that_a_calibration_is_outgrown_is_shown_until_it_is_closed(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "People")

    def enrol() -> None:
        page.get_by_role("button", name="Enrol somebody").click()
        page.get_by_label("Name").fill(EILEEN)
        page.get_by_label("Photos").set_input_files(PHOTO)
        page.get_by_role("button", name="Enrol", exact=True).click()

    enrol()
    expect(page.get_by_text(f"{EILEEN} is enrolled with 1 photo.")).to_be_visible(timeout=20_000)
    calibrated(model=Store(home(), keys()).people()[0].templates[0].model, people=1, photos=1)
    enrol()
    warning = page.get_by_role("dialog").get_by_text("until then a gate opens no real door")
    expect(warning).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Close").click()
    expect(warning).to_be_hidden()


def test_in_a_browser_many_people_are_searched_and_shown_a_part_at_a_time(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    for number in range(60):
        store.add(f"Person {number:02}", "m", embedding(number)[None], access=Access(watch=number == 7))
    begin(page, site)
    visit(page, "People")
    cards = page.get_by_role("article")
    expect(cards).to_have_count(50)
    page.get_by_role("button", name="More").click()
    expect(cards).to_have_count(60)
    expect(page.get_by_role("button", name="More")).to_be_hidden()
    page.get_by_label("Search").fill("son 07")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("Person 07 watch list")
    page.get_by_label("Search").fill("nobody")
    expect(page.get_by_text("Nobody of that name is enrolled.")).to_be_visible()


def test_in_a_browser_what_the_gate_does_not_know_is_said_in_a_sentence(site: Site, page: Page) -> None:
    begin(page, site)
    for method in ("GET", "DELETE"):
        ask = f"import('/session.js').then(({{ api }}) => api('{method}', '/api/x')).catch((error) => error.message)"
        assert page.evaluate(ask) == "this gate does not know what the page asks for: load the page again"


def test_in_a_browser_who_is_in_no_group_of_a_gate_that_has_some_is_said_to_stay_out(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    for seed, (name, groups) in enumerate({"Ada": (), "Bob": ("staff",), "Eve": ("cleaners",)}.items(), 1):
        store.add(name, "m", embedding(seed)[None])
        store.set_access(name, Access(groups=groups))
    begin(page, site)
    visit(page, "People")
    expect(page.get_by_role("article").filter(has_text="Ada")).to_contain_text("at any time")
    site.show._live.groups = ["staff"]
    page.reload()
    for name, said in (("Ada", True), ("Bob", False), ("Eve", True)):
        card = page.get_by_role("article").filter(has_text=name)
        expect(card.get_by_text("in no group of this gate: may not come in")).to_have_count(int(said))
        expect(card.get_by_text("at any time")).to_have_count(0)
