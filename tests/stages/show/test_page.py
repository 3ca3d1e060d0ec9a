"""The page in a real browser: the log-in, the live view, and the connection."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from pipeline.files import replace_file
from pipeline.home import home
from stages.act import doors
from stages.events.records import Command
from stages.gate.health import Pulse
from stages.show.web import limits, streams
from stages.show.web.show import Show, ShowConfig
from tests.stages.gate.scene import Camera
from tests.stages.show.site import PASSWORD, Site, begin, log_in, visit


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
    expect(page.get_by_text("front · told “come in”")).to_be_visible()
    site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    expect(page.get_by_role("complementary").get_by_text("Ada Lovelace")).to_be_visible()
    visit(page, "Events")
    page.get_by_role("button", name="Ada Lovelace").click()
    expect(page.get_by_text("0.710, threshold 0.600")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_in_a_browser_a_camera_that_comes_later_is_shown_and_the_focus_stays(site: Site, page: Page) -> None:
    site.decide("opened", person="0a" * 16, name="Ada Lovelace")
    begin(page, site)
    expect(page.get_by_text("No camera has given a picture yet.")).to_be_visible()
    decided = page.get_by_role("complementary").get_by_role("button", name="Ada Lovelace")
    decided.focus()
    site.frame("Ada", "come in")
    expect(page.get_by_role("img", name="Live picture of cam0")).to_be_visible()
    expect(page.get_by_text("front · told “come in”")).to_be_visible()
    expect(decided).to_be_focused()


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
        visit(page, view)


def test_in_a_browser_that_nothing_is_calibrated_is_said(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "Threshold")
    expect(page.get_by_text("Nothing is calibrated, so only simulated doors open.")).to_be_visible()


def test_in_a_browser_too_many_streams_are_said_to_be(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_EACH", 0)
    begin(page, site)
    expect(page.get_by_text("streams of this account are open: close a page")).to_be_visible()


def test_in_a_browser_a_session_that_has_ended_is_said_to_have(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.1)
    begin(page, site)
    visit(page, "Account")
    page.get_by_role("button", name="Make a token").click()
    with closing(sqlite3.connect(home() / "web.sqlite")) as rows, rows:
        rows.execute("DELETE FROM sessions")
    expect(page.get_by_text("Your session has ended: log in again.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()
    log_in(page, "ada", PASSWORD)
    expect(page.get_by_text("ada · admin")).to_be_visible()


def test_in_a_browser_a_gate_that_is_gone_is_said_to_be_and_comes_back(site: Site, page: Page) -> None:
    site.frame()
    doors.opened(Command("a", "front", 1, 3600, 0))
    begin(page, site)
    door, banner = page.get_by_role("region", name="Door front"), page.get_by_text("No connection since")
    expect(door).to_contain_text("Open")
    site.show.close()
    expect(banner).to_be_visible(timeout=15_000)
    expect(door).to_contain_text("Unknown")
    expect(page.get_by_role("img", name="Live picture of cam0")).to_have_css("filter", "grayscale(1)")
    port = int(site.address.rstrip("/").rpartition(":")[2])
    site.show = Show(ShowConfig(port=port, doors=("front",)), site.frames)
    site.frame()
    expect(banner).to_be_hidden(timeout=15_000)
    expect(door).to_contain_text("Open")
    expect(page.get_by_role("img", name="Live picture of cam0")).to_have_css("filter", "none")


def test_in_a_browser_each_door_has_what_is_said_at_its_own_cameras(site: Site, page: Page) -> None:
    site.show._data._doors = {"front": ("cam0",), "back": ("cam1",)}
    begin(page, site)
    site.frame("Ada", "come in")
    expect(page.get_by_role("region", name="Door front")).to_contain_text("told “come in”")
    expect(page.get_by_role("region", name="Door back")).to_contain_text("not opened since")
    site.camera = Camera("cam1")
    site.frame("Bob", "not at this time")
    expect(page.get_by_role("region", name="Door back")).to_contain_text("told “not at this time”")
    expect(page.get_by_role("region", name="Door front")).to_contain_text("told “come in”")


def test_in_a_browser_a_door_is_unknown_until_it_was_opened_whatever_a_damaged_file_says(
    site: Site, page: Page
) -> None:
    replace_file(home() / "doors" / "front.json", b"", synced=False)
    replace_file(home() / "doors" / "none.json", b'{"door": "none"}', synced=False)
    begin(page, site)
    door = page.get_by_role("region", name="Door front")
    expect(door).to_contain_text("Unknown")
    expect(page.get_by_role("region", name="Door none")).to_be_hidden()
    doors.opened(Command("a", "front", 1, 0.5, 0))
    expect(door).to_contain_text("Closed")


def test_in_a_browser_a_camera_that_is_lost_has_no_picture_and_nobody_before_it(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = Pulse(home(), deadline_ms=1000)
    site.frame("Ada", "come in")
    pulse.see(site.camera().frame)
    pulse.beat(0, "")
    begin(page, site)
    picture = page.get_by_role("img", name="Live picture of cam0")
    expect(page.get_by_text("No picture from cam0 since")).to_be_visible()  # a gate that says nothing more is no better
    steady = time.monotonic_ns
    monkeypatch.setattr("stages.gate.health.time.monotonic_ns", lambda: steady() + 3_000_000_000)
    pulse.beat(0, "")
    expect(page.get_by_text("No picture from cam0 since")).to_be_visible()
    expect(picture).to_be_hidden()
    expect(page.get_by_text("come in")).to_be_hidden()
    visit(page, "Health")
    expect(page.get_by_text("the last was frame")).to_be_visible()
    visit(page, "Live")
    ends = time.monotonic() + 15
    while not picture.is_visible():
        pulse.see(site.camera().frame)
        pulse.beat(0, "")
        assert time.monotonic() < ends
        page.wait_for_timeout(50)
    expect(page.get_by_text("come in")).to_be_visible()


def test_in_a_browser_door_and_health_go_by_the_clock_of_the_gate(site: Site, page: Page) -> None:
    page.clock.install(time=time.time() + 7200)
    doors.opened(Command("a", "front", 1, 3600, 0))
    begin(page, site)
    expect(page.get_by_role("region", name="Door front")).to_contain_text("Open")
    visit(page, "Health")
    pulse = Pulse(home(), deadline_ms=1000)
    ends = time.monotonic() + 15
    while not page.get_by_text("alive").is_visible():
        pulse.beat(0, "")
        assert time.monotonic() < ends
        page.wait_for_timeout(50)


def test_in_a_browser_a_network_that_is_gone_without_a_word_is_not_waited_for(site: Site, page: Page) -> None:
    sockets: list[WebSocketRoute] = []

    def dead_at_first(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) > 1:
            socket.connect_to_server()

    page.route_web_socket("**/api/push*", dead_at_first)
    page.clock.install()
    begin(page, site)
    expect(page.get_by_role("complementary")).to_contain_text("the gate says nothing")
    page.clock.fast_forward(11_000)
    expect(page.get_by_role("complementary")).to_contain_text("not opened since")
    assert len(sockets) == 2
