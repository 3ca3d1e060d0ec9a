"""The live picture, from a camera to what a browser paints: read by the time that is burnt into each picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench import page_delay
from bench.command import enrolled
from tests import rtsp
from tests.command import GATE

pytestmark = pytest.mark.alone

PICTURES = 40


@pytest.mark.skipif(not Path(page_delay.CHROMIUM).exists(), reason="needs a browser: apt install chromium")
def test_the_browser_paints_the_pictures_that_the_camera_made_in_their_order() -> None:
    if rtsp.missing():
        pytest.skip(rtsp.missing())
    camera = page_delay.Camera(GATE, *page_delay.SIZE, page_delay.FPS)
    try:
        with (
            enrolled() as environment,
            page_delay.gate(camera, environment) as setup,
            page_delay.browser(setup) as page,
        ):
            for selector in (page_delay.SOCKET, page_delay.MOTION_JPEG):
                codes, _, unreadable = page_delay.behind(page, selector, PICTURES)
                assert not unreadable
                assert all(earlier < later for earlier, later in itertools.pairwise(codes))
                assert set(codes) <= set(camera.sent)
                page_delay.turn_to_motion_jpeg(page)
    finally:
        camera.close()
