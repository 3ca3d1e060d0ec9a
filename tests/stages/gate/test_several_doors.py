"""Gates of several hosts that share a gallery on a PostgreSQL server."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.clips.clips import Clips, ClipsConfig
from stages.enrolment.forgetting import forgotten
from stages.events import clips, snapshots
from stages.events.audit import audit
from stages.events.records import Clip, Face, Sighting
from stages.gallery.database import ROWS
from stages.gallery.master import master_path
from stages.gallery.postgres.address import parsed
from stages.gallery.postgres.presence import Presence
from stages.gallery.postgres.server import Server
from stages.gallery.store import Store
from stages.gate.settings import GateSettings, completed
from tests.postgres import PostgresServer
from tests.stages.clips import film
from tests.stages.events.conftest import decision
from tests.stages.gate.door import SECOND, Door, reader
from tests.stages.gate.scene import embedding


@pytest.fixture
def door(databases: tuple[str, str]) -> Iterator[Door]:
    """A gate with Ada and Bob enrolled, both of whom it has let in."""
    door = Door()
    for name in ("Ada", "Bob"):
        door.comes(name)
        door.goes()
    assert door.told() == [("opened", "")] * 2
    yield door
    door.gate.close()


def noted_of(person: str) -> list[int]:
    """Rows of events, and of who is inside, that are about somebody."""
    ledger, id_ = reader(), bytes.fromhex(person)
    counts = [
        ledger.all("SELECT count(*) FROM sealed WHERE owner = ?", (id_,)),
        ledger.all("SELECT count(*) FROM presence WHERE person = ?", (id_,)),
    ]
    return [count for ((count,),) in counts] + [int(id_ in ledger.keys.owners())]


def test_a_gate_erases_whom_another_host_forgets_before_forget_ends(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = door.people["Ada"], door.people["Bob"]
    assert noted_of(ada) == noted_of(bob) == [1, 1, 1]
    done: list[tuple[list[str], list[str]]] = []
    with monkeypatch.context() as host:
        host.setattr("stages.enrolment.forgetting.home", lambda: tmp_path / "other")
        command = threading.Thread(target=lambda: done.append(forgotten(Store(home(), keys()), "Ada")))
        command.start()
        while command.is_alive():
            door.gate._looked = 0
            door.gate.tick(time.monotonic())
        command.join()

    ((receipt, undone),) = done
    assert undone == []
    assert "0 events of the gate" in receipt[1]  # none of that host's own
    assert noted_of(ada) == [0, 0, 0]
    assert noted_of(bob) == [1, 1, 1]
    report = audit(reader(), [])
    assert (report.findings, report.erased) == ((), 1)
    door.comes("Ada")
    door.goes()
    assert door.told()[-1] == ("refused", "unknown")


def test_what_was_forgotten_while_a_gate_was_down_it_erases_when_it_starts(door: Door) -> None:
    ada, bob = door.people["Ada"], door.people["Bob"]
    door.gate._gallery.close()
    door.store.forget("Ada")
    door.store.add("Cid", "another", embedding(3)[None])
    assert noted_of(ada) == [1, 1, 1]
    door.restart()
    door.comes("Bob")
    assert noted_of(ada) == [0, 0, 0]
    assert noted_of(bob)[1:] == [1, 1]


def test_whom_another_host_forgets_is_covered_in_the_clips_of_this_one(door: Door, tmp_path: Path) -> None:
    ledger = reader()
    (ada,) = [made.seq for made in ledger.events() if made.decision and made.decision.name == "Ada"]
    bob = Sighting(door.people["Bob"], 0, (10, 10, 40, 40))
    clips.put(ledger, ada, Clip(film(tmp_path / "clip.mp4").read_bytes(), (bob,)))
    door.store.forget("Bob")
    assert clips.showing(ledger, bytes.fromhex(bob.person)) == [ada]

    recorder = Clips(ClipsConfig())

    assert clips.showing(ledger, bytes.fromhex(bob.person)) == []
    found = clips.get(ledger, ada)
    assert found
    assert not found.people
    recorder.close()


def test_whom_another_host_forgets_is_covered_in_the_snapshots_of_this_one(door: Door) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    bob, told = Face(1, (10, 10, 40, 40), door.people["Bob"]), {"frame_sha256": hashlib.sha256(jpeg).hexdigest()}
    with reader().commit() as commit:
        seq = commit.decide(decision("opened", door.people["Ada"], **told), jpeg, (), faces=[bob])
    door.store.forget("Bob")
    door.goes()
    assert snapshots.showing(reader(), bytes.fromhex(bob.person)) == []
    assert reader().snapshot(seq) != jpeg
    assert audit(reader(), []).findings == ()


def test_another_gallery_erases_nobody(door: Door, server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that is started with a wrong address is closed, and keeps what it has noted."""
    with server.databases() as (rows, key_rows):
        monkeypatch.setenv("FRAMEWIRE_GALLERY", rows)
        monkeypatch.setenv("FRAMEWIRE_GALLERY_KEYS", key_rows)
        other = Store(home(), keys())
        other.add("Eve", "m", embedding(3)[None])
        other.forget("Eve")
        door.restart()
        assert door.comes("Ada") == ""
        door.gate._gallery.close()
    assert noted_of(door.people["Ada"]) == noted_of(door.people["Bob"]) == [1, 1, 1]


