"""The gate from the command line: the bundled clip, a photo for a door that is real, and processes that are killed."""

from __future__ import annotations

import bisect
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from stages.events import clips
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Decision, Event
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.store import Store
from stages.gate.health import health
from stages.show.web.show import announced
from tests.command import GATE, ROOT, User, alive
from tests.rtsp import coded, serving

EILEEN = "Eileen Collins"
SOAK = "FRAMEWIRE_KILLS" in os.environ  # make soak, on a machine that has nothing else to do: there times are checked
KILLS = int(os.environ.get("FRAMEWIRE_KILLS", "5"))
PAUSE_S = 10.0  # of nobody behind the clip, so that the next time round is another passage
HERS = 0.5  # a decision whose best face is so near to hers is about her, whatever it says
BACK_S = 3.0
FPS = 25
FOUND = 124  # the first frame of the clip in which her face is found: on the edge of the picture it is a few pixels
PROCESSES = ("supervisor", "capture", "detect", "match", "gate", "record", "show")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody who has enrolled nobody."""
    user = User(tmp_path)
    for name in ("FRAMEWIRE_HOME", "FRAMEWIRE_KEYS"):
        monkeypatch.setenv(name, user.environment[name])
    return user


@pytest.fixture
def enrolled(user: User) -> User:
    """Somebody who has enrolled Eileen Collins."""
    done = user("enroll", EILEEN, ROOT / "samples" / "enrol" / f"{EILEEN}.jpg")
    assert done.code == 0, done.err
    return user


@pytest.fixture
def ledger(enrolled: User) -> Iterator[Ledger]:
    """What the user's gate writes, once it has."""
    ledger = Ledger(enrolled.folder / "home", enrolled.folder / "keys", create=True)
    yield ledger
    ledger.close()


def until(condition: Callable[[], Any], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come about in time"
        time.sleep(0.02)


def config(user: User, text: str) -> Path:
    path = user.folder / "gate.toml"
    path.write_text(text)
    return path


REPEATED = "[capture]\nrepeat_seconds = 11\n"  # longer than a passage lasts: each time is another one
OPEN = '[show]\nport = 0\n[gate]\nliveness = "none"\n[[gate.doors]]\nname = "front"\n'
SIMULATED = '[[act.outputs]]\nkind = "simulated"\nname = "simulated"\n'


@pytest.mark.alone
def test_the_enrolled_person_is_let_in_and_the_stranger_kept_out(user: User, ledger: Ledger) -> None:
    done = user("gate", "--config", config(user, OPEN), "--source", GATE, "--json")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    decisions = [line["decision"] for line in lines if line.get("decision")]
    assert [(made["outcome"], made["name"]) for made in decisions] == [("opened", EILEEN), ("refused", "")]
    assert (lines[-1]["opened"], lines[-1]["refused"]) == (1, 1)
    truth = {one["name"]: one for one in json.loads(GATE.with_suffix(".json").read_text())["people"]}
    seen = {frame: visible for frame, *_, visible in truth[EILEEN]["faces"]}
    assert seen.get(decisions[0]["frame_seq"], 0) == 1, "opened while she was not in view"
    assert json.loads((user.folder / "home" / "doors" / "front.json").read_text())["seq"] == lines[1]["seq"]
    assert user("gate", "audit").code == 0
    hers, strangers = (line["seq"] for line in lines if line.get("decision"))
    assert [event.has_clip for event in ledger.follow(hers - 1, 2)] == [True, True]
    assert user("gate", "clip", str(hers), "--out", user.folder / "hers.mp4").code == 0
    original, of_hers = _pictures(GATE.read_bytes()), _pictures((user.folder / "hers.mp4").read_bytes())
    first = _first(original, of_hers)
    assert first < decisions[0]["frame_seq"] < first + len(of_hers)
    assert np.array_equal(original[first + 9], of_hers[9]), "it is not encoded anew"

    told = user("forget", EILEEN).out

    assert "1 events of the gate" in told
    assert "in 1 clips and " in told
    report = audit(ledger, [])
    assert (report.findings, report.erased) == ((), 1)
    assert user("gate", "clip", str(hers), "--out", user.folder / "again.mp4").code == 1
    rest = clips.get(ledger, strangers)
    assert rest
    covered = _pictures(rest.mp4)
    begins = _first(original, covered)
    _check_covered(dict(enumerate(covered, begins)), original, truth[EILEEN]["faces"])


def _pictures(mp4: bytes) -> list[NDArray[np.uint8]]:
    """(H, W, 3) BGR each."""
    with av.open(io.BytesIO(mp4), "r") as source:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in source.decode(video=0)]


