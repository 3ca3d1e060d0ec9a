"""The events in a real browser, on real photos and databases."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from pipeline.home import home, keys
from stages.enrolment.forgetting import forgotten
from stages.events.ledger import Ledger
from stages.events.records import Housekeeping
from stages.gallery.store import Store
from tests.stages.events.conftest import decision
from tests.stages.gate.scene import embedding
from tests.stages.show.site import Site, begin, visit


def test_in_a_browser_a_clip_that_comes_later_is_played(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "Events")
    seq = site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    event = page.get_by_role("button", name="Ada Lovelace")
    expect(event).to_be_visible()
    site.film(seq)
    ends = time.monotonic() + 15
    while not page.evaluate("async () => (await import('/session.js')).session.events.some((event) => event.has_clip)"):
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


def test_in_a_browser_not_this_person_lowers_the_match(site: Site, page: Page, shared: Path) -> None:
    begin(page, site)
    photos = shared / "photos" / "face_recognition_examples"
    visit(page, "People")
    page.get_by_role("button", name="Enrol somebody").click()
    page.get_by_label("Name").fill("Biden")
    page.get_by_label("Photos").set_input_files(photos / "biden.jpg")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("article").get_by_text("Biden")).to_be_visible(timeout=20_000)
    (biden,) = Store(home(), keys()).people()
    lookalike = (photos / "train" / "biden" / "biden2.jpg").read_bytes()  # as if it were somebody else
    site.decide("opened", lookalike, person=biden.id.hex(), name="Biden")
    visit(page, "Events")
    page.get_by_role("button", name="Biden opened").click()
    page.get_by_role("button", name="Not this person").click()
    page.get_by_role("button", name="Cancel").click()
    assert Store(home(), keys()).people()[0].negatives == ()
    page.get_by_role("button", name="Not this person").click()
    page.get_by_role("button", name="It is not Biden").click()
    expect(page.get_by_text("Not Biden: the match of this face went from")).to_be_visible(timeout=20_000)
    assert len(Store(home(), keys()).people()[0].negatives) == 1


def test_in_a_browser_who_is_forgotten_is_so_on_pages_that_are_open(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    store.add("Ada Lovelace", "m", embedding(1)[None])
    (ada,) = store.people()
    site.film(site.decide("opened", person=ada.id.hex(), name="Ada Lovelace"))
    begin(page, site)
    expect(page.get_by_role("button", name="Ada Lovelace")).to_be_visible()
    visit(page, "Events")
    page.get_by_role("button", name="Ada Lovelace").click()
    page.get_by_role("button", name="Play the clip").click()
    expect(page.locator("video")).to_be_visible()
    forgotten(store, "Ada Lovelace")
    expect(page.get_by_role("button", name="Erased opened")).to_be_visible()
    expect(page.get_by_role("main")).not_to_contain_text("Ada Lovelace")
    expect(page.get_by_role("main").locator("img, video")).to_have_count(0)
    assert page.evaluate("async () => JSON.stringify((await import('/session.js')).session)").count("Ada") == 0


def test_in_a_browser_who_is_enrolled_or_forgotten_elsewhere_is_so_on_people(site: Site, page: Page) -> None:
    store = Store(home(), keys())
    store.add("Ada Lovelace", "m", embedding(1)[None])
    begin(page, site)
    visit(page, "People")
    expect(page.get_by_role("article")).to_contain_text("Ada Lovelace")
    store.add("Bob", "m", embedding(2)[None])
    expect(page.get_by_role("article")).to_have_count(2)
    forgotten(store, "Bob")  # no row of the log knows them
    expect(page.get_by_role("article")).to_have_count(1)
    site.decide("opened", person=store.people()[0].id.hex(), name="Ada Lovelace")
    forgotten(store, "Ada Lovelace")
    expect(page.get_by_text("Nobody is enrolled yet.")).to_be_visible()


def test_in_a_browser_people_are_asked_for_again_where_that_failed(site: Site, page: Page) -> None:
    store, asked = Store(home(), keys()), []
    store.add("Ada Lovelace", "model", embedding(1)[None])
    store.add("Bob", "model", embedding(2)[None])
    begin(page, site)
    visit(page, "People")
    expect(page.get_by_role("article")).to_have_count(2)

    def fails_once(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/people", fails_once)
    forgotten(store, "Bob")
    expect(page.get_by_role("article")).to_have_count(1, timeout=20_000)
    assert len(asked) >= 2


def test_in_a_browser_a_snapshot_in_which_somebody_was_covered_is_fetched_anew(site: Site, page: Page) -> None:
    seq = site.decide()
    begin(page, site)
    picture = page.get_by_role("complementary").locator("img")
    expect(picture).to_have_attribute("src", f"/api/events/{seq}/snapshot")
    covered = note("snapshot", of=seq)
    expect(picture).to_have_attribute("src", f"/api/events/{seq}/snapshot?{covered}")


def test_in_a_browser_all_events_are_in_reach(site: Site, page: Page) -> None:
    seq = site.decide("alarm")
    decide(20)
    for _ in range(410):  # two times what is fetched at once, and more
        note("clip", of=seq, sha256="")
    decide(520)
    begin(page, site)
    visit(page, "Events")
    events = page.get_by_role("main").get_by_role("listitem")
    expect(events).to_have_count(50)
    for count in (250, 450, 520, 541):
        page.get_by_role("button", name="Older").click()
        expect(events).to_have_count(count)
    site.decide("opened")
    expect(events).to_have_count(542)
    expect(events.last).to_contain_text("alarm")
    expect(page.get_by_text("There are no older events.")).to_be_visible()
    visit(page, "Live")
    visit(page, "Events")
    expect(events).to_have_count(500)
    page.get_by_label("Which events").select_option("alarm")
    page.get_by_role("button", name="Older").click()
    expect(events).to_contain_text("alarm")


def test_in_a_browser_a_clip_whose_row_is_damaged_stops_nothing(site: Site, page: Page) -> None:
    damaged = note("clip", of=site.decide(), sha256="")
    with closing(sqlite3.connect(home() / "gate.sqlite")) as rows, rows:
        rows.execute("DELETE FROM notes WHERE seq = ?", (damaged,))
    begin(page, site)
    expect(page.get_by_role("complementary").get_by_text("Somebody unknown")).to_be_visible()


def note(kind: Housekeeping, **said: object) -> int:
    """A row about the gate itself."""
    ledger = Ledger(home(), keys(), create=True)
    with ledger.commit() as commit:
        seq = commit.note(kind, **said)
    ledger.close()
    return seq


def decide(count: int) -> None:
    """So many have been refused, without pictures."""
    ledger = Ledger(home(), keys(), create=True)
    with ledger.commit() as commit:
        for _ in range(count):
            commit.decide(decision(), b"", ())
    ledger.close()