def test_a_gate_whose_server_is_gone_stops(door: Door, server: PostgresServer) -> None:
    server.stop()
    try:
        with pytest.raises(Failed, match="see that the server runs"):
            door.goes(0)
        door.restart()
        with pytest.raises(Failed, match="see that the server runs"):
            door.comes("Ada")
    finally:
        server.start()
    assert door.told() == [("opened", "")] * 2
    assert door.comes("Ada") == "come in"


class Hosts:
    """Gates by name, each on a machine with data of its own and the same master key."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._environment = folder, monkeypatch
        self._doors: dict[str, Door] = {}

    def there(self, name: str) -> None:
        """From now on this is the machine `name`."""
        self._environment.setenv("FRAMEWIRE_MASTER", str(master_path()))
        self._environment.setenv("FRAMEWIRE_HOME", str(self._folder / name / "home"))
        self._environment.setenv("FRAMEWIRE_KEYS", str(self._folder / name / "keys"))

    def start(self, name: str, direction: str = "in") -> Door:
        """A gate with one door that nobody goes through twice."""
        self.there(name)
        door = self._doors[name] = Door(doors=[{"name": name, "direction": direction, "passback": "strict"}])
        return door

    def comes(self, name: str, to: str) -> tuple[str, str]:
        """Somebody comes to a door; what is decided, and why."""
        self.there(to)
        self._doors[to].comes(name)
        decided = self._doors[to].told()[-1]
        for door in (*self._doors.values(), *self._doors.values()):
            door.goes()  # passages end, and each gives and then takes what was seen
        return decided

    def close(self) -> None:
        for door in self._doors.values():
            door.gate.close()


@pytest.fixture
def hosts(databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path, monkeypatch)
    yield hosts
    hosts.close()


def test_who_came_in_by_one_host_comes_in_by_no_other_before_they_went_out(hosts: Hosts) -> None:
    hosts.start("front")
    hosts.start("back")
    hosts.start("yard", "out")
    assert hosts.comes("Bob", "back") == ("opened", "")
    assert hosts.comes("Ada", "front") == ("opened", "")
    assert hosts.comes("Ada", "back") == ("refused", "passback")
    assert hosts.comes("Ada", "yard") == ("opened", "")
    assert hosts.comes("Ada", "back") == ("opened", "")
    assert hosts.comes("Ada", "front") == ("refused", "passback")
    assert hosts.comes("Bob", "front") == ("refused", "passback")


def test_a_gate_that_starts_knows_who_is_inside_before_it_decides(hosts: Hosts) -> None:
    hosts.start("front")
    assert hosts.comes("Ada", "front") == ("opened", "")
    hosts.start("back")
    assert hosts.comes("Ada", "back") == ("refused", "passback")


def test_a_kill_before_the_others_were_told_keeps_nothing_from_them(hosts: Hosts) -> None:
    front = hosts.start("front")
    front.comes("Ada")
    assert front.told() == [("opened", "")]
    front.restart()
    assert hosts.comes("Bob", "front") == ("opened", "")
    hosts.start("back")
    assert hosts.comes("Ada", "back") == ("refused", "passback")


def test_nobody_is_inside_who_was_forgotten(
    hosts: Hosts, server: PostgresServer, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    front, back = hosts.start("front"), hosts.start("back")
    assert hosts.comes("Ada", "front") == ("opened", "")
    assert hosts.comes("Bob", "back") == ("opened", "")
    ada, bob = (bytes.fromhex(front.people[name]) for name in ("Ada", "Bob"))
    inside = "SELECT person FROM presence ORDER BY number"
    assert server.query(databases[0], inside) == [(ada,), (bob,)]
    hosts.there("front")
    assert reader().presence(bob.hex()) is not None

    front.store.forget("Ada")
    hosts.comes("Bob", "front")

    assert server.query(databases[0], inside) == [(bob,)]
    for name in ("front", "back"):
        hosts.there(name)
        assert reader().presence(ada.hex()) is None
    assert ada not in server.content()
    assert back.told() == [("opened", "")]


def test_nobody_is_inside_who_is_being_forgotten(
    hosts: Hosts, server: PostgresServer, databases: tuple[str, str]
) -> None:
    front, back = hosts.start("front"), hosts.start("back")
    ada, bob = (bytes.fromhex(front.people[name]) for name in ("Ada", "Bob"))
    assert hosts.comes("Ada", "front") == ("opened", "")
    front.store.disown("Ada")
    inside = "SELECT person FROM presence ORDER BY number"
    assert server.query(databases[0], inside) == []
    with reader().commit() as commit:  # as by a gate that has not followed yet
        commit.move(ada.hex(), True, time.time_ns(), None)
        commit.move(bob.hex(), True, time.time_ns(), None)
    Presence(Server(parsed(ROWS, databases[0]))).exchange(reader(), lambda _: ())
    assert set(server.query(databases[0], inside)) == {(ada,), (bob,)}

    hosts.there("back")
    back.restart()
    back.comes("nobody", frames=1)

    assert reader().presence(bob.hex()) is not None
    assert reader().presence(ada.hex()) is None


def moved(person: str, inside: bool, at_ns: int) -> None:
    """As a door of this host would see it, whose clock says so."""
    with reader().commit() as commit:
        commit.move(person, inside, at_ns, None)


def test_what_a_host_gives_late_does_not_replace_what_came_after_it(hosts: Hosts) -> None:
    front = hosts.start("front")
    ada, now = front.people["Ada"], time.time_ns()
    hosts.start("yard", "out")
    hosts.comes("Bob", "front")
    moved(ada, True, now - 20 * SECOND)  # before a crash: nobody was told
    hosts.there("yard")
    moved(ada, False, now - 10 * SECOND)
    hosts.comes("Bob", "yard")
    for name in ("yard", "front"):
        hosts.there(name)
        assert reader().presence(ada) == (False, now - 10 * SECOND)
        assert reader().own_moves() == []


@pytest.mark.parametrize("behind", [-3600 * SECOND, 3600 * SECOND], ids=["ahead", "behind"])
def test_a_host_whose_clock_is_wrong_loses_no_movement(hosts: Hosts, behind: int) -> None:
    front, now = hosts.start("front"), time.time_ns()
    ada = front.people["Ada"]
    hosts.start("back")
    hosts.comes("Bob", "front")
    moved(ada, True, now - behind)
    hosts.comes("Bob", "back")
    for host, inside, at_ns in (("front", False, now), ("back", True, now - behind), ("front", False, now + SECOND)):
        hosts.there(host)
        moved(ada, inside, at_ns)
        hosts.comes("Bob", host)
        for name in ("front", "back"):
            hosts.there(name)
            known = reader().presence(ada)
            assert known
            assert known[0] is inside


def test_the_page_knows_which_cameras_are_a_doors_and_whether_there_are_groups(places: Path) -> None:
    doors = [{"name": "in", "cameras": ["a"]}, {"name": "out", "cameras": ["b", "c"]}]
    given = {"gate": {"liveness": "none", "doors": doors, "groups": {"staff": {}}}}
    show = completed(msgspec.convert(given, GateSettings), ["a", "b", "c"]).show
    assert (show.cameras, show.groups) == ({"in": ("a",), "out": ("b", "c")}, ("staff",))
