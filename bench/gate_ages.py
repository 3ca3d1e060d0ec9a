"""How old a picture is when the gate has decided on it. `python -m bench.gate_ages [STARTS]`

One camera, then two at once that see the same, each a part of the sample clip at its own speed in which two enrolled
people come by. A passage is decided once and then lasts until ten seconds after it, so each start of the gate has a
copy of the same home, and gives one decision a person and camera. What is read is `age_ms` of the log's decisions: from
capture's stamp to the moment the door's order is written down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from bench.command import CLIP, PHOTOS, ROOT
from bench.table import Row, report
from stages.events.ledger import Ledger
from stages.gate.config import GateConfig

STARTS = 25
CAMERAS = ("left", "right")
FPS = 25
EMPTY, GRACE, EILEEN = slice(0, 25), slice(85, 119), slice(150, 260)  # frames of the clip that are shown
ALONE = (113, slice(400, 720))  # a frame and its columns, px, from which Grace Hopper is enrolled
PEOPLE = 2
LOOK_S = 0.1
CONFIG = """[show]
port = 0
[gate]
liveness = "none"
[[gate.doors]]
name = "front"
output = "simulated"
"""


def main() -> int:
    """Measure with one camera and with two; always 0, as there is no gate."""
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else STARTS
    with TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        ages = {count: _measure(folder, CAMERAS[:count], starts) for count in (1, 2)}
    rows = []
    for count, found in ages.items():
        about = "one camera" if count == 1 else "two cameras at once"
        rows.append(Row(f"{about}, let in of {starts * PEOPLE * count} passages", len(found), ""))
        rows += [Row(f"{about}, p{share}", float(np.percentile(found, share)), "ms") for share in (50, 95, 99)]
    notes = [
        f"{starts} starts of the gate each way, two enrolled people by each camera ({CLIP.name}, 1280x720, {FPS} "
        "frames a second), liveness off, a simulated door.",
        "Decisions that open; a refusal comes when there is nothing more to wait for, and has no such age. A picture "
        f"older than {GateConfig().deadline_ms} ms opens nothing: the next one may.",
    ]
    return report("gate_ages", rows, versions=("onnxruntime-gpu", "av"), notes=notes)


def _prepare(folder: Path) -> None:
    """What each start has a copy of: a home with two people, and the clip for each camera."""
    with av.open(str(CLIP)) as clip:
        pictures = [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in clip.decode(video=0)]
    at, columns = ALONE
    photos = {"Grace Hopper": folder / "grace.png"} | {photo.stem: photo for photo in PHOTOS.iterdir()}
    cv2.imwrite(str(photos["Grace Hopper"]), pictures[at][:, columns])
    for name, photo in photos.items():
        command = [sys.executable, "run_pipeline.py", "enroll", name, str(photo)]
        subprocess.run(command, cwd=ROOT, env=_environment(folder / "enrolled"), check=True, stdout=subprocess.DEVNULL)
    (folder / "gate.toml").write_text(CONFIG, encoding="utf-8")
    for camera in CAMERAS:
        _film(folder / f"{camera}.mp4", [*pictures[EMPTY], *pictures[GRACE], *pictures[EILEEN]])


def _film(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=FPS, options={"crf": "18", "g": str(FPS)})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        target.mux(stream.encode())


def _measure(folder: Path, cameras: Sequence[str], starts: int) -> list[float]:
    """Ages of all decisions that opened, ms."""
    ages = []
    for start in range(starts):
        home = folder / f"home-{len(cameras)}-{start}"
        shutil.copytree(folder / "enrolled", home)
        with _gate(folder, home, cameras) as (ledger, process):
            ages += _ages(ledger, process, PEOPLE * len(cameras))
    return ages


def _ages(ledger: Ledger, process: subprocess.Popen[bytes], expected: int) -> list[float]:
    """Ages of the decisions that opened, ms: as many as expected, or what there was when the clips were over."""
    while True:
        over = process.poll() is not None
        decisions = [event.decision for event in ledger.events() if event.decision]
        ages = [made.age_ms for made in decisions if made.outcome == "opened" and made.age_ms is not None]
        if over or len(ages) == expected:
            return ages
        time.sleep(LOOK_S)


@contextmanager
def _gate(folder: Path, home: Path, cameras: Sequence[str]) -> Iterator[tuple[Ledger, subprocess.Popen[bytes]]]:
    """The gate while it runs, and its log."""
    environment = _environment(home)
    sources = [word for camera in cameras for word in ("--source", str(folder / f"{camera}.mp4"))]
    command = [sys.executable, "run_pipeline.py", "gate", "--config", str(folder / "gate.toml"), *sources]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        with (
            patch.dict(os.environ, environment),
            closing(Ledger(home / "home", home / "keys", create=True)) as ledger,
        ):
            yield ledger, process
    finally:
        process.kill()  # its processes die with it
        process.wait()


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"FRAMEWIRE_HOME": str(folder / "home"), "FRAMEWIRE_KEYS": str(folder / "keys")}


if __name__ == "__main__":
    sys.exit(main())