def _first(film: list[NDArray[np.uint8]], part: list[NDArray[np.uint8]]) -> int:
    """Which picture of a film a part of it begins with."""
    small = np.stack([picture[::8, ::8] for picture in film]).astype(int)
    return int(np.abs(small - part[0][::8, ::8]).mean(axis=(1, 2, 3)).argmin())


def _check_covered(
    covered: dict[int, NDArray[np.uint8]], film: list[NDArray[np.uint8]], faces: list[list[float]]
) -> None:
    """Her face is another picture, as soon as it was large enough to be found, and what is far from it is the same."""
    shown = [(int(frame), np.array(box, int)) for frame, *box, visible in faces if visible == 1 and frame > FOUND]
    compared = [(film[frame], covered[frame], box) for frame, box in shown if frame in covered]
    assert len(compared) > 20
    for was, now, (left, top, right, bottom) in compared:
        difference = np.abs(was.astype(int) - now).mean(axis=2)
        assert difference[top:bottom, left:right].mean() > 8, "her face is to be seen"
        difference[:, max(0, left - (right - left)) : 2 * right - left] = 0
        assert difference.mean() < 8


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_who_is_forgotten_while_the_gate_runs_is_a_stranger_to_it_and_nowhere(user: User, ledger: Ledger) -> None:
    """In the processes that had let her in a moment before, on the page, in the databases and on the disk."""
    home, keys = user.folder / "home", user.folder / "keys"
    (person,) = Store(home, keys).people()
    key_file = Store(home, keys).key_file()
    assert key_file
    own = [key_file.get(person.id)]
    gate = user.start("gate", "--config", config(user, REPEATED + OPEN), "--source", GATE)
    until(lambda: decided(ledger, "opened"), 60)
    own.append(ledger.keys.get(person.id))
    with logged_in() as page:
        assert [one["name"] for one in page.get("/api/people").json()] == [EILEEN]

        done = user("forget", EILEEN)

        assert done.code == 0, done.out
        assert "no running process holds this person" in done.out
        assert page.get("/api/people").json() == []
        shows_her = likeness(person.templates[0].embedding)
        since = max(event.seq for event in ledger.events())
        until(lambda: [seq for seq in decided(ledger, "refused") if seq > since and shows_her(ledger, seq)], 90)
        assert not any(event["decision"]["name"] for event in page.get("/api/events").json() if event["decision"])
    gate.send_signal(signal.SIGINT)
    out, _ = gate.communicate(timeout=60)
    assert "opened" in out
    assert EILEEN not in out, "nobody can forget what went into a journal"
    assert decided(ledger, "opened") == []
    report = audit(ledger, [])
    assert (report.findings, report.erased) == ((), 1)
    traces = [person.id, person.id.hex().encode(), person.templates[0].embedding.tobytes()[:32], EILEEN.encode(), *own]
    for folder in (home, keys):
        for path in folder.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not [trace for trace in traces if trace and trace in content], path


def decided(ledger: Ledger, outcome: str) -> list[int]:
    """The decisions of that kind which can be read."""
    return [event.seq for event in ledger.events(limit=1000) if event.decision and event.decision.outcome == outcome]


@contextmanager
def logged_in() -> Iterator[httpx.Client]:
    """The first admin, at the page of the gate that runs."""
    until(announced, 30)
    found = announced()
    assert found
    with httpx.Client(base_url=found.address, timeout=20) as page:
        what = {"secret": found.setup.partition("#setup=")[2], "name": "ada", "password": "correct horse battery"}
        assert page.post("/api/setup", json=what).status_code == 200
        yield page


