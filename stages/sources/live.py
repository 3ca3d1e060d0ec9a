"""A camera or a stream: always its newest picture, and back again whenever it was lost.

The one reader with a thread: a name look-up, a connection or a read may block for seconds, in which its process still
has to hear that it is to stop; and while the newest picture is written into the ring the next one is decoded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import av
from av import FFmpegError
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Failed
from pipeline.frames import Mark
from stages.sources.address import device, masked
from stages.sources.clock import Backlog, Lateness, LiveClock
from stages.sources.media import TIMEOUT_S, reason, video_stream
from stages.sources.packets import Packets
from stages.sources.picture import Picture, State, pixel_aspect

WAIT_S = 0.05  # how long `__iter__` waits for a picture before it says that there is none
RETRY_S = (0.5, 10.0)  # first and longest wait before the next attempt; it doubles
CONNECT_S = 4 * TIMEOUT_S  # a name look-up, which cannot be interrupted, on top of opening and finding the streams
PICTURE_S = 60.0  # until the first picture: cameras may be half a minute from one key frame to the next

# Not fflags=nobuffer: it throws away what was read to find the streams, so a camera with a key frame each 10 s shows
# its first picture 10 s later; and it saves nothing, as what waits is decoded at once and only the newest is shown.
_RTSP = {"rtsp_transport": "tcp", "allowed_media_types": "video", "analyzeduration": "500000", "timeout": "5000000"}
_HTTP = {"analyzeduration": "1000000", "timeout": "5000000"}
_NO_TIMESTAMPS = 128  # AVFMT_NOTIMESTAMPS, avformat.h
# What an address, and whatever a server or a playlist sends on from there, may be read with: never a local file.
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp,http,httpproxy",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,https,httpproxy",
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "https": "https,httpproxy,tcp,tls,crypto",
}


class Live:
    """Pictures as they come. Only the first connection of a run may fail; later ones are tried again for ever."""

    def __init__(
        self,
        address: str,
        options: Mapping[str, str],
        threads: int,
        after: Mark | None,
        packets: Packets | None = None,
        *,
        prompt: bool = False,
    ) -> None:
        """`prompt`: Failed for a stream whose pictures are some seconds old by the way that it is sent."""
        self.state: State = "connecting"
        self._prompt = prompt
        self._address = address
        self._options = options
        self._threads = threads
        self._packets = packets
        self._answered = after is not None  # opened in this run
        self._connected = after is not None and after.seq >= 0  # and with a picture
        self._seq = after.seq if after else -1
        self._clock = LiveClock(after.pts_ns if after and after.key_seq >= 0 else None)
        self._lateness: Lateness | None = None
        self._backlog: Backlog | None = None
        self._key = (0, 0)
        self._newest: Picture | None = None
        self._fresh = threading.Condition()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __iter__(self) -> Iterator[Picture | None]:
        self._thread.start()
        began = time.monotonic()
        while not self._stop.is_set():
            with self._fresh:
                ended, error = self.state == "ended", self._error  # first: no picture comes after these
                if self._newest is None and not ended:
                    self._fresh.wait(WAIT_S)
                picture, self._newest = self._newest, None
            if picture is None and error is not None:
                raise error
            if picture is None and ended:
                return
            waited = time.monotonic() - began
            if not self._answered and waited > CONNECT_S:
                raise Failed(f"cannot open {masked(self._address)}: no answer within {CONNECT_S:.0f} s: check the host")
            if not self._connected and waited > PICTURE_S:
                raise self._pictureless()
            yield picture

    def close(self) -> None:
        """Stop. A read that still blocks is left to end by itself: its thread does not keep the process alive."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # noqa: BLE001  raised where the pictures are taken, which is where it is seen
            self._error = error

    def _watch(self) -> None:
        """Connect, read, and when it is lost connect again, until it ends or is stopped."""
        wait_s = RETRY_S[0]
        while not self._stop.is_set():
            before, began = self._seq, time.monotonic()
            try:
                ended = self._read()
                if not (self._connected or self._stop.is_set()):
                    raise self._pictureless()
                if ended:
                    return
            except FFmpegError as error:
                if not self._answered:
                    raise Failed(
                        f"cannot open {masked(self._address)}: {reason(error, time.monotonic() - began)}"
                    ) from None
                if not self._connected:
                    raise self._pictureless() from None
            except Failed:
                if not self._connected:
                    raise
            if self._seq > before:
                wait_s = RETRY_S[0]
            self.state = "reconnecting"
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, RETRY_S[1])

    def _pictureless(self) -> Failed:
        return Failed(
            f"{masked(self._address)} was opened but gave no picture: try another player; "
            "a file on a web server needs its index in front (ffmpeg -movflags faststart), or ranges that are served"
        )

    def _read(self) -> bool:
        """One connection, from opening to its loss. Returns whether it was a recording that has come to its end."""
        with self._open() as container:
            stream = self._select(container)
            ended = False
            try:
                ended = self._follow(container, stream)
            finally:  # before closing, which may take as long as a read
                self.state = "ended" if ended and self._connected else "reconnecting"
        return ended

    def _follow(self, container: InputContainer, stream: VideoStream) -> bool:
        paced = _comes_in_pieces(container)
        if self._prompt and paced and container.duration is None:
            raise Failed(
                f"{masked(self._address)} comes in pieces, each some seconds old before it is sent, and nothing tells "
                "how old: give the camera's RTSP address"
            )
        self._clock.reconnect()
        self._backlog = None if paced else Backlog()
        self._lateness = Lateness() if not paced and self._tells_times(container) else None
        packets = container.demux()  # the sound too: it must not hide that the picture has stopped
        last = began = time.monotonic()
        while not self._stop.is_set():
            packet = next(packets, None)
            now = time.monotonic()
            if packet is None:
                return paced and container.duration is not None
            if now - began >= TIMEOUT_S:
                return False  # what a read that timed out still hands over was left in the parser
            if packet.stream_index == stream.index:
                if self._backlog is not None and self._backlog.drops(began, now, packet.is_keyframe):
                    self._seq += 1
                else:
                    self._decode(packet, stream, paced)
                if self._packets:
                    self._packets.add(packet, self._clock.offset_ns)
                last = now
            elif now - last > TIMEOUT_S:
                return False
            began = time.monotonic()
        return False

    def _open(self) -> InputContainer:
        camera = device(self._address)
        if camera is not None:
            return av.open(camera, format="v4l2", options=dict(self._options), timeout=TIMEOUT_S)
        scheme = self._address.partition(":")[0].lower()
        defaults = _RTSP if scheme.startswith("rtsp") else _HTTP
        options = {**defaults, **self._options, "protocol_whitelist": _PROTOCOLS[scheme]}
        return av.open(self._address, options=options, timeout=TIMEOUT_S, metadata_errors="replace")

    def _select(self, container: InputContainer) -> VideoStream:
        stream = video_stream(container, masked(self._address), self._threads, "SLICE")  # frame threads add delay
        size = self._options.get("video_size")
        if size is not None and not self._connected and size != f"{stream.width}x{stream.height}":
            raise Failed(
                f"the camera {self._address} gives {stream.width}x{stream.height}, not {size}: ask for a size it has"
            )
        self._answered = True
        if self._packets:
            self._packets.open(stream)
        return stream

    def _tells_times(self, container: InputContainer) -> bool:
        """Whether its times are the sender's: of MJPEG over HTTP ffmpeg makes them up, 25 a second. USB delays none."""
        return device(self._address) is None and not container.format.flags & _NO_TIMESTAMPS

    def _decode(self, packet: Packet[Stream], stream: VideoStream, paced: bool) -> None:
        try:
            frames = packet.decode()
        except FFmpegError:
            return  # damaged on the way; the next key frame heals it
        for frame in frames:
            if isinstance(frame, VideoFrame) and not frame.is_corrupt:
                self._show(frame, stream, paced)

    def _show(self, frame: VideoFrame, stream: VideoStream, paced: bool) -> None:
        now = time.monotonic_ns()
        pts_ns = self._clock.stamp(frame.pts, stream.time_base, now)
        late_ns = self._lateness(pts_ns, now) if self._lateness else 0
        if paced:
            self._stop.wait(self._clock.until_due(pts_ns))
        self._seq += 1
        if frame.key_frame or self._seq == 0:
            self._key = self._seq, pts_ns
        if self._lateness and self._backlog and not (self._backlog.settled and self._lateness.settled):
            return  # nobody knows yet how late it is
        self._connected = True
        captured_ns, aspect = time.monotonic_ns() - late_ns, pixel_aspect(stream)
        picture = Picture(self._seq, captured_ns, pts_ns, *self._key, frame, aspect=aspect)
        with self._fresh:
            self._newest = picture
            self.state = "running"
            self._fresh.notify()


def _comes_in_pieces(container: InputContainer) -> bool:
    """Whether the stream comes faster than it is to be shown: the segments of HLS, or a whole file over HTTP."""
    return container.format.name == "hls" or (container.duration is not None and container.format.name != "rtsp")
