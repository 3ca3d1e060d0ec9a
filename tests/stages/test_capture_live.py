"""Capture from streams: real servers that stop and come back, refuse, stay silent, or send something else."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import Failed, Usage
from pipeline.frames import Mark
from pipeline.graph import Source
from pipeline.types import Frame
from stages.capture import Capture, CaptureConfig, is_live, masked, parse_sources
from stages.sources.clock import JUMP_NS, Backlog, Lateness, LiveClock
from stages.sources.live import Live
from stages.sources.picture import SECOND
from tests import rtsp
from tests.command import GATE
from tests.rtsp import Network, RtspServer, clip, pattern, serving
from tests.stages.clips import Rings, film, number

PATIENCE_S = 60
rtsp_server = rtsp.rtsp_server


@pytest.fixture
def rings() -> Iterator[Rings]:
    with closing(Rings()) as made:
        yield made


@pytest.fixture
def live(rings: Rings) -> Iterator[Callable[..., Capture]]:
    """Opens an address; all are closed in the end."""
    opened = []

    def make(address: str, after: Mark | None = None, **config: object) -> Capture:
        opened.append(Capture(CaptureConfig(**config), Source("cam0", address, True), rings, after))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def until(answers: Iterator[Frame | None], done: Callable[[list[Frame]], bool]) -> list[Frame]:
    """The frames that come until `done` says so of them."""
    frames: list[Frame] = []
    deadline = time.monotonic() + PATIENCE_S
    while not done(frames):
        assert time.monotonic() < deadline, "nothing came"
        frame = next(answers)
        if frame is not None:
            frames.append(frame)
    return frames


def rising(frames: list[Frame]) -> bool:
    """Whether seq, pts and capture time all rise from frame to frame."""
    return all(a.seq < b.seq and a.pts_ns < b.pts_ns and a.captured_ns < b.captured_ns for a, b in pairwise(frames))


def refused(capture: Capture) -> str:
    """The sentence with which the first connection failed."""
    with pytest.raises(Failed) as error:
        until(iter(capture), bool)
    assert (
        error.value.__suppress_context__ or not error.value.__context__
    )  # ffmpeg's own error names the address, with its password
    return str(error.value)


def test_a_camera_that_is_lost_comes_back(rtsp_server: RtspServer, live: Callable[..., Capture], rings: Rings) -> None:
    capture = live(rtsp_server.address())
    assert capture.state == "connecting"
    answers = iter(capture)
    before = until(answers, lambda frames: len(frames) == 20)
    assert capture.state == "running"
    assert rings.pixels(before[-1]).std() > 20

    rtsp_server.stop()
    lost = until(answers, lambda _: capture.state == "reconnecting")
    rtsp_server.start()
    after = until(answers, lambda frames: len(frames) == 20)
    assert capture.state == "running"
    assert rising(before + lost + after)
    away_ns = after[0].captured_ns - (before + lost)[-1].captured_ns
    assert after[0].pts_ns - (before + lost)[-1].pts_ns == pytest.approx(away_ns, abs=SECOND // 2)


def test_a_camera_that_hangs_is_lost(rtsp_server: RtspServer, live: Callable[..., Capture]) -> None:
    capture = live(rtsp_server.address())
    answers = iter(capture)
    until(answers, bool)
    rtsp_server.freeze()
    until(answers, lambda _: capture.state == "reconnecting")


def test_a_picture_that_the_network_held_back_is_not_new(rtsp_server: RtspServer, live: Callable[..., Capture]) -> None:
    with closing(Network(rtsp_server.address())) as network:
        answers = iter(live(network.address))
        before = until(answers, lambda frames: len(frames) == 30)
        network.hold()
        held_ns = time.monotonic_ns()
        until(answers, lambda _: time.monotonic_ns() - held_ns > 2.5 * SECOND)
        network.flow()
        after = until(answers, lambda frames: bool(frames) and frames[-1].pts_ns > before[-1].pts_ns + 4 * SECOND)
    took = [frame.captured_ns - frame.pts_ns for frame in before + after]
    assert max(took) - min(took) < SECOND  # the gate's deadline
    assert rising(before + after)


def test_what_a_connection_begins_with_is_not_new(
    rtsp_server: RtspServer, live: Callable[..., Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(self: Live) -> av.container.InputContainer:
        container = open_live(self)
        threading.Event().wait(2)  # pictures pile up, as in a server that keeps the last ones for who comes
        return container

    monkeypatch.setattr(Live, "_open", slowly)
    frames = until(iter(live(rtsp_server.address())), lambda frames: len(frames) == 60)
    took = [frame.captured_ns - frame.pts_ns for frame in frames]
    assert max(took) - min(took) < SECOND


def test_a_clip_over_rtsp_shows_its_pictures(tmp_path: Path, live: Callable[..., Capture], rings: Rings) -> None:
    with serving({"/clip": clip(film(tmp_path / "clip.mp4", frames=100))}) as server:
        answers = iter(live(server.address("/clip")))
        numbers = [number(rings.pixels(until(answers, bool)[0])) for _ in range(10)]
    assert numbers == sorted(set(numbers))


def test_a_login(live: Callable[..., Capture]) -> None:
    with serving({"/test": pattern()}, login="operator:S3cret") as server:
        assert until(iter(live(server.address(login="operator:S3cret"))), lambda frames: len(frames) == 3)
        sentence = refused(live(server.address(login="operator:Wr0ng")))
    assert "refuses the user name or the password" in sentence
    assert "operator:***@" in sentence
    assert "Wr0ng" not in sentence


def test_a_path_that_the_server_does_not_have(rtsp_server: RtspServer, live: Callable[..., Capture]) -> None:
    assert "it has no stream of that name" in refused(live(rtsp_server.address("/nothing")))


def test_a_dead_address(live: Callable[..., Capture], capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sentence = refused(live(f"rtsp://me:S3cret@127.0.0.1:{closed.getsockname()[1]}/x"))
    assert "nothing listens there" in sentence
    assert "S3cret" not in sentence + "".join(capfd.readouterr())


def test_an_address_that_never_answers(live: Callable[..., Capture]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        capture = live(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x")
        assert "no answer within 5 s" in refused(capture)


def test_a_camera_that_is_not_there(live: Callable[..., Capture]) -> None:
    assert "no such camera" in refused(live("99"))


def test_a_restart_may_find_the_camera_gone(live: Callable[..., Capture]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        capture = live(f"rtsp://127.0.0.1:{closed.getsockname()[1]}/x", after=Mark(7, 10, 0, 0))
        assert not until(iter(capture), lambda _: capture.state == "reconnecting")


def test_a_restart_goes_on_counting(rtsp_server: RtspServer, live: Callable[..., Capture]) -> None:
    mark = Mark(seq=1000, pts_ns=7 * SECOND, key_seq=990, key_pts_ns=6 * SECOND)
    frames = until(iter(live(rtsp_server.address(), after=mark)), lambda frames: len(frames) == 5)
    assert frames[0].seq > 1000
    assert frames[0].pts_ns > 7 * SECOND
    assert rising(frames)


def test_closing_does_not_wait_for_the_network(live: Callable[..., Capture]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        capture = live(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x")
        answers = iter(capture)
        assert next(answers) is None
        capture.close()
        assert list(answers) == []


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A real HTTP server over `tmp_path`; its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.mp4"])
def test_a_recording_over_http_runs_at_its_own_speed_and_ends(
    name: str, tmp_path: Path, web: str, live: Callable[..., Capture], rings: Rings
) -> None:
    if name.endswith(".m3u8"):
        with av.open(str(tmp_path / name), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
            remux(film(tmp_path / "source.mp4", frames=60), out)
    else:
        film(tmp_path / name, frames=60, aspect=Fraction(4, 3))
    capture = live(f"{web}/{name}")
    frames = [(frame, number(rings.pixels(frame))) for frame in capture if frame is not None]
    assert capture.state == "ended"
    assert rising([frame for frame, _ in frames])
    assert {frame.width for frame, _ in frames} == {213 if name == "clip.mp4" else 160}
    assert len(frames) > 30  # all but those that a busy machine was too late for
    assert all(frame.seq == shown for frame, shown in frames)
    (first, _), (last, _) = frames[0], frames[-1]
    assert last.captured_ns - first.captured_ns >= last.pts_ns - first.pts_ns


def test_who_decides_by_the_pictures_takes_no_stream_that_comes_in_pieces(
    tmp_path: Path, web: str, live: Callable[..., Capture]
) -> None:
    playlist = tmp_path / "clip.m3u8"
    with av.open(str(playlist), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
        remux(film(tmp_path / "source.mp4", frames=60), out)
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST", ""))  # it goes on
    assert "give the camera's RTSP address" in refused(live(f"{web}/clip.m3u8", prompt=True))
    assert until(iter(live(f"{web}/clip.m3u8")), bool)


def remux(path: Path, out: av.container.OutputContainer) -> None:
    with av.open(str(path)) as container:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def test_a_recording_that_cannot_be_read_over_http_fails_the_run(
    tmp_path: Path, web: str, live: Callable[..., Capture]
) -> None:
    """Its index lies behind its pictures, and this server gives no ranges: it opens, and there is nothing in it."""
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        remux(GATE, out)
    assert "was opened but gave no picture" in refused(live(f"{web}/clip.mp4"))


def test_a_recording_without_a_picture_fails_however_slowly_it_closes(
    tmp_path: Path, web: str, live: Callable[..., Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(film(tmp_path / "clip.mp4", frames=60, faststart=True).read_bytes())
    pictures = data.index(b"mdat") + 4
    data[pictures:] = bytes(len(data) - pictures)
    (tmp_path / "clip.mp4").write_bytes(data)
    capture = live(f"{web}/clip.mp4")
    monkeypatch.setattr(Live, "_open", lambda self: SlowToClose(open_live(self)))
    assert "was opened but gave no picture" in refused(capture)


open_live = Live._open


class SlowToClose:
    """A fake of the network's slowness: a real container that takes its time to close."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self.container = container

    def __enter__(self) -> av.container.InputContainer:
        return self.container

    def __exit__(self, *error: object) -> None:
        threading.Event().wait(0.3)
        self.container.close()


