"""A page that runs, and those who look at it; what it answers is held against its own description."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
from playwright.sync_api import Page, expect

from pipeline.home import home, keys
from pipeline.types import Faces, Judged
from stages.events import clips
from stages.events.ledger import Ledger
from stages.events.records import Clip
from stages.show.web.show import Show, ShowConfig, announced
from tests.command import ROOT
from tests.fakes import MemoryFrames
from tests.stages.events.conftest import decision
from tests.stages.gate.scene import Camera, Seen, embedding
from tests.stages.show.description import Description

PASSWORD = "correct horse battery"
PHOTO = ROOT / "samples" / "enrol" / "Eileen Collins.jpg"
EILEEN = "Eileen Collins"


class Site:
    """A page that runs, on a free port."""

    def __init__(self) -> None:
        self.frames = MemoryFrames()
        self.show = Show(ShowConfig(port=0, warnings=("no liveness: this is a test",), doors=("front",)), self.frames)
        found = announced()
        assert found
        self.address, self.setup = found.address, found.setup
        self.camera = Camera()
        self.client = httpx.Client(base_url=self.address, timeout=20)
        self.description = Description(self.client.get("/api/openapi.json").json())
        self.csrf = ""
        self._closed = threading.Event()
        self._ticks = threading.Thread(target=self._tick)
        self._ticks.start()

    def _tick(self) -> None:
        """As the graph does."""
        while not self._closed.wait(0.05):
            self.show.tick(time.monotonic())

    def close(self) -> None:
        self.client.close()
        self._closed.set()
        self._ticks.join()
        self.show.close()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"X-CSRF-Token": self.csrf} | more.pop("headers", {})
        answer = self.client.request(method, path, headers=headers, **more)
        self.description.check(answer)
        return answer

    def enter(self, name: str = "ada") -> None:
        secret = self.setup.partition("#setup=")[2]
        done = self.ask("POST", "/api/setup", json={"secret": secret, "name": name, "password": PASSWORD})
        assert done.status_code == 200, done.text
        self.csrf = done.json()["csrf"]

    def cookie(self) -> dict[str, str]:
        """The headers of a socket of who is logged in."""
        return {"Cookie": "; ".join(f"{name}={secret}" for name, secret in self.client.cookies.items())}

    def become(self, role: str) -> None:
        """Log in as somebody of that role."""
        self.ask("POST", "/api/accounts", json={"name": role, "role": role, "password": PASSWORD})
        done = self.ask("POST", "/api/login", json={"name": role, "password": PASSWORD})
        self.csrf = done.json()["csrf"]

    def frame(self, name: str = "", verdict: str = "") -> None:
        """The gate has seen somebody."""
        faces = self.camera(Seen(1, embedding(1), "0a" * 16, 0.8))
        self.frames._pixels[faces.frame.source, faces.frame.seq] = np.full((360, 640, 3), 90, np.uint8)
        fields = {field: getattr(faces, field) for field in Faces.__struct_fields__} | {"names": (name,)}
        self.show(Judged(**fields, verdicts=(verdict,)))

    def decide(self, outcome: str = "refused", snapshot: bytes = b"", **more: Any) -> int:
        """The gate has decided about somebody; without a `snapshot`, a JPEG, it has seen grey."""
        ledger = Ledger(home(), keys(), create=True)
        picture = snapshot or cv2.imencode(".jpg", np.full((90, 160, 3), 120, np.uint8))[1].tobytes()
        more["frame_sha256"] = hashlib.sha256(picture).hexdigest()
        with ledger.commit() as commit:
            seq = commit.decide(decision(outcome, at_ns=time.time_ns(), **more), picture, ())
        ledger.close()
        return seq

    def film(self, seq: int) -> None:
        """The clip of a decision has been written."""
        ledger = Ledger(home(), keys())
        clips.put(ledger, seq, Clip((ROOT / "samples" / "gate.mp4").read_bytes(), ()))
        ledger.close()


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def turning(shared: Path) -> list[bytes]:
    """JPEGs of one head: ahead, and turned a little to her left and to her right."""
    with av.open(str(shared / "videos" / "head-pose-face-detection-female.gif")) as clip:
        shown = [frame.to_ndarray(format="bgr24") for frame in clip.decode(video=0)]
    return [cv2.imencode(".jpg", shown[number])[1].tobytes() for number in (9, 12, 22)]


def begin(page: Page, site: Site) -> None:
    """Set the first password, as the link says; with the keyboard alone."""
    page.goto(site.setup)
    page.get_by_label("Name").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("ada · admin")).to_be_visible()


def visit(page: Page, view: str) -> None:
    """Go to a view: until the browser has told of the new hash, the view before is there, with all that it shows."""
    page.get_by_role("link", name=view).click()
    expect(page.get_by_role("heading", name=view, level=1)).to_be_attached()


def log_in(page: Page, name: str, password: str) -> None:
    """With the form that is shown."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
