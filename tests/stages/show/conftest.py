"""A page of the test's own, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.stages.show.site import Site

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def site(places: Path) -> Iterator[Site]:
    site = Site()
    yield site
    site.client.close()
    site.show.close()


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip("needs a browser: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "Security" in message.text else None)
        yield page
        browser.close()
        assert problems == []
