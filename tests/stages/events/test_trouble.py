"""Crashes, full disks, damage, and several at once: each is told in a sentence and loses nothing."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.errors import Failed, Usage
from stages.events import clips, schema
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Clip
from stages.gallery.rows import write_ahead
from tests.command import ROOT
from tests.stages.events.conftest import Office

ADA = "0a" * 16


def test_several_start_a_ledger_at_once(places: Path) -> None:
    program = (
        "from pathlib import Path; import sys; from tests.stages.events.conftest import Office; sys.stdin.read(); "
    )
    command = [sys.executable, "-c", program + "Office(Path(sys.argv[1]))", str(places)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) for _ in range(4)]
    for process in processes:
        assert process.stdin
        process.stdin.close()
    assert [process.wait() for process in processes] == [0] * 4
    (_,) = (places / "keys").iterdir()
    with Ledger(places / "home", places / "keys").commit() as commit:
        assert commit.note("started") == 1


FIRST = """
import os, pkgutil, signal, sys
from pathlib import Path
from stages.events.ledger import Ledger
home, keys, where, name = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
owner = pkgutil.resolve_name(where)
real = getattr(owner, name)
def last(*given):
    real(*given)
    if list(keys.glob("*")):
        os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, last)
Ledger(home, keys, create=True)
"""


@pytest.mark.parametrize(("where", "name"), [("os", "pwrite"), ("os", "fsync"), ("stages.events.schema", "create")])
def test_a_first_start_that_was_killed_leaves_no_key_file_of_another_log(places: Path, where: str, name: str) -> None:
    home, keys = places / "home", places / "keys"
    command = [sys.executable, "-c", FIRST, str(home), str(keys), where, name]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    (made,) = keys.iterdir()

    ledger = Ledger(home, keys, create=True)

    with ledger.commit() as commit:
        commit.note("started")
    assert audit(ledger, []).findings == ()
    assert list(keys.iterdir()) == [made]
    ledger.close()


def test_who_begins_a_write_ahead_log_waits_for_another_who_does(tmp_path: Path) -> None:
    """SQLite says at once that the database is locked, whatever time-out it was given; here it was given none."""
    path = tmp_path / "rows.sqlite"
    with closing(sqlite3.connect(path, 0, 0, None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE rows(id INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.2, other.execute, ("ROLLBACK",))
        ends.start()
        with closing(sqlite3.connect(path, 0, 0, None)) as rows:
            write_ahead(rows)
            assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ends.join()


@pytest.mark.parametrize("lacks", ["DROP TABLE faces", "ALTER TABLE presence DROP COLUMN was"])
def test_events_of_a_version_in_development_are_refused(office: Office, lacks: str) -> None:
    office.tamper(lacks)
    with pytest.raises(Failed, match="written by a version in development: move the file away"):
        office.again()


def test_two_gates_on_one_database(places: Path) -> None:
    first = schema.lock(places / "home")
    with pytest.raises(Failed, match="another gate runs"):
        schema.lock(places / "home")
    os.close(first)
    os.close(schema.lock(places / "home"))


def test_readers_beside_a_gate_need_no_lock(office: Office) -> None:
    lock = schema.lock(office.home)
    seq = office.decide("opened", ADA)
    assert office.again().events()[0].seq == seq
    os.close(lock)


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="Not a directory"):
        schema.lock(tmp_path / "file" / "home")


def test_keys_inside_of_the_data_are_refused(places: Path) -> None:
    with pytest.raises(Usage, match="FRAMEWIRE_KEYS"):
        Ledger(places / "home", places / "home" / "keys", create=True)


def test_no_events_yet(places: Path) -> None:
    with pytest.raises(Failed, match="run the gate first"):
        Ledger(places / "home", places / "keys")
    assert not (places / "home").exists()


@pytest.mark.parametrize(
    "damage", ["corrupt", "corrupt inside", "corrupt name", "newer", "keys", "other master", "no master"]
)
def test_what_cannot_be_used_is_told(office: Office, damage: str) -> None:
    office.decide("opened", ADA)
    office.ledger.close()
    sentence = _damage(office, damage)
    with pytest.raises(Failed, match=sentence):
        office.again().events()


def _damage(office: Office, damage: str) -> str:
    path, master = office.home / "gate.sqlite", office.keys.parent / "master.key"
    if damage == "corrupt":
        path.write_bytes(b"\1" * 8192)
        return "are damaged"
    if damage == "corrupt inside":
        path.write_bytes(path.read_bytes()[:8192].ljust(path.stat().st_size, b"\1"))
        return "are damaged"
    if damage == "corrupt name":
        named = path.read_bytes().replace(b"tableledgerledger", b"table\xffedger\xffedger")
        path.write_bytes(named.replace(b"TABLE ledger", b"TABEL ledger"))
        return "are damaged"
    if damage == "newer":
        office.tamper("PRAGMA user_version = 9")
        return "newer framewire"
    if damage == "keys":
        (key_file,) = office.keys.iterdir()
        key_file.unlink()
        return "put that file back"
    master.chmod(0o600)
    if damage == "other master":
        master.write_bytes(bytes(32))
        return "another master key"
    master.unlink()
    return "the master key is not at"


def test_a_locked_database_is_waited_for_and_then_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.1)
    other = sqlite3.connect(office.home / "gate.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    late = office.again()
    with pytest.raises(Failed, match="locked"), late.commit() as commit:
        commit.note("started")
    other.execute("ROLLBACK")
    with late.commit() as commit:
        commit.note("started")
    other.close()


@contextmanager
def _room(size: int) -> Iterator[None]:
    """A limit on the size of files stands in for a full disk: the same error, and as little is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_what_is_committed_is_on_the_disk(office: Office) -> None:
    assert office.ledger.one("PRAGMA synchronous") == (2,)  # FULL


