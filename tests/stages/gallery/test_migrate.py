"""A gallery of an older schema, the first of them written as the first framewire wrote it."""

from __future__ import annotations

import resource
import secrets
import signal
import sqlite3
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.enrolment.forgetting import forgotten
from stages.gallery.keyfile import MAGIC
from stages.gallery.store import Store

TABLES = (
    "CREATE TABLE gallery(id BLOB NOT NULL) STRICT",
    "CREATE TABLE people(id BLOB PRIMARY KEY, name BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE templates(person BLOB NOT NULL REFERENCES people, model TEXT NOT NULL, enrolled_at TEXT NOT NULL,"
    " embedding BLOB NOT NULL) STRICT",
    "CREATE INDEX templates_of_person ON templates(person)",
)


def seal(key: bytes, person: bytes, context: bytes, plain: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, person + context)


class Old:
    """A gallery of schema 1."""

    def __init__(self) -> None:
        home().mkdir()
        keys().mkdir()
        gallery = secrets.token_bytes(8)
        self.key_file = keys() / f"gallery-{gallery.hex()}.keys"
        self.rows = sqlite3.connect(home() / "gallery.sqlite", isolation_level=None)
        for table in TABLES:
            self.rows.execute(table)
        self.rows.execute("INSERT INTO gallery VALUES (?)", (gallery,))
        self.rows.execute("PRAGMA user_version = 1")
        self.slots = b""

    def enrol(self, name: str, faces: NDArray[np.float32], forgotten: bool = False) -> None:
        person, key = secrets.token_bytes(16), AESGCM.generate_key(256)
        sealed = seal(key, person, b"name", name.encode().ljust(400, b"\0"))
        self.rows.execute("INSERT INTO people VALUES (?, ?)", (person, sealed))
        for face in faces:
            row = seal(key, person, b"template\0m", face.astype("<f4").tobytes())
            when = "2026-01-02T03:04:05+00:00"
            self.rows.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", (person, "m", when, row))
        slot = person + key + blake2b(person + key, digest_size=16).digest()
        self.slots += bytes(64) if forgotten else slot
        self.key_file.write_bytes(self.slots)
        self.key_file.chmod(0o600)


@pytest.fixture
def old() -> Old:
    old = Old()
    random = np.random.default_rng(0)
    old.enrol("Zoë", random.normal(size=(2, 128)).astype(np.float32))
    old.enrol("Gone", random.normal(size=(1, 128)).astype(np.float32), forgotten=True)
    old.enrol("Ada", random.normal(size=(1, 128)).astype(np.float32))
    old.rows.close()
    return old


def check(store: Store) -> None:
    ada, zoe = store.people()
    assert (ada.name, len(ada.templates), zoe.name, len(zoe.templates)) == ("Ada", 1, "Zoë", 2)
    expected = np.random.default_rng(0).normal(size=(2, 128)).astype(np.float32)
    np.testing.assert_array_equal([template.embedding for template in zoe.templates], expected)
    assert zoe.templates[0].enrolled_at.year == 2026


def test_it_is_brought_up_to_date_with_copies_from_before(old: Old, caplog: pytest.LogCaptureFixture) -> None:
    plain = old.key_file.read_bytes()
    check(Store(home(), keys()))
    check(Store(home(), keys()))
    assert old.key_file.read_bytes().startswith(MAGIC)
    copies = [home() / "gallery.sqlite.v1", old.key_file.with_name(f"{old.key_file.name}.v1")]
    assert copies[1].read_bytes() == plain
    assert all(copy.stat().st_mode & 0o077 == 0 for copy in copies)
    assert all(str(copy) in caplog.text for copy in copies)
    store = Store(home(), keys())
    store.forget("Zoë")
    store.add("Bob", "m", np.eye(1, 128, dtype=np.float32))
    assert [person.name for person in store.people()] == ["Ada", "Bob"]


def test_a_crash_after_the_keys_and_before_the_rows(old: Old) -> None:
    rows = (home() / "gallery.sqlite").read_bytes()
    check(Store(home(), keys()))
    (home() / "gallery.sqlite").write_bytes(rows)
    check(Store(home(), keys()))


@pytest.mark.parametrize("damage", ["keys", "no keys", "rows"])
def test_a_damaged_one_stays_as_it_is(old: Old, damage: str) -> None:
    if damage == "keys":
        old.key_file.write_bytes(b"\1" + old.key_file.read_bytes()[1:])
    elif damage == "no keys":
        old.key_file.unlink()
    else:
        rows = sqlite3.connect(home() / "gallery.sqlite")
        rows.execute("UPDATE templates SET model = 'other'")
        rows.commit()
        rows.close()
    with pytest.raises(Failed, match=r"damaged|put that file back"):
        Store(home(), keys()).people()
    rows = sqlite3.connect(home() / "gallery.sqlite")
    assert rows.execute("PRAGMA user_version").fetchone() == (1,)
    assert rows.execute("SELECT count(*) FROM people").fetchone() == (3,)
    rows.close()


def test_the_old_files_are_not_left_half_way(old: Old, tmp_path: Path) -> None:
    check(Store(home(), keys()))
    assert not list(tmp_path.rglob("*.part"))


def test_one_that_knows_of_nobody_forgotten_learns_it() -> None:
    """Of schema 2."""
    store = Store(home(), keys())
    store.add("Ada", "m", np.eye(1, 128, dtype=np.float32))
    with closing(sqlite3.connect(home() / "gallery.sqlite")) as rows, rows:
        rows.execute("DROP TABLE forgotten")
        rows.execute("PRAGMA user_version = 2")
    (ada,) = store.people()
    copy = home() / "gallery.sqlite.v2"
    with closing(sqlite3.connect(copy)) as rows:
        assert rows.execute("PRAGMA user_version").fetchone() == (2,)
        assert rows.execute("SELECT id FROM people").fetchall() == [(ada.id,)]
    assert copy.stat().st_mode & 0o077 == 0
    assert store.forget("Ada").copies == [copy]
    assert not copy.exists()
    assert store.forgotten(-1, [ada.id]) == [ada.id]
    assert store.people() == []


def test_keys_are_copied_whole_or_not_at_all(old: Old) -> None:
    """A limit on the size of files stands in for a full disk, and that for a kill: half of them are written."""
    old.key_file.write_bytes(old.key_file.read_bytes() + bytes(64) * 5000)
    plain = old.key_file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(plain) // 2, hard))
    try:
        with pytest.raises(Failed, match=r"cannot keep a copy from before the update in .*keys\.v1: .*; make room"):
            Store(home(), keys()).people()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    check(Store(home(), keys()))
    assert old.key_file.with_name(f"{old.key_file.name}.v1").read_bytes() == plain


def test_who_is_forgotten_is_in_no_copy_either(old: Old) -> None:
    """Name and templates are in the copy of the rows, and in that of the keys what opens them."""
    plain = old.key_file.read_bytes()
    store = Store(home(), keys())
    check(store)
    copies = [old.key_file.with_name(f"{old.key_file.name}.v1"), home() / "gallery.sqlite.v1"]
    assert copies[0].read_bytes() == plain

    told, undone = forgotten(store, "Zoë")

    assert undone == []
    assert [line for line in told if "copy of everybody" in line] == [
        f"removed, a copy of everybody from before an update: {copy}" for copy in copies
    ]
    assert not list(home().parent.rglob("*.v1"))
    assert [person.name for person in store.people()] == ["Ada"]
    assert not any("copy of everybody" in line for line in forgotten(store, "Ada")[0])
