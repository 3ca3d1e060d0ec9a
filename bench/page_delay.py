"""How far the live picture is behind the camera. `python -m bench.page_delay`

A camera (bench/camera_server.py) burns the time into each picture as it makes it; it goes over RTSP, through the gate
and its page into Chromium, where it is read from what is painted. A delay is the time of the animation frame that first
has a picture, less the time in the picture, on one clock.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import msgspec
import numpy as np
from playwright.sync_api import Page, sync_playwright

from bench.command import CLIP, ROOT, enrolled
from bench.gate_ages import CONFIG
from bench.table import Row, report
from bench.timecode import BITS, HEIGHT, SIDE, WIDTH, read
from stages.gate.health import health
from stages.show.web.show import PAGE, Address
from stages.sources.live import Live

CHROMIUM = "/usr/bin/chromium"
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings of the RTSP server
SIZE, FPS = (1280, 720), 25
PICTURES, UNCOUNTED = 300, 50
PATIENCE_S = 60.0
GOAL_MS = 300
SOCKET, MOTION_JPEG = ".picture canvas", ".picture img"  # what shows the picture
# Reads, at each animation frame, the code in what the element shows: [code, performance.now()] of each new one.
READER = f"""([selector, count]) => new Promise((resolve) => {{
  const [bits, side, width, height] = [{BITS}, {SIDE}, {WIDTH}, {HEIGHT}];
  const pen = new OffscreenCanvas(width, height).getContext("2d", {{ willReadFrequently: true }});
  const seen = [];
  let unreadable = 0;
  const look = () => {{
    const shown = document.querySelector(selector);
    const wide = shown?.naturalWidth ?? shown?.width;
    const tall = shown?.naturalHeight ?? shown?.height;
    if (tall) {{
      pen.drawImage(shown, wide - width, tall - height, width, height, 0, 0, width, height);
      const pixels = pen.getImageData(0, 0, width, height).data;
      const white = (x, y) => pixels[4 * (y * width + x) + 1] > 127;
      let [code, whole] = [0, true];
      for (let place = 0; place < bits; place++) {{
        const x = side / 2 + place * side;
        whole &&= white(x, side / 2) !== white(x, side * 3 / 2);
        code = code * 2 + Number(white(x, side / 2));
      }}
      if (!whole) unreadable++;
      else if (code !== seen.at(-1)?.[0]) seen.push([code, performance.now()]);
    }}
    if (seen.length < count) requestAnimationFrame(look); else resolve({{ seen, unreadable }});
  }};
  requestAnimationFrame(look);
}})"""


class Camera:
    """The camera's process."""

    def __init__(self, clip: Path, width: int, height: int, fps: int) -> None:
        command = [SYSTEM_PYTHON, "-B", str(ROOT / "bench" / "camera_server.py"), str(clip), str(width), str(height)]
        self._process = subprocess.Popen([*command, str(fps)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the RTSP server did not start: it needs Debian's gst-rtsp-server, as the tests do")
        self.address = f"rtsp://127.0.0.1:{int(line)}/camera"
        self.sent: list[int] = []  # codes, ms
        self._thread = Thread(target=self._follow)
        self._thread.start()

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _follow(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            self.sent.extend(int(line) for line in lines if line.endswith("\n"))


@contextmanager
def gate(camera: Camera, environment: dict[str, str]) -> Iterator[str]:
    """The gate behind a camera; the link with which the first account is made."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "gate.toml"
        config.write_text(f'source = ["{camera.address}"]\n{CONFIG}', encoding="utf-8")
        command = [sys.executable, "run_pipeline.py", "gate", "--config", str(config)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        try:
            home = Path(environment["FRAMEWIRE_HOME"])
            ends = time.monotonic() + PATIENCE_S
            while not ((found := health(home)) and found.cameras and (home / PAGE).exists()):
                if process.poll() is not None or time.monotonic() > ends:
                    raise SystemExit("the gate did not start")
                time.sleep(0.05)
            yield msgspec.json.decode((home / PAGE).read_bytes(), type=Address).setup
        finally:
            process.terminate()
            process.wait()


@contextmanager
def browser(setup: str) -> Iterator[Page]:
    """Chromium, where somebody has logged in and looks at the live picture."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE_S * 1e3)
        page.goto(setup)
        page.get_by_label("Name").fill("bench")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Set the password").click()
        page.locator(SOCKET).wait_for()  # the page may be there before a picture is
        yield page
        chromium.close()


def turn_to_motion_jpeg(page: Page) -> None:
    """Show the picture as other people's pages do, in place of our own way."""
    page.evaluate("document.querySelector('.picture').innerHTML = '<img src=/live/cam0>'")


def behind(page: Page, selector: str, count: int = PICTURES + UNCOUNTED) -> tuple[list[int], list[float], int]:
    """Of `count` pictures that an element shows: codes and delays, ms, and how often no code could be read."""
    ahead = _ahead(page)
    found: dict[str, Any] = page.evaluate(READER, [selector, count])
    codes = [int(code) for code, _ in found["seen"]]
    return codes, [(now + ahead - code) % (1 << BITS) for code, now in found["seen"]], found["unreadable"]


def _ahead(page: Page) -> float:
    """What to add to the page's clock for the host's monotonic one, ms: from the quickest of many questions."""
    tries = []
    for _ in range(50):
        began = time.monotonic()
        now = page.evaluate("performance.now()")
        ended = time.monotonic()
        tries.append((ended - began, (began + ended) / 2 * 1e3 - now))
    return float(min(tries)[1])


def captured(camera: Camera, count: int = PICTURES + UNCOUNTED) -> list[float]:
    """From the making of a picture to capture's stamp, ms: by a reader of its own, like capture's."""
    reader, delays = Live(camera.address, {}, 1, None), list[float]()
    for picture in reader:
        if picture is not None and not isinstance(picture.pixels, np.ndarray):
            code = read(picture.pixels.to_ndarray(format="gray")[-HEIGHT:].tolist())
            if code is not None:
                delays.append((picture.captured_ns / 1e6 - code) % (1 << BITS))
        if len(delays) == count:
            break
    reader.close()
    return delays


def main() -> int:
    """Look both ways; 1 when a picture is too late."""
    camera = Camera(CLIP, *SIZE, FPS)
    try:
        with enrolled() as environment, gate(camera, environment) as setup, browser(setup) as page:
            stamped = captured(camera)
            _, socket, unread = behind(page, SOCKET)
            turn_to_motion_jpeg(page)
            _, motion_jpeg, unread_too = behind(page, MOTION_JPEG)
    finally:
        camera.close()
    rows = [
        *_rows("made to captured", stamped),
        *_rows("made to painted, WebSocket", socket, f"<= {GOAL_MS}"),
        *_rows("made to painted, MJPEG", motion_jpeg, f"<= {GOAL_MS}"),
        Row("animation frames without a whole code", unread + unread_too, ""),
    ]
    notes = [
        f"{CLIP.name}, {SIZE[0]}x{SIZE[1]}, {FPS} frames a second, coded by x264 as it is made, through the gate with "
        "two people enrolled; camera, gate and a headless Chromium share the cores.",
        f"{PICTURES} pictures each way, after {UNCOUNTED} that are not counted.",
        "Captured: encoder, RTSP and decoder.",
        "Painted: the animation frame that first has it; its code is read back from the canvas or the img.",
    ]
    return report("page_delay", rows, versions=("av", "starlette", "uvicorn", "playwright"), notes=notes)


def _rows(name: str, delays: list[float], gate: str = "") -> list[Row]:
    counted = delays[UNCOUNTED:]
    shares = ((50, ""), (95, ""), (99, gate))
    return [Row(f"{name}, p{share}", float(np.percentile(counted, share)), "ms", gate) for share, gate in shares]


if __name__ == "__main__":
    sys.exit(main())
