"""The page in a real browser, for who has no mouse, or no sight."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.stages.gate.scene import Camera
from tests.stages.show.site import Site, begin, visit


def test_to_skip_to_the_content_leaves_the_view(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "Events")
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.url.endswith("#events")
    expect(page.get_by_role("heading", name="Events", level=1)).to_be_visible()


def test_each_view_has_a_heading_and_a_title_and_is_marked(site: Site, page: Page) -> None:
    begin(page, site)
    for view in ("Events", "People", "Threshold", "Health", "Account", "Live"):
        link = page.get_by_role("link", name=view)
        link.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(view)
        expect(page).to_have_title(f"{view} · framewire gate")
        expect(link).to_have_attribute("aria-current", "page")
        assert page.locator("[aria-current]").count() == 1


@pytest.mark.parametrize("hash", ["toString", "main", ""])
def test_what_is_no_view_is_the_live_one(site: Site, page: Page, hash: str) -> None:
    begin(page, site)
    page.goto(f"{site.address}#{hash}")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Live")


def test_a_decision_has_the_focus_when_another_comes(site: Site, page: Page) -> None:
    site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    begin(page, site)
    decided = page.get_by_role("complementary").get_by_role("button", name="Ada Lovelace")
    decided.focus()
    expect(decided).not_to_have_attribute("aria-expanded", "false")
    site.decide("refused")
    expect(page.get_by_role("complementary").get_by_role("button").first).to_contain_text("Somebody unknown")
    expect(decided).to_be_focused()


def test_an_event_that_is_open_stays_so_when_its_clip_comes(site: Site, page: Page) -> None:
    seq = site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    begin(page, site)
    visit(page, "Events")
    event = page.get_by_role("button", name="Ada Lovelace")
    event.press("Enter")
    expect(event).to_have_attribute("aria-expanded", "true")
    site.film(seq)
    expect(page.get_by_role("button", name="Play the clip")).to_be_visible()
    expect(event).to_be_focused()
    event.press("Enter")
    expect(page.get_by_role("button", name="Play the clip")).to_be_hidden()


def test_a_camera_that_appears_does_not_undo_a_choice(site: Site, page: Page) -> None:
    def appear(name: str) -> None:
        site.camera = Camera(name)
        site.frame()

    for name in ("cam1", "cam2"):
        appear(name)
    begin(page, site)
    chosen = page.get_by_role("button", name="cam2")
    expect(page.get_by_role("button", name="cam1")).to_have_attribute("aria-pressed", "true")
    chosen.press("Enter")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(chosen).to_be_focused()
    appear("cam0")
    expect(page.get_by_role("button", name="cam0")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("img", name="Live picture of cam2")).to_be_visible()
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(chosen).to_be_focused()
