"""A real RTSP server as a fixture: it can be stopped and started again at the same port."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings
# A thread is a slice, and the payloader repeats the parameters before each slice of a key frame, not before each such
# frame: to FFmpeg those are two frames with half a picture each, and the upper half is lost for good.
X264 = "x264enc threads=1 tune=zerolatency speed-preset=ultrafast key-int-max=15"
H264 = f"{X264} ! rtph264pay name=pay0 pt=96 config-interval=-1"


def pattern(width: int = 320, height: int = 240) -> str:
    """A live test picture, 30 frames a second."""
    return f"videotestsrc is-live=true ! video/x-raw,width={width},height={height},framerate=30/1 ! {H264}"


def coded(path: Path) -> str:
    """An MPEG-TS of H.264 at its own speed, as it is coded: in one slice a picture."""
    return f'filesrc location="{path}" ! tsdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1'


def clip(path: Path) -> str:
    """A clip at its own speed, from its beginning for each who connects."""
    return f'filesrc location="{path}" ! decodebin ! videoconvert ! video/x-raw,format=I420 ! {H264}'


@functools.cache
def missing() -> str:
    """What is not here for a server, as a sentence; "" where all is."""
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
        "Gst.init(None); assert Gst.ElementFactory.find('x264enc'), 'x264enc'"
    )
    try:
        done = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return f"needs {PYTHON}, which is not here"
    if done.returncode == 0:
        return ""
    why = done.stderr.strip().splitlines()[-1]
    plugins = " ".join(f"gstreamer1.0-{part}" for part in ("plugins-good", "plugins-bad", "plugins-ugly", "libav"))
    return f"needs gst-rtsp-server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 {plugins} ({why})"


class RtspServer:
    """gst-rtsp-server in a process of its own. `mounts` maps a path ("/test") to a GStreamer launch line."""

    def __init__(self, mounts: Mapping[str, str], login: str = "", shared: bool = False) -> None:
        self._mounts = mounts
        self._options = [*(["--login", login] if login else []), *(["--shared"] if shared else [])]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Listen; the port is the same after a stop."""
        script = Path(__file__).with_name("rtsp_server.py")
        mounts = [f"{path}={launch}" for path, launch in self._mounts.items()]
        self._process = subprocess.Popen(
            [PYTHON, "-B", str(script), str(self.port), *self._options, *mounts],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the RTSP server did not start"
        self.port = int(line)

    def freeze(self) -> None:
        """Keep the connections and say nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def address(self, path: str = "/test", login: str = "") -> str:
        """What a client opens."""
        return f"rtsp://{login + '@' if login else ''}127.0.0.1:{self.port}{path}"


@contextmanager
def serving(mounts: Mapping[str, str], login: str = "", shared: bool = False) -> Iterator[RtspServer]:
    """A running server; skips the test where the machine has none."""
    if missing():
        pytest.skip(missing())
    server = RtspServer(mounts, login, shared)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Network:
    """A network between a server and who connects to `address`: it can hold back what comes, and lose none of it."""

    def __init__(self, address: str) -> None:
        host, _, path = address.removeprefix("rtsp://").partition("/")
        self._server = host.rpartition(":")[::2]
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.address = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/{path}"
        threading.Thread(target=self._connect, daemon=True).start()

    def hold(self) -> None:
        """Deliver nothing from now on, and keep what the server sends."""
        self._flows.clear()

    def flow(self) -> None:
        """Deliver what was held back, and what comes."""
        self._flows.set()

    def close(self) -> None:
        """Cut all connections."""
        self._flows.set()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _connect(self) -> None:
        with suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                theirs = socket.create_connection(self._server)
                self._ends += (ours, theirs)
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._flows.wait()
                target.sendall(data)


@pytest.fixture
def rtsp_server() -> Iterator[RtspServer]:
    """A running server with a live test picture at /test. In a test module: `rtsp_server = rtsp.rtsp_server`."""
    with serving({"/test": pattern()}) as server:
        yield server
