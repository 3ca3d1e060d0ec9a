"""The page in a real browser, on real photos and databases."""

from __future__ import annotations

import time

from playwright.sync_api import Page, expect

from tests.stages.show.site import EILEEN, PASSWORD, PHOTO, Site, begin


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