def test_a_playlist_cannot_read_local_files(tmp_path: Path, web: str, live: Callable[..., Capture]) -> None:
    secret = film(tmp_path / "secret.ts", frames=10)
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:0.4,", f"file://{secret}", "#EXT-X-ENDLIST")
    (tmp_path / "evil.m3u8").write_text("\n".join(lines))
    assert "no video" in refused(live(f"{web}/evil.m3u8"))
    (tmp_path / "good.m3u8").write_text("\n".join(lines).replace(f"file://{secret}", "secret.ts"))
    assert until(iter(live(f"{web}/good.m3u8")), bool)


def test_a_web_page_is_no_stream(tmp_path: Path, web: str, live: Callable[..., Capture]) -> None:
    (tmp_path / "page.html").write_text("<html>" + "hello " * 1000)
    assert "no video that can be read" in refused(live(f"{web}/page.html"))
    assert "it has no stream of that name" in refused(live(f"{web}/missing.m3u8?token=S3cret"))


def test_times_keep_rising_over_losses_and_jumps() -> None:
    clock = LiveClock(None)
    base = av.time_base
    ms = [
        (0, False),
        (40, False),
        (80, False),
        (0, True),
        (40, False),
        (-5000, False),
        (900_000, False),
        (900_040, False),
    ]
    stamps = []
    for pts, lost in ms:
        if lost:
            clock.reconnect()
        stamps.append(clock.stamp(pts * base // 1000, Fraction(1, base), time.monotonic_ns()))
    stamps.append(clock.stamp(None, None, time.monotonic_ns()))
    assert stamps[:3] == [0, SECOND // 25, 2 * SECOND // 25]
    assert all(a < b for a, b in pairwise(stamps))
    assert stamps[-1] < JUMP_NS
    assert stamps[7] - stamps[6] == SECOND // 25


def lateness(sent: Iterator[tuple[int | None, int]] | list[tuple[int | None, int]]) -> list[int]:
    """How late pictures are, ms, of which each has a pts and a time of arrival in ms."""
    clock, late = LiveClock(None), Lateness()
    return [
        round(late(clock.stamp(pts, Fraction(1, 1000), SECOND // 1000 * at), SECOND // 1000 * at) / 1e6)
        for pts, at in sent
    ]


@pytest.mark.parametrize("first", [99, 98, 0], ids=["the last time", "one before", "from 0 again"])
def test_what_was_held_back_stays_late_behind_a_time_that_tells_nothing(first: int) -> None:
    burst = [(40 * (first + n), 8460 + 5 * n) for n in range(10)]
    assert min(lateness(STEADY + burst)[100:]) > 3000


STEADY = [(40 * n, 500 + 40 * n) for n in range(100)]


def test_a_picture_is_as_late_as_it_comes_after_the_others() -> None:
    assert not any(lateness(STEADY))
    burst = [(4000 + 40 * n, 8500 + 5 * n) for n in range(114)]  # 4 s of nothing, and then at once what was held back
    late = lateness(STEADY + burst)[100:]
    assert late == [pytest.approx(4000 - 35 * n, abs=20) for n in range(114)]  # 20: what may be forgotten in 8 s
    jitter = [(40 * n, 500 + 40 * n + n % 3 * 10) for n in range(100)]
    assert lateness(jitter) == [n % 3 * 10 for n in range(100)]


@pytest.mark.parametrize("rate", [0.999, 1.001])
def test_a_clock_that_is_off_makes_nothing_late(rate: float) -> None:
    day = [(round(rate * at), at) for at in range(0, 24 * 3600_000, 200)]
    assert max(lateness(day)) <= 2


@pytest.mark.parametrize(
    "times",
    [
        [None] * 100,
        [7] * 100,
        [40 * (n % 50) for n in range(100)],
        [40 * n + (5000 if n == 50 else 0) for n in range(100)],
        [40 * n + (3000 if n >= 50 else 0) for n in range(100)],
    ],
    ids=["none", "constant", "from 0 again", "one ahead", "all ahead from there on"],
)
def test_times_that_tell_nothing_make_nothing_late(times: list[int | None]) -> None:
    assert max(lateness([(pts, 500 + 40 * n) for n, pts in enumerate(times)])) <= 1


def test_mjpeg_over_http_is_not_late_by_the_times_that_ffmpeg_makes_up(live: Callable[..., Capture]) -> None:
    pause_s = 0.1
    jpeg = cv2.imencode(".jpg", np.zeros((96, 160, 3), np.uint8))[1].tobytes()

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            with suppress(OSError):
                while not closing_down.wait(pause_s):
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    closing_down = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        answers = iter(live(f"http://127.0.0.1:{server.server_port}/"))
        first = until(answers, lambda frames: bool(frames) and frames[-1].seq >= 5)[-1]
        last = until(answers, lambda frames: bool(frames) and frames[-1].seq >= first.seq + 15)[-1]
        closing_down.set()
        server.shutdown()
        thread.join()
    assert last.captured_ns - first.captured_ns > 0.7 * pause_s * SECOND * (last.seq - first.seq)
    assert last.pts_ns - first.pts_ns == (last.seq - first.seq) * SECOND // 25


def test_a_backlog_is_dropped_up_to_a_key_frame_that_came_in_time() -> None:
    backlog = Backlog()
    now = time.monotonic()

    def read(waiting_s: float, decoding_s: float, key: bool = False) -> bool:
        nonlocal now
        began, now = now + decoding_s, now + decoding_s + waiting_s
        return backlog.drops(began, now, key)

    assert not any(read(waiting_s=0.02, decoding_s=0.02) for _ in range(200))  # keeps up
    slow = [read(waiting_s=0.0001, decoding_s=0.05) for _ in range(60)]
    first = slow.index(True)
    assert first * 0.05 < 3
    assert all(slow[first:])
    assert read(waiting_s=0.0001, decoding_s=0, key=True)  # still in the queue
    assert read(waiting_s=0.03, decoding_s=0)  # caught up, but nothing to decode from
    assert not read(waiting_s=0.03, decoding_s=0, key=True)
    assert not read(waiting_s=0.03, decoding_s=0)


def settled(times: list[tuple[int, int]]) -> list[bool]:
    """Whether a connection has settled after each picture, of which each has a time of its own and of arrival in ms."""
    late, found = Lateness(), []
    for pts, at in times:
        late(pts * SECOND // 1000, at * SECOND // 1000)
        found.append(late.settled)
    return found


@pytest.mark.parametrize("packet_ms", [4, 20, 30])
def test_what_comes_over_a_slow_link_at_first_is_shown_once_it_is_new(packet_ms: int) -> None:
    """A server hands out its last 4 s as fast as the link takes them: all are late by the shortest way to come."""
    times, at = [], 4000
    for n in range(600):
        at = max(at + packet_ms, 40 * n + 10)
        times.append((40 * n, at))
    shown = settled(times).index(True)
    pts, at = times[shown]
    assert at - pts <= 50
    assert times[shown - 15][1] - times[shown - 15][0] > 10  # no longer than it takes to see that


def test_a_camera_that_hands_out_nothing_old_has_settled_after_half_a_second() -> None:
    jitter = [(40 * n, 500 + 40 * n + n % 3 * 10) for n in range(100)]
    assert settled(STEADY).index(True) == settled(jitter).index(True) == 13


def test_a_camera_whose_times_run_ahead_settles_late() -> None:
    times = [(50 * n, 500 + 40 * n) for n in range(1000)]
    assert times[settled(times).index(True)][1] == 500 + 30_000


def test_a_connection_has_settled_once_packets_were_waited_for_or_none_was_in_a_second() -> None:
    for waits_s in ([0.0001] * 10 + [0.06], [0.004] * 10 + [0.02], [0.0001] * 200):
        backlog, now = Backlog(), time.monotonic()
        settled = []
        for wait_s in waits_s:
            backlog.drops(now, now + wait_s, False)
            now += wait_s + 0.01
            settled.append(backlog.settled)
        assert not any(settled[:10])
        assert settled[-1]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://10.0.0.9/live", "rtsp://10.0.0.9/live"),
        ("rtsp://admin:pa55@10.0.0.9:554/live", "rtsp://admin:***@10.0.0.9:554/live"),
        ("rtsp://admin:p@ss@cam/live", "rtsp://admin:***@cam/live"),
        ("rtsp://admin:p/ss@cam/live", "rtsp://admin:***@cam/live"),
        ("rtsp://t0ken@cam/live", "rtsp://***@cam/live"),
        ("http://cam/mjpg?user=a&pwd=b", "http://cam/mjpg?user=***&pwd=***"),
        ("http://cam/mjpg?s3cret", "http://cam/mjpg?***"),
        ("clips/a@b.mp4", "clips/a@b.mp4"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_sources_are_told_apart(tmp_path: Path) -> None:
    gate, other = film(tmp_path / "The gate!.mp4", frames=2), tmp_path / "b"
    other.mkdir()
    again = film(other / "The gate!.mkv", frames=2)
    sources = parse_sources(["0", str(gate), "rtsp://cam/live", str(again), "/dev/video3"])
    assert [source.name for source in sources] == ["cam0", "The-gate", "cam2", "The-gate-2", "cam4"]
    assert [source.live for source in sources] == [True, False, True, False, True]
    assert [source.address for source in sources][:2] == ["0", str(gate)]


@pytest.mark.parametrize("address", ["ftp://u:S3cret@host/clip.mp4", "rtsp://", "file:///etc/passwd"])
def test_addresses_that_nothing_reads(address: str) -> None:
    with pytest.raises(Usage, match="a source is") as error:
        is_live(address)
    assert "S3cret" not in str(error.value)
