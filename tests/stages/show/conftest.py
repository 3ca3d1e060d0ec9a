"""A page of the test's own, and a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from stages.show.web.users import Users
from tests.stages.show.site import PASSWORD, Site

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def site(places: Path) -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def page(site: Site, tmp_path: Path) -> Iterator[Page]:
    """In New York, with a webcam that shows webcam.mjpeg, which a test may put there."""
    if not CHROMIUM.exists():
        pytest.skip("needs a browser: apt install chromium")
    webcam = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    flags = ["--no-sandbox", *webcam, f"--use-file-for-fake-video-capture={tmp_path / 'webcam.mjpeg'}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page(timezone_id="America/New_York")
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "Security" in message.text else None)
        yield page
        browser.close()
        assert problems == []


@pytest.fixture
def users(tmp_path: Path) -> Users:
    """The accounts: ada is the admin."""
    users = Users(tmp_path)
    secret = users.setup()
    assert secret
    users.begin(secret, "ada", PASSWORD)
    return users


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that are added to the time."""
    added = [0.0]
    wall, steady = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: wall() + added[0])
    monkeypatch.setattr(time, "monotonic", lambda: steady() + added[0])
    return added
