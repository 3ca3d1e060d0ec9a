"""A real RTSP server, Debian's gst-rtsp-server. Run by the system's Python, which has its bindings:

python3 rtsp_server.py PORT [--login NAME:PASSWORD] [--shared] PATH=LAUNCH...

Prints the port it listens at (PORT may be 0) once it does.
"""

from __future__ import annotations

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--login")
    parser.add_argument("--shared", action="store_true", help="one stream for all clients, like a camera's")
    parser.add_argument("mounts", nargs="+")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    if arguments.login:
        protect(server, *arguments.login.split(":"))
    for mount in arguments.mounts:
        path, _, launch = mount.partition("=")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        factory.set_shared(arguments.shared)
        factory.set_stop_on_disconnect(not arguments.shared)
        if arguments.shared:
            factory.connect("media-configure", forbid_seeking)
        if arguments.login:
            factory.add_role_from_structure(Gst.Structure.from_string(PERMIT)[0])
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        sys.exit(f"cannot listen at port {arguments.port}")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def forbid_seeking(_factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
    """As of a camera: each client that comes later asks for the beginning, and a file would be rewound for all."""
    pad = media.get_element().get_by_name("pay0").get_static_pad("src")
    pad.add_probe(Gst.PadProbeType.QUERY_UPSTREAM, answer)


def answer(_pad: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
    query = info.get_query()
    if query.type != Gst.QueryType.SEEKING:
        return Gst.PadProbeReturn.OK
    query.set_seeking(Gst.Format.TIME, False, 0, -1)
    return Gst.PadProbeReturn.HANDLED


PERMIT = "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"


def protect(server: GstRtspServer.RTSPServer, name: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
    server.set_auth(auth)


if __name__ == "__main__":
    main()
