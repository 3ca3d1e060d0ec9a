"""A camera over RTSP that burns into each picture when it was made. Run by the system's Python, which has the bindings:

python3 camera_server.py CLIP WIDTH HEIGHT FPS

It shows the clip over and over to all clients alike, coded as it goes. Prints the port that it listens at, and then the
code of each picture: its time on this host's monotonic clock, ms.
"""

from __future__ import annotations

import sys
import threading
import time

import gi
from timecode import BITS, stamp

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer

CLIP = (
    "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=I420"
    " ! appsink name=clip sync=false max-buffers=2"
)
CODED = (
    "( appsrc name=made is-live=true do-timestamp=true format=time block=true max-buffers=1"
    " caps=video/x-raw,format=I420,width={},height={},framerate={}/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={}"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def main() -> None:
    """Serve until killed."""
    clip, width, height, fps = sys.argv[1], *map(int, sys.argv[2:])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(CODED.format(width, height, fps, fps))
    factory.set_shared(True)

    def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
        made = media.get_element().get_by_name("made")
        threading.Thread(target=film, args=(made, clip, width, height, fps), daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/camera", factory)
    if not server.attach(None):
        sys.exit("cannot listen")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def film(made: GstApp.AppSrc, clip: str, width: int, height: int, fps: int) -> None:
    """Make pictures, each when it is due, until nobody wants them."""
    player = Gst.parse_launch(CLIP.format(clip))
    shown = player.get_by_name("clip")
    player.set_state(Gst.State.PLAYING)
    due = time.monotonic()
    while True:
        sample = shown.emit("pull-sample")
        if sample is None:  # from the beginning
            player.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH, 0)
            continue
        buffer = sample.get_buffer()
        picture = bytearray(buffer.extract_dup(0, buffer.get_size()))
        due = max(due + 1 / fps, time.monotonic() - 1 / fps)
        time.sleep(max(0.0, due - time.monotonic()))
        code = time.monotonic_ns() // 1_000_000 % (1 << BITS)
        stamp(picture, width, height, code)
        if made.emit("push-buffer", Gst.Buffer.new_wrapped(bytes(picture))) != Gst.FlowReturn.OK:
            player.set_state(Gst.State.NULL)
            return
        print(code, flush=True)


if __name__ == "__main__":
    main()
