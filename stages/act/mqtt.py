"""MQTT 5 or 3.1.1 by paho: decisions as JSON, doors as topics, badges in, and Home Assistant finds it all by itself.

Topics below `framewire/NAME`: `availability` (online, offline; retained, also as the last will), `event` (a decision
as JSON, QoS 1: it counts once the broker has acknowledged it), `head` (of a row of the log that is no decision),
`door/DOOR` (open, QoS 0; a relay that listens closes by itself after the seconds in the payload, and opens nothing
after `until`, in seconds since the epoch, as a network may be slow), `badge/DOOR` (in: the
number of a badge that was shown).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import paho.mqtt.client as paho
from msgspec import Meta
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from pipeline.errors import Usage
from stages.act.output import OutputConfig, OutputFailed, Seconds, SomePath, secret
from stages.events.records import Command, Head, Notice

OUTCOMES = ("opened", "refused", "held", "alarm")

log = logging.getLogger(__name__)


class MqttConfig(OutputConfig, frozen=True, tag="mqtt"):
    """A broker."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    tls: bool = False
    user: str = ""
    password_file: SomePath | None = None  # readable by its owner alone
    timeout_seconds: Seconds = 5.0
    discovery: str = "homeassistant"  # the prefix under which Home Assistant looks; "": none


class Mqtt:
    """One connection, kept by paho's own thread, which connects again by itself."""

    def __init__(self, config: MqttConfig, on_badge: Callable[[str, str], None]) -> None:
        """`on_badge` is called with a door and a badge's number, in paho's thread."""
        self._config, self._on_badge = config, on_badge
        if config.password_file and not config.user:
            raise Usage(f"output {config.name!r} has a password_file and no user: set both, or neither")
        self._root = f"framewire/{config.name}"
        self._password = secret(config.password_file, "password of the broker") if config.password_file else b""
        self._replacing = threading.Lock()
        self._client = self._begun()

    def _begun(self) -> paho.Client:
        config = self._config
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"framewire-{config.name}")
        if config.user:
            client.username_pw_set(config.user, self._password.decode())
        if config.tls:
            client.tls_set()
        client.will_set(f"{self._root}/availability", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._connected
        client.on_message = self._heard
        client.connect_async(config.host, config.port, keepalive=15)
        client.loop_start()
        return client

    def open(self, command: Command) -> None:
        """Publish that the door is to open: not retained, and with QoS 0, as paho would send others again later."""
        what = {"open": command.door, "seconds": command.seconds, "event": command.seq}
        what |= {"key": command.id, "until": command.until_ns / 1e9}
        self._publish(f"door/{command.door}", what, qos=0)

    def tell(self, notice: Notice) -> None:
        """Publish the decision."""
        self._publish("event", {**msgspec.to_builtins(notice), "event_type": notice.outcome}, qos=1)

    def witness(self, head: Head) -> None:
        """Publish the head."""
        self._publish("head", msgspec.to_builtins(head), qos=1)

    def close(self) -> None:
        """Say that it is gone, and go."""
        if self._client.is_connected():
            _through(self._client.publish(f"{self._root}/availability", "offline", qos=1, retain=True), 1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, what: dict[str, Any], qos: int) -> None:
        away = OutputFailed(f"the broker {self._config.host}:{self._config.port} cannot be reached")
        client = self._client
        if not client.is_connected():  # paho would keep it, and send it who knows when
            raise away
        said = client.publish(f"{self._root}/{topic}", msgspec.json.encode(what), qos)
        if _through(said, self._config.timeout_seconds):
            return
        self._replace(client)
        if said.rc in (MQTTErrorCode.MQTT_ERR_NO_CONN, MQTTErrorCode.MQTT_ERR_CONN_LOST):
            raise away
        raise OutputFailed(f"the broker {self._config.host} does not acknowledge")

    def _replace(self, client: paho.Client) -> None:
        """Go on with another: this one would send what was given up again, behind others that are newer.

        A door and a notice may give up together, on one client, and two of one id would throw each other out for ever.
        """
        with self._replacing:
            if self._client is client:
                self._client = self._begun()
                client.disconnect()
                client.loop_stop()

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses", extra={"reason": str(reason)})
            return
        client.subscribe(f"{self._root}/badge/+", qos=1)
        client.publish(f"{self._root}/availability", "online", qos=1, retain=True)
        if self._config.discovery:
            self._announce(client)

    def _announce(self, client: paho.Client) -> None:
        """Home Assistant's MQTT discovery: an event entity with the outcomes, in a device of this name."""
        id_ = f"framewire_{self._config.name}"
        about = {
            "name": "Decision",
            "unique_id": f"{id_}_event",
            "state_topic": f"{self._root}/event",
            "availability_topic": f"{self._root}/availability",
            "event_types": OUTCOMES,
            "device": {"identifiers": [id_], "name": self._config.name, "manufacturer": "framewire"},
        }
        topic = f"{self._config.discovery}/event/{id_}/config"
        client.publish(topic, msgspec.json.encode(about), qos=1, retain=True)

    def _heard(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.payload and not message.retain:
            self._on_badge(message.topic.rpartition("/")[2], message.payload.decode(errors="replace"))


def _through(said: paho.MQTTMessageInfo, seconds: float) -> bool:
    """Whether it was sent, and acknowledged where it has to be, in time; of a connection that is lost paho raises."""
    try:
        said.wait_for_publish(seconds)
        return said.is_published()
    except (RuntimeError, ValueError):
        return False