def likeness(face: NDArray[np.float32]) -> Callable[[Ledger, int], bool]:
    """Whether the snapshot of a decision shows the person of `face` (D,), and nobody else."""
    enrol = Enrol(EnrolConfig())

    def shows(ledger: Ledger, seq: int) -> bool:
        snapshot = np.frombuffer(ledger.snapshot(seq) or b"", np.uint8)
        *_, faces = enrol.faces(np.asarray(cv2.imdecode(snapshot, cv2.IMREAD_COLOR), np.uint8))
        return len(faces) == 1 and bool(faces[0] @ face > HERS)

    return shows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[gate]\nliveness = "passive"\n', "set liveness.models"),
        (
            OPEN + 'output = "relay"\n[[act.outputs]]\nkind = "gpio"\nname = "relay"\npin = "GPIO17"\n',
            "a photo opens the door",
        ),
        (OPEN + SIMULATED + '[[act.outputs]]\nkind = "file"\nname = "f"\npath = "home/x"\n', "may not lie inside of"),
        (OPEN + 'cameras = ["cam7"]\n', "no door has the camera 'gate'"),
        (OPEN + '[[gate.doors]]\nname = "back"\n', "the camera 'gate' is that of two doors, 'front' and 'back'"),
        (OPEN + 'output = "relay"\n', "there is no output 'relay'"),
        (
            OPEN + 'output = "heads"\n[[act.outputs]]\nkind = "file"\nname = "heads"\npath = "heads.txt"\n',
            "the output 'heads' is a file and opens no door",
        ),
        (
            OPEN + '[[act.outputs]]\nkind = "osdp"\nname = "reader"\ndevice = "/dev/ttyS9"\nscbk_file = "key"\n',
            "the reader of 'reader' is at the door 'door', which is none of gate.doors",
        ),
        ('[gate]\nliveness = "none"\nnotify = ["simulated", "simulated"]\n', "gate.notify names an output twice"),
        ("[gate.models]\ndetector = 'mine'\n", "$.gate.models follows from the rest: leave it out"),
        ("[show.detect]\nmodel = 'mine'\n", "$.show.detect follows from the rest: leave it out"),
        ('[gate]\nmode = "1:1"\nliveness = "none"\nbadge_seconds = 8\n', "set gate.badge_seconds above"),
        ('[gate]\ntreshold = 0.5\n', "treshold"),
        ('[[act.outputs]]\nkind = "fax"\nname = "x"\n', "fax"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_is_one_sentence(user: User, text: str, sentence: str) -> None:
    done = user("gate", "--config", config(user, text), "--source", GATE)
    assert done.code == 2
    assert sentence in done.sentence


@pytest.mark.parametrize(
    ("more", "source", "sentence"),
    [
        ("", "rtsp://127.0.0.1:1/none", "nothing listens there"),
        ("", "nothing.mp4", "nothing.mp4"),
        ('[match]\nmodel = "nothing"\n', str(GATE), "there is no model nothing"),
        ('[detect]\nmodel = "nothing"\n', str(GATE), "there is no model nothing"),
        ('[liveness]\nmodels = ["nothing"]\n', str(GATE), "there is no model nothing"),
    ],
)
def test_without_a_camera_or_a_model_nothing_opens(user: User, more: str, source: str, sentence: str) -> None:
    done = user("gate", "--config", config(user, more + OPEN), "--source", source)
    assert done.code > 0
    assert sentence in done.sentence
    assert not (user.folder / "home" / "doors").exists()


def looped(path: Path, times: int) -> float:
    """The clip and its last picture for `PAUSE_S`, so many times over; how long one time is, seconds."""
    with av.open(str(GATE)) as clip:
        pictures = [frame.to_ndarray(format="yuv420p") for frame in clip.decode(video=0)]
    pictures += [pictures[-1]] * round(PAUSE_S * FPS)
    once = path.with_name("once.mp4")
    with av.open(str(once), "w") as target:
        # One thread, as in tests.rtsp: of two slices the upper half of the picture would be lost.
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "g": "25", "threads": "1"}
        stream = target.add_stream("libx264", rate=FPS, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        target.mux(stream.encode())
    with av.open(str(path), "w") as target:
        copy = None
        for turn in range(times):
            with av.open(str(once)) as part:
                video = part.streams.video[0]
                copy = copy or target.add_stream_from_template(video)
                assert video.time_base
                shift = round(turn * len(pictures) / FPS / video.time_base)
                for packet in part.demux(video):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        target.mux(packet)
    return len(pictures) / FPS


class Spectator:
    """Somebody else who watches: so the stream goes on while the gate is away. Its pictures say how far it has come."""

    def __init__(self, address: str) -> None:
        self.seen: list[float] = []  # wall clock of each picture, seconds; the times in the stream jump with RTCP
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(address,), daemon=True)
        self._thread.start()

    def _watch(self, address: str) -> None:
        with av.open(address, options={"rtsp_transport": "tcp"}) as stream:
            for packet in stream.demux(video=0):
                if packet.size:
                    self.seen.append(time.time())
                if self._stop.is_set():
                    return

    def at(self, wall_s: float) -> float:
        """How far the stream has come at a moment, seconds."""
        count = bisect.bisect(self.seen, wall_s)
        return (count - 1) / FPS + wall_s - self.seen[count - 1]

    def check(self) -> None:
        """The stream has come without a pause: else nothing can be said of what was seen when."""
        assert max(later - wall for wall, later in itertools.pairwise(self.seen)) < 2, "the stream has paused"

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)


