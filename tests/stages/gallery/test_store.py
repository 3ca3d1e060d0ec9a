"""The gallery's rows and keys, on real files."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from stages.gallery.keyfile import EMPTY, SLOT_BYTES, KeyFile
from stages.gallery.store import Store, checked_name

MODEL = "embedder:0123abcd"


class Place:
    """A home and its keys, and everything in them as bytes."""

    def __init__(self, folder: Path) -> None:
        self.home, self.keys = folder / "home", folder / "keys"
        self.store = Store(self.home, self.keys)
        self.database = self.home / "gallery.sqlite"

    def key_file(self) -> Path:
        (path,) = self.keys.iterdir()
        return path

    def content(self) -> bytes:
        return b"".join(p.read_bytes() for f in (self.home, self.keys) for p in f.rglob("*") if p.is_file())

    def query(self, sql: str) -> list[tuple[bytes, ...]]:
        rows = sqlite3.connect(self.database)
        try:
            return rows.execute(sql).fetchall()
        finally:
            rows.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def embeddings(count: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(store: Store) -> list[str]:
    return [person.name for person in store.people()]


def test_what_is_added_comes_back(place: Place) -> None:
    faces = embeddings(3)
    place.store.add("Zoë", MODEL, faces[:1])
    place.store.add("Ada", MODEL, faces[1:2])
    place.store.add("Zoë", "other:ffff", faces[2:])

    ada, zoe = Store(place.home, place.keys).people()

    assert (ada.name, zoe.name) == ("Ada", "Zoë")
    assert [template.model for template in zoe.templates] == [MODEL, "other:ffff"]
    np.testing.assert_array_equal(np.stack([t.embedding for t in zoe.templates]), faces[[0, 2]])
    np.testing.assert_array_equal(ada.templates[0].embedding, faces[1])


def test_reading_or_forgetting_where_nobody_is_enrolled_writes_nothing(place: Place) -> None:
    assert place.store.people() == []
    with pytest.raises(Failed, match="nobody called 'Ada' is enrolled"):
        place.store.forget("Ada")
    assert not place.home.exists()
    assert not place.keys.exists()


def test_nothing_readable_is_on_disk(place: Place) -> None:
    face = embeddings(1)
    place.store.add("Ada Lovelace", MODEL, face)

    content = place.content()

    assert b"Ada" not in content
    assert face.tobytes()[:16] not in content
    assert place.query("SELECT length(name) FROM people") == [(12 + 400 + 16,)]  # as long as that of any other name


def test_only_the_owner_may_read_the_files(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    modes = {p.name: p.stat().st_mode & 0o777 for p in (place.home, place.keys, place.database, place.key_file())}
    assert modes == {"home": 0o700, "keys": 0o700, "gallery.sqlite": 0o600, place.key_file().name: 0o600}


def test_a_forgotten_person_is_nowhere(place: Place) -> None:
    faces = embeddings(300)
    for index in range(100):  # enough for a tree of several levels, whose inner pages repeat ids
        place.store.add(f"Person {index}", MODEL, faces[3 * index : 3 * index + 3])
    before = dict(place.query("SELECT id, name FROM people"))
    sealed = place.query("SELECT person, embedding FROM templates")
    slots = place.key_file().read_bytes()
    keys = {slots[at : at + 16]: slots[at + 16 : at + 48] for at in range(0, len(slots), SLOT_BYTES)}

    place.store.forget("Person 40")

    (gone,) = before.keys() - dict(place.query("SELECT id, name FROM people")).keys()
    content = place.content()
    assert gone in keys
    for trace in (gone, before[gone], keys[gone], *(row for person, row in sealed if person == gone)):
        assert trace not in content
    assert place.query("PRAGMA freelist_count") == [(0,)]
    assert {path.name for path in place.home.iterdir()} == {"gallery.sqlite"}
    assert sorted(names(place.store)) == sorted(f"Person {index}" for index in range(100) if index != 40)


def test_the_slot_of_a_forgotten_person_is_used_again(place: Place) -> None:
    for name in ("Ada", "Bob", "Cid"):
        place.store.add(name, MODEL, embeddings(1))
    place.store.forget("Bob")
    assert place.key_file().read_bytes()[SLOT_BYTES : 2 * SLOT_BYTES] == EMPTY
    place.store.add("Dan", MODEL, embeddings(1))
    assert place.key_file().stat().st_size == 3 * SLOT_BYTES
    assert names(place.store) == ["Ada", "Cid", "Dan"]


def test_a_person_whose_key_is_gone_is_forgotten_and_swept_out_by_the_next_change(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    place.store.add("Bob", MODEL, embeddings(1))
    slots = place.key_file().read_bytes()
    place.key_file().write_bytes(EMPTY + slots[SLOT_BYTES:])  # a crash after the key, before the rows

    assert names(place.store) == ["Bob"]
    place.store.add("Cid", MODEL, embeddings(1))

    assert place.query("SELECT count(*) FROM people") == [(2,)]
    assert place.query("SELECT count(*) FROM templates") == [(2,)]


def test_a_row_cannot_pass_for_another_persons_or_models(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    rows = sqlite3.connect(place.database)
    rows.execute("UPDATE templates SET model = 'other'")
    rows.commit()
    rows.close()
    with pytest.raises(Failed, match="damaged"):
        place.store.people()


@pytest.mark.parametrize("damage", ["database", "keys", "no keys", "open keys", "newer"])
def test_damage_is_told_in_one_sentence(place: Place, damage: str) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    sentence = damage_gallery(place, damage)
    before = place.content()
    for attempt in (place.store.people, lambda: place.store.add("Bob", MODEL, embeddings(1))):
        with pytest.raises(Failed, match=sentence):
            attempt()
    assert place.content() == before


def damage_gallery(place: Place, damage: str) -> str:
    if damage == "database":
        place.database.write_bytes(b"\1" * 8192)
        return "is damaged"
    if damage == "newer":
        place.query("PRAGMA user_version = 9")
        return "newer framewire"
    key_file = place.key_file()
    if damage == "keys":
        key_file.write_bytes(b"\1" + key_file.read_bytes()[1:])
        return "is damaged"
    if damage == "open keys":
        key_file.chmod(0o644)
        return "chmod 600"
    key_file.unlink()
    return "put that file back"


def test_keys_inside_of_the_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="FRAMEWIRE_KEYS"):
        Store(tmp_path, tmp_path / "keys")


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="cannot write"):
        Store(tmp_path / "file" / "home", tmp_path / "keys").add("Ada", MODEL, embeddings(1))
    assert not (tmp_path / "keys").exists()


WRITER = """
import sys
from pathlib import Path
import numpy as np
from stages.gallery.store import Store
store = Store(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
face = np.full((1, 128), 128**-0.5, np.float32)
for index in range(int(sys.argv[3])):
    store.add(f"{sys.argv[4]} {index}", "m", face)
    if index % 3 == 2:
        store.forget(f"{sys.argv[4]} {index}")
"""


def writer(place: Place, count: int, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(place.home), str(place.keys), str(count), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], env={**os.environ})


def test_two_writers_and_a_reader_at_once(place: Place) -> None:
    with writer(place, 15, "A") as a, writer(place, 15, "B") as b:
        while a.poll() is None or b.poll() is None:
            assert all(len(person.templates) == 1 for person in place.store.people())
    assert (a.returncode, b.returncode) == (0, 0)
    assert names(place.store) == sorted(f"{name} {index}" for name in "AB" for index in range(15) if index % 3 != 2)


def test_a_killed_writer_leaves_a_gallery_that_works(place: Place) -> None:
    for attempt in range(3):
        with writer(place, 10_000, f"W{attempt}") as process:
            while len(names(place.store)) <= 5 * attempt:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        place.store.add(f"Survivor {attempt}", MODEL, embeddings(1))
        assert f"Survivor {attempt}" in names(place.store)
    assert place.query("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0", "x" * 101, "\udc80", "tab\there", "\x1b[31mred"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Usage, match="printable characters"):
        checked_name(name)


def test_a_name_is_the_same_however_it_was_typed() -> None:
    assert checked_name(" Zoe\u0308 ") == checked_name("Zo\u00eb") == "Zoë"
    assert checked_name("x" * 100) == "x" * 100


def test_a_key_file_without_room(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the same short write, then an error."""
    keys = KeyFile(tmp_path / "gallery.keys")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    keys.add(bytes([1]) * 16, bytes(32))
    for room in (SLOT_BYTES, SLOT_BYTES + 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(Failed, match=r"cannot write the key file .*; make room"):
                keys.add(bytes([2]) * 16, bytes(32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "gallery.keys").stat().st_size == SLOT_BYTES
    assert list(keys.read()) == [bytes([1]) * 16]
