"""The page in a real browser, on real photos and databases."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from pipeline.home import home, keys
from stages.gallery.people import Access
from stages.gallery.store import Store
from stages.show.web import limits
from tests.stages.gate.scene import embedding
from tests.stages.show.site import EILEEN, PASSWORD, PHOTO, Site, begin, turning


def test_in_a_browser_from_the_link_to_the_live_picture(site: Site, page: Page) -> None:
    site.frame()
    begin(page, site)
    expect(page.get_by_text("no liveness: this is a test")).to_be_visible()
    picture = page.get_by_role("img", name="Live picture of cam0")
    expect(picture).to_be_visible()
    ends = time.monotonic() + 15
    while picture.evaluate("canvas => canvas.width") != 640:
        site.frame("Ada", "come in")
        assert time.monotonic() < ends
        page.wait_for_timeout(50)
    expect(page.get_by_text("door · come in")).to_be_visible()
    site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    expect(page.get_by_role("complementary").get_by_text("Ada Lovelace")).to_be_visible()
    page.get_by_role("link", name="Events").click()
    page.get_by_role("button", name="Ada Lovelace").click()
    expect(page.get_by_text("0.710, threshold 0.600")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_in_a_browser_a_clip_that_comes_later_is_played(site: Site, page: Page) -> None:
    begin(page, site)
    page.get_by_role("link", name="Events").click()
    seq = site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    event = page.get_by_role("button", name="Ada Lovelace")
    expect(event).to_be_visible()
    site.film(seq)
    ends = time.monotonic() + 15
    while not page.evaluate("async () => (await import('/app.js')).session.events.some((event) => event.has_clip)"):
        assert time.monotonic() < ends
        page.wait_for_timeout(50)
    event.click()
    page.get_by_role("button", name="Play the clip").click()
    video = page.locator("video")
    expect(video).to_be_visible()
    ends = time.monotonic() + 15
    while video.evaluate("video => video.currentTime") < 0.2:
        assert time.monotonic() < ends
        page.wait_for_timeout(50)
    assert video.evaluate("video => video.videoWidth") == 1280
    assert page.get_by_role("main").get_by_role("listitem").count() == 1, "the row of the clip is no event of its own"


def test_in_a_browser_a_camera_that_comes_later_is_shown_and_the_focus_stays(site: Site, page: Page) -> None:
    site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    begin(page, site)
    expect(page.get_by_text("No camera has given a picture yet.")).to_be_visible()
    decided = page.get_by_role("complementary").get_by_role("button", name="Ada Lovelace")
    decided.focus()
    site.frame("Ada", "come in")
    expect(page.get_by_role("img", name="Live picture of cam0")).to_be_visible()
    expect(page.get_by_text("door · come in").or_(page.get_by_text("front · come in"))).to_be_visible()
    expect(decided).to_be_focused()


def test_in_a_browser_people_are_enrolled_and_forgotten(site: Site, page: Page) -> None:
    begin(page, site)
    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    page.get_by_label("Photos").set_input_files(PHOTO)
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text(EILEEN)).to_be_visible(timeout=20_000)
    page.get_by_role("button", name=f"Rules of {EILEEN}").click()
    page.get_by_label("Weekly windows").fill("Mon-Fri 07:00-19:00")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Mon-Fri 07:00-19:00")).to_be_visible()
    page.get_by_role("button", name=f"Forget {EILEEN}").click()
    page.get_by_role("button", name="for good").click()
    expect(page.get_by_text("destroyed: the data key")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("Nobody is enrolled yet.")).to_be_visible()


def test_in_a_browser_a_wrong_password_is_said_and_a_viewer_sees_no_people(site: Site, page: Page) -> None:
    site.enter()
    site.become("viewer")
    page.goto(site.address)
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("viewer · viewer")).to_be_visible()
    expect(page.get_by_role("link", name="People")).to_be_hidden()
    for view in ("Threshold", "Health"):
        page.get_by_role("link", name=view).click()
        expect(page.get_by_role("heading", name=view, level=1)).to_be_visible()


def log_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_in_a_browser_an_account_is_made_and_logs_in_and_changes_its_password(site: Site, page: Page) -> None:
    begin(page, site)
    page.get_by_role("link", name="Account").click()
    page.get_by_role("button", name="Add an account").click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type("operator")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    accounts = page.get_by_role("region", name="Accounts")
    expect(accounts.get_by_text("bob")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "bob", PASSWORD)
    expect(page.get_by_text("bob · operator")).to_be_visible()
    expect(page.get_by_label("So far")).to_be_visible()  # the view stays
    expect(accounts).to_be_hidden()
    page.get_by_label("So far").fill("guess")
    page.get_by_label("From now on").fill("another horse entirely")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")
    page.get_by_label("So far").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("The password is changed.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "ada", PASSWORD)
    page.get_by_role("button", name="Remove bob").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("dialog").get_by_role("button", name="Remove bob").click()
    expect(accounts.get_by_text("bob")).to_be_hidden()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "bob", "another horse entirely")
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")


def test_in_a_browser_a_token_is_made_and_shown_once_and_revoked(site: Site, page: Page) -> None:
    begin(page, site)
    page.get_by_role("link", name="Account").click()
    page.get_by_role("button", name="Make a token").click()
    page.get_by_label("Name").fill("dashboard")
    page.get_by_role("button", name="Make", exact=True).click()
    token = page.get_by_role("dialog").get_by_role("textbox", name="Token").input_value()
    page.get_by_role("button", name="Close").click()
    tokens = page.get_by_role("region", name="API tokens")
    expect(tokens.get_by_text("dashboard")).to_be_visible()
    assert token not in page.content()
    with httpx.Client(base_url=site.address, headers={"Authorization": f"Bearer {token}"}) as program:
        assert program.get("/api/events").status_code == 200
        page.get_by_role("button", name="Revoke dashboard").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke dashboard").click()
        expect(tokens.get_by_text("No program has a token.")).to_be_visible()
        assert program.get("/api/events").status_code == 401


def test_in_a_browser_not_this_person_lowers_the_match(site: Site, page: Page, shared: Path) -> None:
    begin(page, site)
    photos = shared / "photos" / "face_recognition_examples"
    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill("Biden")
    page.get_by_label("Photos").set_input_files(photos / "biden.jpg")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text("Biden")).to_be_visible(timeout=20_000)
    (biden,) = Store(home(), keys()).people()
    lookalike = (photos / "train" / "biden" / "biden2.jpg").read_bytes()  # as if it were somebody else
    site.decide("opened", lookalike, person=biden.id.hex(), name="Biden")
    page.get_by_role("link", name="Events").click()
    page.get_by_role("button", name="Biden opened").click()
    page.get_by_role("button", name="Not this person").click()
    page.get_by_role("button", name="Cancel").click()
    assert Store(home(), keys()).people()[0].negatives == ()
    page.get_by_role("button", name="Not this person").click()
    page.get_by_role("button", name="It is not Biden").click()
    expect(page.get_by_text("Not Biden: the match of this face went from")).to_be_visible(timeout=20_000)
    assert len(Store(home(), keys()).people()[0].negatives) == 1


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
    page.get_by_role("link", name="People").click()
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


def test_in_a_browser_a_webcam_takes_three_poses(site: Site, page: Page, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "webcam.mjpeg").write_bytes(b"".join(shot for shot in turning(shared) for _ in range(60)))
    begin(page, site)
    page.get_by_role("link", name="People").click()
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
    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill(EILEEN)
    obama = shared / "photos" / "face_recognition_examples" / "obama.jpg"
    page.get_by_label("Photos").set_input_files([PHOTO, obama])
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_text("photo 2 does not look like photo 1")).to_be_visible(timeout=20_000)
    page.get_by_label("Enrol it all the same").check()
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text("2 photos")).to_be_visible(timeout=20_000)


def test_in_a_browser_too_many_streams_are_said_to_be(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_EACH", 0)
    begin(page, site)
    expect(page.get_by_text("streams of this account are open: close a page")).to_be_visible()
