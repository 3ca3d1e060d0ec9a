"""Outputs against the real other side: files, an HTTP server, a broker."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.errors import Failed, Usage
from pipeline.home import home
from stages.act.mqtt import Mqtt, MqttConfig
from stages.act.output import OutputFailed, secret
from stages.act.simulated import FileConfig, HeadsFile
from stages.act.webhook import Webhook, WebhookConfig
from stages.events.audit import read_heads
from stages.events.records import Command, Head, Notice

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
SECRET = b"correct horse battery staple"


def notice(seq: int = 1) -> Notice:
    head = Head(seq, f"{seq:064x}", "ab" * 64)
    return Notice(f"key-{seq}", seq, 5, "cam0", "front", "opened", "", "Ada", head)


COMMAND = Command("c0ffee", "front", 3, 2.5, 5_000_000_000)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come about in time"
        time.sleep(0.01)


def test_heads_are_written_to_a_file_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    heads = HeadsFile(FileConfig(name="x", path=str(path)))
    heads.tell(notice(1))
    heads.tell(notice(1))  # again, as after a crash
    with path.open("ab") as file:
        file.write(b'{"seq":2,"ha')  # and a line that one cut short
    heads.tell(notice(2))
    assert read_heads(path) == [notice(1).head, notice(2).head]
    with pytest.raises(OutputFailed, match="cannot be written"):
        HeadsFile(FileConfig(name="x", path=str(tmp_path / "no" / "folder"))).tell(notice())


@pytest.mark.parametrize("path", ["heads.jsonl", "clips/../heads.jsonl", "../link/heads.jsonl"])
def test_heads_inside_of_the_data_are_refused(places: Path, path: str) -> None:
    home().mkdir(parents=True)
    (home().parent / "link").symlink_to(home())
    with pytest.raises(Usage, match="may not lie inside of the data they vouch for"):
        HeadsFile(FileConfig(name="x", path=str(home() / path)))


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o400)
    return path


def test_a_secret_is_its_owners_alone(secret_file: Path, tmp_path: Path) -> None:
    assert secret(str(secret_file), "secret") == SECRET
    secret_file.chmod(0o440)
    with pytest.raises(Failed, match="chmod 400"):
        secret(str(secret_file), "secret")
    with pytest.raises(Failed, match="cannot read the secret"):
        secret(str(tmp_path / "nothing"), "secret")


class Hook:
    """A real HTTP server on a free port; answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append((self.path, dict(self.headers), body))
                status, headers = hook.answers.pop(0) if hook.answers else (204, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?door=1"


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_a_web_hook_is_signed_and_stamped(hook: Hook, secret_file: Path) -> None:
    web = Webhook(WebhookConfig(name="x", url=hook.url, secret_file=str(secret_file)))
    web.tell(notice())
    web.open(COMMAND)
    (path, headers, body), (_, _, second) = hook.requests
    assert path == "/hook?door=1"
    assert json.loads(body)["name"] == "Ada"
    assert headers["Idempotency-Key"] == "key-1"
    assert abs(int(headers["Framewire-Timestamp"]) - time.time()) < 60
    signed = headers["Framewire-Timestamp"].encode() + b"." + body
    assert headers["Framewire-Signature"] == hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert json.loads(second) == {"open": "front", "seconds": 2.5, "event": 3, "key": COMMAND.id, "until": 5.0}
    web.witness(notice(4).head)
    assert json.loads(hook.requests[-1][2])["head"]["seq"] == 4


def test_the_receiver_of_the_documentation_takes_what_is_sent_once(hook: Hook, secret_file: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "gate_config.md").read_text()
    receiver: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], receiver)
    web = Webhook(WebhookConfig(name="x", url=hook.url, secret_file=str(secret_file)))
    web.tell(notice())
    web.tell(notice())
    web.open(COMMAND)
    web.witness(notice(4).head)
    assert [receiver["receive"](SECRET, headers, body) for _, headers, body in hook.requests] == [204] * 4
    assert len(receiver["seen"]) == 3
    _, headers, body = hook.requests[0]
    late = {**headers, "Framewire-Timestamp": str(int(time.time()) - 3600)}
    signed = late["Framewire-Timestamp"].encode() + b"." + body
    late["Framewire-Signature"] = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    for wrong in ((SECRET, headers, body + b" "), (b"another", headers, body), (SECRET, late, body)):
        assert receiver["receive"](*wrong) == 401