def test_keys_and_clips_are_on_the_disk_before_the_rows_that_need_them(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[str, int]] = set()
    reader, real = office.again(), os.fsync

    def fsync(file: int) -> None:
        real(file)
        (count,) = reader.one("SELECT count(*) FROM chain") or (0,)
        synced.add((Path(os.readlink(f"/proc/self/fd/{file}")).name, count))

    monkeypatch.setattr(os, "fsync", fsync)
    (key_file,) = office.keys.iterdir()
    seq = office.decide("opened", ADA)
    assert (key_file.name, 0) in synced
    clips.put(office.ledger, seq, Clip(b"moving pictures", ()))
    (clip,) = office.ledger.clips.iterdir()
    assert {(f"{clip.name}.part", 1), (office.ledger.clips.name, 1)} <= synced


def test_a_full_disk_leaves_no_half_a_clip(office: Office) -> None:
    seq = office.decide("refused")
    with _room(1 << 20), pytest.raises(Failed, match="see that there is room"):
        clips.put(office.ledger, seq, Clip(bytes(2 << 20), ()))
    assert clips.get(office.ledger, seq) is None
    for path in office.ledger.clips.iterdir():
        os.utime(path, (0, 0))
    clips.sweep(office.ledger)
    assert list(office.ledger.clips.iterdir()) == []
    assert clips.put(office.ledger, seq, Clip(b"short", ()))


def test_a_full_disk_loses_nothing(office: Office) -> None:
    seq = office.decide("opened", ADA)
    size = max(path.stat().st_size for path in office.home.iterdir())
    with _room(size):
        told = [_refusal(office) for _ in range(50)]
    assert any(told)
    assert all("room" in sentence for sentence in told if sentence)
    assert office.decide("refused", ADA) > seq
    assert audit(office.ledger, []).findings == ()


def _refusal(office: Office) -> str:
    try:
        office.decide("opened", ADA)
    except Failed as error:
        return str(error)
    return ""


WRITER = """
import itertools, secrets, sys
from pathlib import Path
from stages.events.ledger import Ledger
from stages.events.records import Clip
from stages.events.queues import Commands
from stages.events.records import Kept, Order
from tests.stages.events.conftest import SNAPSHOT, decision
ledger = Ledger(Path(sys.argv[1]), Path(sys.argv[2]))
ledger.sweep()
ledger.tidy()
doors = Commands(ledger, "front")
doors.recover()
print(0, flush=True)
for number in itertools.count():
    who = "0a" * 16 if number % 2 else ""
    passage = Kept(secrets.token_hex(16), "cam0", who, True, 1, 2, 3, ledger.boot, b"a face")
    with ledger.commit() as commit:
        commit.keep(passage)
    with ledger.commit() as commit:
        made = decision("opened", who, passage=passage.id)
        seq = commit.decide(made, SNAPSHOT, ["x"], [Order("front", 5, 10**9)])
    print(seq, flush=True)
    doors.finish(doors.take())
    with ledger.commit() as commit:
        commit.drop(passage.id)
    if number % 7 == 0:
        ledger.erase(bytes.fromhex(passage.id))
"""


def test_a_killed_gate_loses_no_decision_that_it_told_of(office: Office) -> None:
    """Twenty times, at random moments; afterwards each decision is there with all that belongs to it, or not at all."""
    luck = random.Random(5)
    told: set[int] = set()
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(office.home), str(office.keys)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as process:
            assert process.stdout
            process.stdout.readline()
            told |= {int(process.stdout.readline()) for _ in range(luck.randint(0, 5))}
            time.sleep(luck.uniform(0, 0.01))  # the moment is what is varied
            process.send_signal(signal.SIGKILL)
            told |= {int(line) for line in process.stdout if line.endswith("\n")}
        head = office.ledger.head()
        assert audit(office.again(), [head] if head else []).findings == ()
    decisions = {event.seq for event in office.ledger.events(limit=100_000) if event.kind == "opened"}
    assert told
    assert told <= decisions
    assert {seq for (seq,) in office.ledger.all("SELECT seq FROM commands")} == decisions
    assert {seq for (seq,) in office.ledger.all("SELECT seq FROM outbox")} == decisions
    office.ledger.tidy()
    sealing = {owner for (owner,) in office.ledger.all("SELECT owner FROM sealed UNION SELECT id FROM passages")}
    unused = office.ledger.keys.owners() - sealing
    assert len(unused) <= 1 + 20  # the one that signs, and at most one that each kill left before its row was written
