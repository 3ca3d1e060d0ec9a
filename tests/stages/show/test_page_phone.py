"""The page on a phone, with the longest names that there may be."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from pipeline.home import home, keys
from stages.act import doors
from stages.events.records import Command
from stages.gallery.people import NAME_LENGTH, Access
from stages.gallery.store import Store
from stages.show.web.users import Users
from tests.stages.gate.scene import embedding
from tests.stages.show.site import PASSWORD, Site, begin, visit

WIDTH = 360
LONG = "W" * NAME_LENGTH  # the widest letter, and nowhere to break


@pytest.fixture
def phone(site: Site, page: Page) -> Page:
    """Logged in on a phone, at a gate where everybody has a long name."""
    store, users = Store(home(), keys()), Users(home())
    store.add(LONG, "m", embedding(1)[None])
    store.set_access(LONG, Access(groups=(LONG,), watch=True))
    site.decide("opened", person="0a" * 16, name=LONG, why=f"{LONG} may come in")
    doors.opened(Command("a", "front", 1, 3600, 0))
    site.frame(LONG, LONG)
    page.set_viewport_size({"width": WIDTH, "height": 780})
    begin(page, site)
    users.add(LONG[:60], "viewer", PASSWORD)
    users.new_token(LONG[:60], "reader")
    return page


def test_in_a_browser_on_a_phone_long_names_break_nothing(phone: Page) -> None:
    for view in ("Live", "Events", "People", "Health", "Account"):
        visit(phone, view)
        tags = phone.get_by_role("main").locator(".tag")
        if view in ("Live", "Events", "People", "Account"):
            expect(tags.first).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= WIDTH, view
        for tag in tags.all():
            box = tag.bounding_box()
            assert box
            assert 0 <= box["x"] <= box["x"] + box["width"] <= WIDTH, view
    visit(phone, "Events")
    phone.get_by_role("main").get_by_role("listitem").get_by_role("button").first.click()
    expect(phone.get_by_text("Row of the log")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= WIDTH
    visit(phone, "People")
    phone.get_by_role("button", name="Forget").click()
    dialog = phone.get_by_role("dialog")
    assert dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    dialog.get_by_role("button", name="for good").click()
    expect(dialog.get_by_role("button", name="Close")).to_be_focused(timeout=20_000)
    assert dialog.evaluate("dialog => dialog.scrollHeight > dialog.clientHeight")
    expect(dialog.get_by_role("heading", name="Receipt")).to_be_in_viewport()


def test_in_a_browser_on_a_phone_the_views_are_large_enough_for_a_thumb(phone: Page) -> None:
    for link in phone.get_by_role("navigation").get_by_role("link").all():
        box = link.bounding_box()
        assert box
        assert box["height"] >= 44


# The contrast of a text and the ground behind it, as WCAG 2 has it, where both are opaque.
CONTRAST = """tag => {
  const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const { color, backgroundColor } = getComputedStyle(tag);
  const [low, high] = [light(color), light(backgroundColor)].sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_what_came_of_a_decision_can_be_read(
    site: Site, page: Page, scheme: Literal["light", "dark"]
) -> None:
    for outcome in ("opened", "refused", "held", "alarm"):
        site.decide(outcome, person="0a" * 16, name="Ada")
    page.emulate_media(color_scheme=scheme)
    begin(page, site)
    visit(page, "Events")
    expect(page.locator(".tag")).to_have_count(4)
    for tag in page.locator(".tag").all():
        assert tag.evaluate(CONTRAST) >= 4.5, tag.text_content()
