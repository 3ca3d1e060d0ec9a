"""The page as an ending: `Show` hears what the gate makes of each frame, and serves it to browsers."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

import msgspec
import uvicorn
from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.errors import Failed, Usage
from pipeline.files import replace_file
from pipeline.frames import Frames, Overwritten
from pipeline.home import home, keys
from pipeline.types import Judged
from stages.detect import DetectConfig
from stages.draw import Draw, DrawConfig
from stages.gallery.database import Reader
from stages.gallery.enrol import EnrolConfig
from stages.gallery.store import Store
from stages.match import MatchConfig
from stages.nms import NmsConfig
from stages.show.web.api import Api
from stages.show.web.app import application
from stages.show.web.data import Data
from stages.show.web.guard import Way
from stages.show.web.listening import Http, Listening
from stages.show.web.live import Live
from stages.show.web.users import Users

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")
STOP_S = 2.0
LOOK_S = 0.25
WORD = 1024  # bytes of what a browser says to a socket: it answers a picture with nothing at all
PAGE = "page.json"

log = logging.getLogger(__name__)
SomePath = Annotated[str, Meta(pattern=PATH, min_length=1)]


class ShowConfig(Config, frozen=True):
    """`[show]`: where the page is."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765  # 0: any that is free
    tls_cert: SomePath | None = None
    tls_key: SomePath | None = None
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks of those that do TLS for us
    # Where browsers find it, like https://gate.example, for links; "": by what it knows of itself.
    address: Annotated[str, Meta(pattern=r"^(https?://[^/?#\s]+/?)?$")] = ""
    warnings: Annotated[tuple[str, ...], DERIVED] = ()  # what a person should know before relying on this gate
    # Out of the other tables: the doors, and for how long a badge counts that is shown; how people are enrolled.
    doors: Annotated[tuple[str, ...], DERIVED] = ()
    cameras: Annotated[dict[str, tuple[str, ...]], DERIVED] = msgspec.field(default_factory=dict)  # of a door; (): all
    groups: Annotated[tuple[str, ...], DERIVED] = ()  # with any, who is in none of them may not come in
    badge_seconds: Annotated[float, DERIVED] = 15.0
    detect: Annotated[DetectConfig, DERIVED] = DetectConfig()
    nms: Annotated[NmsConfig, DERIVED] = NmsConfig()
    match: Annotated[MatchConfig, DERIVED] = MatchConfig()

    def check(self) -> None:
        """Raises Usage where passwords would go over a network in the clear."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise Usage("show.tls_cert and show.tls_key go together: set both")
        if self.host not in LOOPBACK and not self.tls_cert and not self.trusted_proxies:
            raise Usage(
                f"the page would be at {self.host} without TLS: set show.tls_cert and show.tls_key, "
                "or show.trusted_proxies to the addresses of the proxies that do it"
            )
        self.proxies()

    def way(self) -> Way:
        """How browsers come to the page."""
        if self.tls_cert:
            return "direct"
        return "proxied" if self.trusted_proxies else "local"

    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of the trusted proxies. Raises Usage for what is none, or is everybody's."""
        found = []
        for text in self.trusted_proxies:
            try:
                network = ip_network(text, strict=False)
            except ValueError:
                network = None
            if network is None or not network.prefixlen:
                raise Usage(
                    f"show.trusted_proxies has {text!r}: "
                    "name the addresses or networks of your proxies, like 10.0.0.1 or 10.0.0.0/28"
                )
            found.append(network)
        return found


class Show:
    """Judged -> pages. The server has a thread of its own; a slow browser delays nobody."""

    def __init__(self, config: ShowConfig, frames: Frames) -> None:
        config.check()
        self._draw = Draw(DrawConfig(), frames)
        self._live = Live(config.warnings, config.groups)
        self._store, self._generation = Store(home(), keys()), 0
        self._reader: Reader | None = None  # until there is a gallery
        self._looked = -math.inf
        users = Users(home())
        enrolment = EnrolConfig(detect=config.detect, nms=config.nms, match=config.match)
        self._data = Data(
            enrolment, {door: config.cameras.get(door, ()) for door in config.doors}, config.badge_seconds
        )
        api = Api(users, self._data, self._live, secure=bool(config.tls_cert or config.trusted_proxies))
        self._news = api.streams.news
        listening = Listening(config.host, config.port, config.proxies())
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(api, config.way()),
                http=Http,
                log_config=None,
                access_log=False,
                ssl_certfile=config.tls_cert,
                ssl_keyfile=config.tls_key,
                proxy_headers=bool(config.trusted_proxies),
                forwarded_allow_ips=[str(network) for network in config.proxies()],
                timeout_graceful_shutdown=1,
                ws_max_size=WORD,
                ws_per_message_deflate=False,  # a JPEG gets no smaller
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        _announce(config, listening.getsockname()[1], users.setup())

    def __call__(self, judged: Judged) -> None:
        picture = None
        if self._live.is_watched(judged.frame.source):
            try:
                picture = self._draw(judged).picture
            except Overwritten:  # late: the next frame is as good
                return
        self._live.put(judged, picture)

    def tick(self, now: float) -> None:
        """Let go of the faces and events in memory when the gallery has changed; `forget` waits for that."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        generation = self._store.generation()
        if generation == self._generation:
            return
        if self._reader is None:
            self._reader = self._store.reader("the page")
        self._live.forget()
        self._news.forget(generation)
        self._reader.hold(generation)
        self._generation = generation

    def close(self) -> None:
        """Let go of the browsers and the data."""
        self._server.should_exit = True
        self._thread.join(STOP_S)
        if self._reader:
            self._reader.close()
        self._data.close()


class Address(msgspec.Struct, frozen=True):
    """HOME/page.json: where the page is, and, until the first admin has set a password, the link for that."""

    address: str
    setup: str  # "" once there is an account
    at_ns: int
    proxied: bool = False  # the address is not what browsers come by: that is the proxy's, which is not known


def _announce(config: ShowConfig, port: int, secret: str | None) -> None:
    """Leave word for the command, which prints it."""
    address = f"{config.address.rstrip('/')}/" if config.address else _own(config, port)
    proxied = not config.address and config.way() == "proxied"
    told = Address(address, link(address, secret) if secret else "", time.time_ns(), proxied)
    try:
        replace_file(home() / PAGE, msgspec.json.encode(told), synced=False)
    except OSError as error:
        raise Failed(f"cannot write {home() / PAGE}: {error.strerror}") from error


def _own(config: ShowConfig, port: int) -> str:
    """The address as far as the gate knows it: where it listens everywhere, by this machine's name."""
    host = socket.gethostname() if config.host in EVERYWHERE else config.host
    return f"{'https' if config.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"


def link(address: str, secret: str) -> str:
    """Where a password is set with a secret."""
    return f"{address}#setup={secret}"


def announced() -> Address | None:
    """What the page that started last has left; None where there is none yet."""
    path = home() / PAGE
    return msgspec.json.decode(path.read_bytes(), type=Address) if path.exists() else None


def sentences(found: Address) -> Sequence[str]:
    """What to print of it."""
    setup = [f"set the first password within a day, once: {found.setup}"] if found.setup else []
    return [f"the page: {found.address}", *setup, *proxy(found)]


def proxy(found: Address) -> list[str]:
    """What to say where browsers come by another address than is known."""
    sentence = "browsers come through your proxy: put its address in place of this one, or into show.address"
    return [sentence] if found.proxied else []