def test_a_web_hook_that_fails_says_how(hook: Hook, secret_file: Path) -> None:
    web = Webhook(WebhookConfig(name="x", url=hook.url, secret_file=str(secret_file)))
    hook.answers = [(500, {}), (302, {"Location": hook.url})]
    for sentence in ("answers 500", "answers 302"):
        with pytest.raises(OutputFailed, match=sentence):
            web.tell(notice())
    assert len(hook.requests) == 2  # the redirect was not followed
    hook.server.shutdown()
    hook.server.server_close()
    with pytest.raises(OutputFailed, match="does not answer"):
        web.tell(notice())


def test_a_web_hook_that_is_silent_is_given_up(secret_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        web = Webhook(WebhookConfig(name="x", url=url, secret_file=str(secret_file), timeout_seconds=0.2))
        with pytest.raises(OutputFailed, match="does not answer"):
            web.tell(notice())


def test_a_web_hook_that_answers_without_end_is_not_waited_for(secret_file: Path) -> None:
    """A byte at a time: none of them is late."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        web = Webhook(WebhookConfig(name="x", url=url, secret_file=str(secret_file), timeout_seconds=2))

        def answer() -> None:
            """For five seconds each, or until it is given up."""
            for begins in (b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX-Long: "):
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    connection.sendall(begins)
                    for _ in range(100):
                        time.sleep(0.05)
                        connection.sendall(b"0")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(OutputFailed, match="does not answer in time"):
            web.tell(notice())
        web.tell(notice())  # what comes behind 200 is of no interest
        thread.join()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        *((url, "has to begin with https") for url in ("ftp://x/", "x", "http://", "http://user:password@x/")),
        *((f"http://{x}/", "no host and port that can be") for x in ("x:99999", "x:abc", "x:0", "a..b", "a b", "[::1")),
        ("http://x/t\u00fcr", "has to be ASCII"),
        ("http://x/?a b", "has to be ASCII"),
    ],
)
def test_addresses_that_are_none(url: str, sentence: str, secret_file: Path) -> None:
    with pytest.raises(Usage, match=sentence):
        Webhook(WebhookConfig(name="x", url=url, secret_file=str(secret_file)))


class Broker:
    """A real mosquitto on a port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


class Listener:
    """Somebody else who is connected to the broker."""

    def __init__(self, broker: Broker) -> None:
        self.heard: dict[str, list[bytes]] = {}
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = lambda _client, _data, message: self.heard.setdefault(message.topic, []).append(
            message.payload
        )
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert ready.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if not Path(MOSQUITTO).exists():
        pytest.skip("needs a broker: apt install mosquitto")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def delivered(mqtt: Mqtt, seq: int) -> bool:
    try:
        mqtt.tell(notice(seq))
    except OutputFailed:
        return False
    return True


def test_a_password_without_a_user_is_refused(secret_file: Path) -> None:
    with pytest.raises(Usage, match="has a password_file and no user"):
        Mqtt(MqttConfig(name="gate", host="127.0.0.1", password_file=str(secret_file)), lambda *badge: None)


def test_mqtt_tells_opens_hears_badges_and_is_found_by_home_assistant(broker: Broker) -> None:
    badges: list[tuple[str, str]] = []
    listener = Listener(broker)
    mqtt = Mqtt(MqttConfig(name="gate", host="127.0.0.1", port=broker.port), lambda *badge: badges.append(badge))
    until(lambda: delivered(mqtt, 1))
    mqtt.open(COMMAND)
    until(lambda: "framewire/gate/door/front" in listener.heard)
    assert json.loads(listener.heard["framewire/gate/event"][0])["name"] == "Ada"
    mqtt.witness(notice(4).head)
    until(lambda: "framewire/gate/head" in listener.heard)
    assert json.loads(listener.heard["framewire/gate/head"][0])["seq"] == 4
    ordered = json.loads(listener.heard["framewire/gate/door/front"][0])
    assert (ordered["seconds"], ordered["until"]) == (2.5, 5.0)
    assert listener.heard["framewire/gate/availability"] == [b"online"]
    found = json.loads(listener.heard["homeassistant/event/framewire_gate/config"][0])
    assert found["state_topic"] == "framewire/gate/event"
    assert "opened" in found["event_types"]
    listener.client.publish("framewire/gate/badge/front", b"4711", qos=1)
    until(lambda: badges)
    assert badges == [("front", "4711")]
    mqtt.close()
    until(lambda: listener.heard["framewire/gate/availability"] == [b"online", b"offline"])
    listener.close()


def test_a_badge_that_the_broker_retained_was_shown_who_knows_when(broker: Broker) -> None:
    badges: list[tuple[str, str]] = []
    listener = Listener(broker)
    listener.client.publish("framewire/gate/badge/front", b"of old", qos=1, retain=True).wait_for_publish(10)
    mqtt = Mqtt(MqttConfig(name="gate", host="127.0.0.1", port=broker.port), lambda *badge: badges.append(badge))

    def heard() -> object:
        listener.client.publish("framewire/gate/badge/front", b"of now", qos=1)
        return badges

    until(heard)
    assert set(badges) == {("front", "of now")}
    mqtt.close()
    listener.close()


def test_mqtt_without_a_broker_fails_and_comes_back_with_it(broker: Broker) -> None:
    mqtt = Mqtt(MqttConfig(name="gate", host="127.0.0.1", port=broker.port, timeout_seconds=1), lambda *_: None)
    until(lambda: delivered(mqtt, 1))
    broker.stop()
    until(lambda: not delivered(mqtt, 2))
    with pytest.raises(OutputFailed, match="cannot be reached"):
        mqtt.open(COMMAND)
    broker.start()
    listener = Listener(broker)
    until(lambda: delivered(mqtt, 3), 40)
    assert delivered(mqtt, 4)
    until(lambda: len(listener.heard.get("framewire/gate/event", ())) >= 2)
    told = [json.loads(told)["seq"] for told in listener.heard["framewire/gate/event"]]
    assert told == [3, 4], "what was given up comes after what is newer"
    assert "framewire/gate/door/front" not in listener.heard  # a door is not opened later
    listener.close()
    mqtt.close()


class Mute:
    """A broker as far as a client needs one to count as connected: it takes connections and reads nothing more."""

    def __init__(self) -> None:
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it listens: what it takes is little
        self.server.bind(("127.0.0.1", 0))
        self.server.listen()
        self.port = self.server.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                self.connections.append(connection)
                connection.recv(4096)
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        for end in (self.server, *self.connections):
            end.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    mute = Mute()
    yield mute
    mute.close()


def connected(mute: Mute) -> Mqtt:
    mqtt = Mqtt(MqttConfig(name="gate", host="127.0.0.1", port=mute.port), lambda *_: None)
    until(mqtt._client.is_connected)
    return mqtt


def test_a_connection_that_is_lost_with_a_door_on_the_way_is_a_failure(mute: Mute) -> None:
    mqtt = connected(mute)
    mqtt._client.publish("before", bytes(1 << 24))  # what the line is busy with
    publish = mqtt._client.publish

    def published_and_lost(*what: Any) -> Any:
        mqtt._client.publish = publish  # type: ignore[method-assign]
        said = publish(*what)
        mute.connections[0].close()
        return said

    mqtt._client.publish = published_and_lost  # type: ignore[method-assign,assignment]
    with pytest.raises(OutputFailed, match="cannot be reached"):
        mqtt.open(COMMAND)
    mqtt.close()


def test_two_who_give_up_together_go_on_with_one_client(mute: Mute) -> None:
    mqtt = Mqtt(MqttConfig(name="gate", host="127.0.0.1", port=mute.port, timeout_seconds=0.1), lambda *_: None)
    until(mqtt._client.is_connected)
    both, begun, publish, begin = threading.Barrier(2), list[Any](), mqtt._client.publish, mqtt._begun

    def published(*what: Any) -> Any:
        both.wait()
        return publish(*what)

    mqtt._client.publish = published  # type: ignore[method-assign,assignment]
    mqtt._begun = lambda: (begun.append(1), begin())[1]  # type: ignore[method-assign,func-returns-value]
    threads = [threading.Thread(target=delivered, args=(mqtt, seq)) for seq in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1
    mqtt.close()


def test_a_connection_that_is_lost_in_the_end_does_not_stop_it(mute: Mute) -> None:
    mqtt = connected(mute)
    publish = mqtt._client.publish

    def lost_and_published(*what: Any, **how: Any) -> Any:
        mqtt._client._sock_close()
        return publish(*what, **how)

    mqtt._client.publish = lost_and_published  # type: ignore[method-assign]
    mqtt.close()
    assert not mqtt._client.is_connected()
