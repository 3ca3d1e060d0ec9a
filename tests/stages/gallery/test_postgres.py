"""What is special about a gallery on a PostgreSQL server; a real one. What it has in common is in test_store.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.gallery.index import LiveGallery
from stages.gallery.master import Master, master_path
from stages.gallery.people import Portrait
from stages.gallery.postgres import readers, session
from stages.gallery.postgres import server as server_module
from stages.gallery.postgres.readers import LOST_S
from stages.gallery.store import Store
from tests.command import ROOT
from tests.postgres import PASSWORD, PostgresServer
from tests.stages.enrolment.test_management import call, store

FACE = np.eye(1, 16, dtype=np.float32)
NEVER = 1 << 62
SAMPLE = next((ROOT / "samples" / "enrol").glob("*.jpg"))
Databases = tuple[str, str]


def names() -> list[str]:
    return [person.name for person in store().people()]


def point(monkeypatch: pytest.MonkeyPatch, rows: str, keys: str) -> None:
    monkeypatch.setenv("FRAMEWIRE_GALLERY", rows)
    monkeypatch.setenv("FRAMEWIRE_GALLERY_KEYS", keys)


def host(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """From now on this is another machine, to which the master key was copied."""
    monkeypatch.setenv("FRAMEWIRE_MASTER", str(master_path()))
    monkeypatch.setenv("FRAMEWIRE_HOME", str(folder / name / "home"))
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(folder / name / "keys"))


def tables(server: PostgresServer, address: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace('framewire')"
    return {name for (name,) in server.query(address, query)}


def test_what_one_door_enrols_another_knows(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().add("Ada", "m", FACE)
    here = home()
    host(monkeypatch, tmp_path, "other")
    assert names() == ["Ada"]
    store().add("Bob", "m", FACE)
    assert names() == ["Ada", "Bob"]
    assert not here.exists()
    assert not home().exists()  # nothing of it lies on a door


def test_rows_and_keys_are_in_two_databases(server: PostgresServer, databases: Databases) -> None:
    store().add("Ada", "m", FACE)
    rows, key_rows = databases
    assert tables(server, rows) == {"gallery", "people", "portraits", "templates", "forgotten", "readers", "presence"}
    assert tables(server, key_rows) == {"keys"}
    wrapped = [len(row[0]) for row in server.query(key_rows, "SELECT wrapped FROM keys")]
    assert wrapped == [60, 60]  # hers, and that of the tags: 32 bytes under the master key


@pytest.mark.parametrize("spelled", ["the same", "in another way"])
def test_one_database_for_both_is_refused(
    spelled: str, server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = databases[0]
    point(monkeypatch, rows, rows if spelled == "the same" else f"{rows}?application_name=keys")
    with pytest.raises(Usage, match="name the same database"):
        store().add("Ada", "m", FACE)
    assert tables(server, rows) == set()
    assert names() == []


def test_a_forgotten_person_is_in_no_table_and_no_file(server: PostgresServer, databases: Databases) -> None:
    for number in range(60):
        portrait = Portrait(os.urandom(20_000), ((1.0, 2.0),) * 5)  # so large that it goes into another table
        store().add(f"Person {number}", "m", FACE, [portrait])
    rows, key_rows = databases
    for address in databases:
        server.query(address, "ANALYZE")  # statistics are copies of values
    (ada,) = (one.id for one in store().people() if one.name == "Person 40")
    sealed = [
        part
        for table in ("people", "templates", "portraits")
        for row in server.query(
            rows, f"SELECT id, sealed FROM {table} WHERE {'id' if table == 'people' else 'person'} = %s", (ada,)
        )
        for part in row
    ]
    sealed += [wrapped for (wrapped,) in server.query(key_rows, "SELECT wrapped FROM keys WHERE owner = %s", (ada,))]
    before = server.content()
    assert len(sealed) == 7
    assert all(part[:500] in before for part in (ada, *sealed))

    gone = store().forget("Person 40")

    after = server.content()
    assert (gone.person, gone.counts, gone.left) == (ada, {"templates": 1, "portraits": 1}, [])
    for part in (ada, *sealed):
        assert all(part[at : at + 16] not in after for at in range(0, len(part) - 15, 500))
    assert len(names()) == 59


def test_who_still_sees_what_was_deleted_is_told_of(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "BUSY_S", 0.2)
    store().add("Ada", "m", FACE)
    store().add("Bob", "m", FACE)
    with psycopg.connect(databases[0]) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM pg_class LIMIT 1")
        (left,) = store().forget("Ada").left
        done = call("forget", "Bob")
    told = "(a transaction may still see them): VACUUM FULL framewire.templates, framewire.people as their owner"
    assert told in left
    assert done.exit_code == 1
    assert "NOT YET: deleted rows are in files of the database" in done.output
    assert names() == []


def test_whoever_may_not_rewrite_a_table_is_told_of_it(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "BUSY_S", 0.2)
    store().add("Ada", "m", FACE)
    name = server.query(databases[1], "SELECT current_database()")[0][0]
    server.execute(f"ALTER DATABASE {name} OWNER TO postgres")
    admin = server.address(name)
    server.query(admin, "ALTER TABLE keys OWNER TO postgres")
    server.query(admin, "GRANT ALL ON keys TO door")
    (left,) = store().forget("Ada").left
    assert left.endswith("VACUUM FULL framewire.keys as their owner")


def test_a_wrong_key_database_is_said_to_be_and_nobody_is_swept_out(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().add("Ada", "m", FACE)
    with server.databases() as (other_rows, other_keys):
        point(monkeypatch, other_rows, other_keys)
        store().add("Eve", "m", FACE)
        for wrong in (other_keys, other_rows):
            point(monkeypatch, databases[0], wrong)
            for attempt in (store().people, lambda: store().add("Bob", "m", FACE), lambda: store().forget("Ada")):
                with pytest.raises(Failed, match=r"keys of this gallery are not in the database (keys|gallery)_"):
                    attempt()
    point(monkeypatch, *databases)
    assert names() == ["Ada"]


def test_another_master_key_is_said_to_be(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().add("Ada", "m", FACE)
    monkeypatch.setenv("FRAMEWIRE_MASTER", str(tmp_path / "other" / "master.key"))
    with pytest.raises(Failed, match="the master key is not at"):
        names()
    Master.load(home(), create=True)
    with pytest.raises(Failed, match="another master key: copy the one of the other doors here"):
        names()


def test_a_key_cannot_pass_for_another_persons(server: PostgresServer, databases: Databases) -> None:
    store().add("Ada", "m", FACE)
    store().add("Bob", "m", FACE)
    ada, bob = (person.id for person in store().people())
    query = "UPDATE keys SET wrapped = (SELECT wrapped FROM keys WHERE owner = %s) WHERE owner = %s"
    server.query(databases[1], query, (ada, bob))
    with pytest.raises(Failed, match="are damaged"):
        names()


def test_a_gallery_of_the_future_is_left_alone(server: PostgresServer, databases: Databases) -> None:
    store().add("Ada", "m", FACE)
    server.query(databases[0], "UPDATE gallery SET version = 9")
    for attempt in (names, lambda: store().add("Bob", "m", FACE)):
        with pytest.raises(Failed, match="newer framewire"):
            attempt()


def test_a_process_that_follows_is_waited_for(databases: Databases) -> None:
    live = LiveGallery(home(), "m", "the door")
    store().add("Ada", "m", FACE)
    store().add("Bob", "m", FACE)
    live.refresh()
    told: list[list[str]] = []
    command = threading.Thread(target=lambda: told.append(forgotten_by(store())))
    command.start()
    while not live.refresh():
        assert live.now.nearest(FACE)[1][0] in ("Ada", "Bob")
    command.join()
    assert told == [[]]
    assert [name for name, _ in live.rules.values()] == ["Bob"]
    live.close()
    assert store().wait_for(NEVER, 0) == []


def forgotten_by(store: Store) -> list[str]:
    store.forget("Ada")
    return store.wait_for(store.generation(), 30)


def test_a_process_that_does_not_follow_is_named(databases: Databases) -> None:
    store().add("Ada", "m", FACE)
    live = LiveGallery(home(), "m", "the door")
    done = store().forget("Ada")
    assert done.left == []
    (late,) = store().wait_for(store().generation(), 0.1)
    assert late.startswith(f"the door (process {os.getpid()} on ")
    live.close()


READER = """
import sys
from pipeline.home import home
from stages.gallery.index import LiveGallery
live = LiveGallery(home(), "m", "x")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_is_waited_for_only_as_long_as_it_might_come_back(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().add("Ada", "m", FACE)
    with subprocess.Popen(
        [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert len(store().wait_for(NEVER, 0)) == 1
        process.kill()
    began = time.monotonic()
    assert store().wait_for(NEVER, 30) == []
    assert LOST_S - 0.5 < time.monotonic() - began < LOST_S + 5
    assert server.query(databases[0], "SELECT * FROM readers") == []


def test_whose_connection_was_cut_is_waited_for_all_the_same(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LOST_S", 0.3)
    store().add("Ada", "m", FACE)
    live = LiveGallery(home(), "m", "the door")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'framewire'"
    server.execute(cut)
    while server.query(databases[0], "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"):
        pass
    assert not live.refresh()  # in a new connection, and so with a new number
    assert len(store().wait_for(NEVER, 0)) == 1
    assert len(server.query(databases[0], "SELECT * FROM readers")) == 1
    store().forget("Ada")
    assert live.refresh()
    assert store().wait_for(store().generation(), 0) == []
    live.close()


def test_a_server_that_is_gone_is_told_in_one_sentence_and_then_made_use_of_again(
    server: PostgresServer, databases: Databases
) -> None:
    store().add("Ada", "m", FACE)
    kept, live = store(), LiveGallery(home(), "m", "the door")
    server.stop()
    try:
        for attempt in (names, kept.people, live.refresh, lambda: LiveGallery(home(), "m", "another")):
            with pytest.raises(
                Failed, match=r"cannot use the database gallery_\w+ at /tmp/.*: see that the server runs"
            ):
                attempt()
    finally:
        server.start()
    assert [person.name for person in kept.people()] == ["Ada"]
    store().add("Bob", "m", FACE)
    assert live.refresh()
    assert len(live.now) == 2
    live.close()


def test_a_server_that_says_nothing_is_not_waited_for_without_end(
    server: PostgresServer, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.Connection, "silent_s", 0.3)
    monkeypatch.setitem(session.CLIENT, "connect_timeout", 2)  # libpq's least
    store().add("Ada", "m", FACE)
    live = LiveGallery(home(), "m", "the door")
    with server.frozen(), pytest.raises(Failed, match="timeout expired"):
        live.refresh()
    assert not live.refresh()
    (backend,) = server.query(databases[0], "SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
    os.kill(backend[0], signal.SIGSTOP)  # only what it talks to: another connection does
    try:
        assert not live.refresh()
    finally:
        os.kill(backend[0], signal.SIGCONT)
    live.close()


def test_who_writes_without_end_is_not_waited_for_without_end(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session.SESSION, "lock_timeout", "200ms")
    first = store()
    first.add("Ada", "m", FACE)
    with first._database.writing(), pytest.raises(Failed, match="lock timeout"):
        store().add("Bob", "m", FACE)
    store().add("Bob", "m", FACE)
    assert names() == ["Ada", "Bob"]


def test_a_wrong_password_is_not_told(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2"
    for place in (0, 1):
        head, _, tail = databases[place].partition("@")
        wrong = [*databases]
        wrong[place] = f"{head.rpartition(':')[0]}:{secret}@{tail}"
        point(monkeypatch, *wrong)
        with pytest.raises(Failed, match='password authentication failed for user "door"') as caught:
            store().add("Ada", "m", FACE)
        assert secret not in str(caught.value)
        assert ("GALLERY_KEYS names it" in str(caught.value)) == bool(place)


def test_a_password_may_come_from_where_libpq_looks(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    point(monkeypatch, *(f"postgresql://door@{one.partition('@')[2]}" for one in databases))
    store().add("Ada", "m", FACE)
    assert names() == ["Ada"]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("postgresql://db.example/gallery", "in the clear: add .sslmode=verify-full"),
        ("postgresql://10.0.0.1/gallery?sslmode=prefer", "to 10.0.0.1 in the clear"),
        ("postgresql://localhost,db.example/gallery", "to db.example in the clear"),
        ("postgresql://localhost/gallery?hostaddr=10.0.0.1", "to 10.0.0.1 in the clear"),
        ("postgresql:///gallery?service=x", "leave out the service"),
        ("postgresql://u:hun@ter2@localhost/gallery", "a password as %40"),
        ("postgresql://u:hun/ter2@localhost/gallery", "a password as %40"),
        ("postgresql://u:123/ter2@localhost/gallery", "a password as %40"),
        ("postgresql://u:hun%ter2@localhost/gallery", "a password as %40"),
        ("host=localhost password=hunter2", "has to be postgresql://"),
    ],
)
def test_an_address_that_cannot_be_used(address: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, address, "postgresql:///keys")
    with pytest.raises(Usage, match=sentence) as caught:
        store()
    assert "ter2" not in str(caught.value)


def test_a_host_out_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "postgresql:///gallery", "postgresql:///keys")
    store()
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(Usage, match=r"to db\.example in the clear"):
        store()
    monkeypatch.setenv("PGSSLMODE", "require")
    store()


@pytest.mark.parametrize("name", ["FRAMEWIRE_GALLERY", "FRAMEWIRE_GALLERY_KEYS"])
def test_one_variable_without_the_other_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "postgresql:///gallery")
    with pytest.raises(Usage, match="go together"):
        store()


def test_a_folder_of_the_config_and_a_server_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "postgresql:///gallery", "postgresql:///keys")
    with pytest.raises(Usage, match=r"match\.gallery"):
        Store(tmp_path / "elsewhere", keys())


def test_without_psycopg_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "postgresql:///gallery", "postgresql:///keys")
    for name in [name for name in sys.modules if name.startswith("stages.gallery.postgres.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Failed, match=r"pip install framewire\[postgres\]"):
        store()


def test_the_commands(databases: Databases) -> None:
    assert call("enroll", "Zoë", SAMPLE).output == "Zoë is enrolled with 1 photo\n"
    assert "Zoë" in call("people").output
    receipt = call("forget", "Zoë").output
    assert "the data key, 1 templates, 1 portraits" in receipt
    assert "no running process holds this person" in receipt
    assert "out of reach: backups of both databases" in receipt
    assert "write-ahead logs" in receipt
    assert "nobody is enrolled" in call("people").output


def test_a_rotation_on_one_door_and_then_on_another(
    server: PostgresServer, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().add("Ada", "m", FACE)
    live = LiveGallery(home(), "m", "the gate")
    old = [wrapped for (wrapped,) in server.query(databases[1], "SELECT wrapped FROM keys")]
    with pytest.raises(Failed, match=r"the gate \(process .* runs on these data"):
        call("gallery", "rotate")
    live.close()
    other = tmp_path / "other" / "master.key"
    other.parent.mkdir()
    other.write_bytes(master_path().read_bytes())
    other.chmod(0o400)

    assert call("gallery", "rotate").output.startswith("2 keys are wrapped")

    assert names() == ["Ada"]
    content = server.content()
    assert all(wrapped not in content for wrapped in old)
    fresh = master_path().read_bytes()
    host(monkeypatch, tmp_path, "other")
    monkeypatch.setenv("FRAMEWIRE_MASTER", str(other))
    with pytest.raises(Failed, match="another master key"):
        names()
    other.with_name("master.key.new").write_bytes(fresh)
    other.with_name("master.key.new").chmod(0o400)
    assert call("gallery", "rotate").output.startswith("0 keys are wrapped")
    assert names() == ["Ada"]


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_who_make_the_gallery_at_once_make_one(server: PostgresServer, databases: Databases) -> None:
    Master.load(home(), create=True)
    at_once(*(lambda name=name: store().add(name, "m", FACE) for name in ("Ada", "Bob", "Cid")))
    assert names() == ["Ada", "Bob", "Cid"]
    assert server.query(databases[0], "SELECT count(*) FROM gallery") == [(1,)]