class Unit:
    """What a service manager does: start the gate, and again whenever it is gone."""

    def __init__(self, user: User, path: Path) -> None:
        self._command = [sys.executable, str(ROOT / "run_pipeline.py"), "gate", "--config", str(path)]
        self._user = user
        self._stopping = False
        self.process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._user.folder / "said").open("ab") as said:
            return subprocess.Popen(
                self._command, env=self._user.environment, cwd=self._user.folder, stdout=said, stderr=said
            )

    def _watch(self) -> None:
        while not self._stopping:
            self.process.wait()
            if not self._stopping:
                self.process = self._start()

    def processes(self) -> list[int]:
        """The supervisor and its processes."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            children = []
        return [pid, *map(int, children)]

    def stop(self) -> None:
        self._stopping = True
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._thread.join(5)


class Follower:
    """Reads what is committed while it is committed."""

    def __init__(self, user: User) -> None:
        self._ledger = Ledger(user.folder / "home", user.folder / "keys", create=True)
        self.events: dict[int, Event] = {}

    def look(self) -> None:
        for event in self._ledger.events(after=max(self.events, default=0), limit=10_000):
            self.events[event.seq] = event

    def decisions(self) -> list[Decision]:
        return [event.decision for _, event in sorted(self.events.items()) if event.decision]


def fresh(user: User, since_ns: int) -> bool:
    """Whether a picture that was captured after `since_ns` has come through to the gate."""
    found = health(user.folder / "home")
    return found is not None and any(camera.captured_ns > since_ns for camera in found.cameras.values())


def answers(since_ns: int) -> bool:
    """Whether a page that was announced after `since_ns` (wall clock) can be opened."""
    found = announced()
    try:
        return found is not None and found.at_ns > since_ns and httpx.get(found.address).status_code == 200
    except httpx.TransportError:
        return False


def is_ready(user: User, name: str, before: int) -> bool:
    """Whether a process is ready in place of the one with the number `before`."""
    lines = (user.folder / "home" / "gate.log").read_text().splitlines()
    told = [line for line in map(json.loads, (line for line in lines if '"ready"' in line)) if line["child"] == name]
    return bool(told) and told[-1]["number"] != before


def kill_one(user: User, unit: Unit, follower: Follower, name: str) -> float:
    """Kill a process of the gate; after how many seconds it did its work again.

    For most of them that is a new picture at the gate; the gate does not wait for the page and for who writes clips.
    """
    supervisor, *children = unit.processes()
    pid = supervisor if name == "supervisor" else next(pid for pid in children if _name(user, pid).startswith(name))
    os.kill(pid, signal.SIGKILL)
    killed_ns, killed_at_ns, began = time.monotonic_ns(), time.time_ns(), time.monotonic()
    until(lambda: not alive(pid), 10)

    def back() -> bool:
        follower.look()
        if name == "record":
            return is_ready(user, name, pid)
        return answers(killed_at_ns) if name == "show" else fresh(user, killed_ns)

    until(back, 60)
    return time.monotonic() - began


def _name(user: User, pid: int) -> str:
    lines = [json.loads(line) for line in (user.folder / "home" / "gate.log").read_text().splitlines()]
    return next((line["process"] for line in reversed(lines) if line["pid"] == pid), "?")


@pytest.mark.alone
@pytest.mark.timeout(120 + 15 * KILLS)
def test_kills_lose_no_event_and_open_nothing_twice(user: User, ledger: Ledger, tmp_path: Path) -> None:
    luck = random.Random(0)  # the first five are the supervisor, capture, detect, gate and record
    seconds = looped(tmp_path / "loop.ts", times=2 + KILLS // 3)
    engine = "[engine]\ncrashes = 1000\n"
    with serving({"/door": coded(tmp_path / "loop.ts")}, shared=True) as server:
        server_address = server.address("/door")
        spectator = Spectator(server_address)
        until(lambda: spectator.seen, 20)
        unit = Unit(user, config(user, f'source = ["{server_address}"]\n{engine}{OPEN}'))
        follower = Follower(user)
        began_ns = time.monotonic_ns()
        until(lambda: fresh(user, began_ns), 30)
        times = []
        names: list[str] = []
        for _ in range(KILLS):
            names = names or luck.sample(PROCESSES, len(PROCESSES))
            wait_until = time.monotonic() + luck.uniform(0.5, 8)
            while time.monotonic() < wait_until:
                follower.look()
                time.sleep(0.05)
            name = names.pop()
            times.append((name, kill_one(user, unit, follower, name)))
        _watch_on(spectator, follower, seconds)
        unit.stop()
        spectator.close()
    follower.look()
    spectator.check()
    _check(ledger, follower, spectator, seconds)
    slow = [(name, round(back, 1)) for name, back in times if back > BACK_S]
    print(f"killed: {[(name, round(back, 2)) for name, back in times]}; over {BACK_S} s: {slow}")
    assert not (SOAK and slow)


def _watch_on(spectator: Spectator, follower: Follower, seconds: float) -> None:
    """Until this time round is over, and the next one's pause."""
    ends = (spectator.at(time.time()) // seconds + 1) * seconds

    def over() -> bool:
        follower.look()
        return spectator.at(time.time()) > ends

    until(over, 2 * seconds)


def _check(ledger: Ledger, follower: Follower, spectator: Spectator, seconds: float) -> None:
    report = audit(ledger, [])
    assert report.findings == ()
    assert {event.seq for event in ledger.events(limit=100_000)} >= set(follower.events)
    hers: dict[int, list[Decision]] = {}
    others: dict[int, list[Decision]] = {}
    for made in follower.decisions():
        turn = int(spectator.at(made.at_ns / 1e9) // seconds)
        about_her = made.name == EILEEN or (made.score or 0) >= HERS
        (hers if about_her else others).setdefault(turn, []).append(made)
    assert hers, "she was never decided about"
    for found in (*hers.values(), *others.values()):
        assert len(found) == 1, [(made.outcome, made.reason, made.score, made.at_ns) for made in found]
    filmed = [clip for seq in follower.events if (clip := clips.get(ledger, seq))]
    assert filmed
    assert all(_pictures(clip.mp4) for clip in filmed), "a clip does not play"
    opened = [made for made in follower.decisions() if made.outcome == "opened"]
    assert len(ledger.all("SELECT 1 FROM commands")) == len(opened)
