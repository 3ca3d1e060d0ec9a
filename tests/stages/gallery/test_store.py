"""The gallery's rows and keys, on real files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from stages.gallery.keyfile import EMPTY, SLOT_BYTES
from stages.gallery.people import PADDED_TO, Access, Portrait
from stages.gallery.rows import Rows
from stages.gallery.sealing import SEAL_BYTES
from stages.gallery.store import Store, checked_name
from tests.postgres import PostgresServer

MODEL = "embedder:0123abcd"


class Place(ABC):
    """A gallery, and everything of it that is on a disk."""

    def __init__(self, folder: Path) -> None:
        self.home, self.keys = folder / "home", folder / "keys"
        self.store = Store(self.home, self.keys)

    def content(self) -> bytes:
        """All files of rows and of keys."""
        return b"".join(p.read_bytes() for f in (self.home, self.keys) for p in f.rglob("*") if p.is_file())

    @abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Of the rows."""

    @abstractmethod
    def slots(self) -> dict[bytes, bytes]:
        """Who has a key, and how it is wrapped."""

    def check(self) -> None:  # noqa: B027  of a server, test_postgres.py reads the files
        """That it is whole, and what was deleted takes no room."""


class FilesPlace(Place):
    """In files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = self.home / "gallery.sqlite"

    def key_file(self) -> Path:
        (path,) = self.keys.iterdir()
        return path

    def slots(self) -> dict[bytes, bytes]:
        content = self.key_file().read_bytes()
        slots = [content[at : at + SLOT_BYTES] for at in range(SLOT_BYTES, len(content), SLOT_BYTES)]
        return {slot[:16]: slot[16:] for slot in slots}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        rows = sqlite3.connect(self.database)
        try:
            with rows:
                return rows.execute(sql).fetchall()
        finally:
            rows.close()

    def check(self) -> None:
        assert self.query("PRAGMA integrity_check") == [("ok",)]
        assert self.query("PRAGMA freelist_count") == [(0,)]
        log = self.database.with_name("gallery.sqlite-wal")
        assert not log.exists() or not log.stat().st_size


class ServerPlace(Place):
    """On a server."""

    def __init__(self, folder: Path, server: PostgresServer, databases: tuple[str, str]) -> None:
        super().__init__(folder)
        self.server, (self.rows, self.key_rows) = server, databases

    def content(self) -> bytes:
        return super().content() + self.server.content()

    def slots(self) -> dict[bytes, bytes]:
        return dict(self.server.query(self.key_rows, "SELECT owner, wrapped FROM keys"))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.server.query(self.rows, sql)


@pytest.fixture
def files(tmp_path: Path) -> FilesPlace:
    return FilesPlace(tmp_path)


@pytest.fixture(params=["files", "postgres"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    if request.param == "files":
        return FilesPlace(tmp_path)
    databases = request.getfixturevalue("databases")
    return ServerPlace(tmp_path, request.getfixturevalue("server"), databases)


def embeddings(count: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def portrait(number: int) -> Portrait:
    return Portrait(b"a picture of a face %d" % number, ((1.0, 2.0),) * 5)


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

    assert b"Lovelace" not in content
    assert face.tobytes()[:16] not in content
    assert place.query("SELECT length(sealed) FROM people") == [(PADDED_TO + SEAL_BYTES,)]  # as long as any other's


def test_only_the_owner_may_read_the_files(files: FilesPlace) -> None:
    files.store.add("Ada", MODEL, embeddings(1))
    master = files.keys.parent / "master.key"
    files = (files.home, files.keys, files.database, files.key_file(), master)
    modes = [path.stat().st_mode & 0o777 for path in files]
    assert modes == [0o700, 0o700, 0o600, 0o600, 0o400]


def test_a_forgotten_person_is_nowhere(place: Place) -> None:
    faces = embeddings(300)
    for index in range(100):  # enough for a tree of several levels, whose inner pages repeat ids
        place.store.add(f"Person {index}", MODEL, faces[3 * index : 3 * index + 3])
    before = {row[0]: row[1:] for row in place.query("SELECT id, tag, sealed FROM people")}
    sealed = place.query("SELECT person, id, sealed FROM templates")
    slots = place.slots()

    place.store.forget("Person 40")

    (gone,) = before.keys() - {row[0] for row in place.query("SELECT id FROM people")}
    content = place.content()
    assert gone in slots
    for trace in (gone, *before[gone], slots[gone], *(part for row in sealed if row[0] == gone for part in row[1:])):
        assert trace not in content
    place.check()
    assert sorted(names(place.store)) == sorted(f"Person {index}" for index in range(100) if index != 40)


def test_the_slot_of_a_forgotten_person_is_used_again(files: FilesPlace) -> None:
    for name in ("Ada", "Bob", "Cid"):
        files.store.add(name, MODEL, embeddings(1))
    size = files.key_file().stat().st_size
    files.store.forget("Bob")
    assert EMPTY in [files.key_file().read_bytes()[at : at + SLOT_BYTES] for at in range(0, size, SLOT_BYTES)]
    files.store.add("Dan", MODEL, embeddings(1))
    assert files.key_file().stat().st_size == size
    assert names(files.store) == ["Ada", "Cid", "Dan"]


def test_a_person_whose_key_is_gone_is_forgotten_and_swept_out_by_the_next_change(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    place.store.add("Bob", MODEL, embeddings(1))
    ada = place.store.disown("Ada")
    keys = place.store.key_file()
    assert keys
    keys.destroy(ada)  # a crash after the key, before the rows

    assert names(place.store) == ["Bob"]
    place.store.add("Cid", MODEL, embeddings(1))

    assert place.query("SELECT count(*) FROM people") == [(2,)]
    assert place.query("SELECT count(*) FROM templates") == [(2,)]


def test_who_has_no_key_in_an_older_copy_of_the_keys_stays_and_that_is_said(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    place.store.add("Bob", MODEL, embeddings(1))
    keys, (ada, _) = place.store.key_file(), place.store.people()
    assert keys
    keys.destroy(ada.id)

    place.store.add("Cid", MODEL, embeddings(1))

    said = "no key in this copy of the keys: put back the newest copy, or forget them and enroll them again"
    assert names(place.store) == ["Bob", "Cid"]
    assert place.store.unread == f"1 of 3 people have {said}"
    assert place.query("SELECT count(*) FROM people") == [(3,)]
    for change in (lambda: place.store.add("Ada", MODEL, embeddings(1)), lambda: place.store.portraits("Ada")):
        with pytest.raises(Failed, match=f"'Ada' has {said}"):
            change()
    place.store.forget("Ada")
    assert names(place.store) == ["Bob", "Cid"]
    assert (place.store.unread, place.query("SELECT count(*) FROM people")) == ("", [(2,)])


def test_a_row_cannot_pass_for_another_persons_or_models(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(1))
    place.query("UPDATE templates SET model = 'other'")
    with pytest.raises(Failed, match="damaged"):
        place.store.people()


@pytest.mark.parametrize("damage", ["database", "name", "keys", "no keys", "open keys", "newer"])
def test_damage_is_told_in_one_sentence(files: FilesPlace, damage: str) -> None:
    files.store.add("Ada", MODEL, embeddings(1))
    sentence = damage_gallery(files, damage)
    before = files.content()
    store = Store(files.home, files.keys)
    for attempt in (store.people, lambda: store.add("Bob", MODEL, embeddings(1))):
        with pytest.raises(Failed, match=sentence):
            attempt()
    assert files.content() == before


def damage_gallery(files: FilesPlace, damage: str) -> str:
    if damage == "database":
        files.database.write_bytes(b"\1" * 8192)
        return "is damaged"
    if damage == "name":
        named = files.database.read_bytes().replace(b"tablegallerygallery", b"table\xffallery\xffallery")
        files.database.write_bytes(named.replace(b"TABLE gallery", b"TABEL gallery"))
        return "is damaged"
    if damage == "newer":
        files.query("PRAGMA user_version = 9")
        return "newer framewire"
    key_file = files.key_file()
    if damage == "keys":
        content = key_file.read_bytes()
        key_file.write_bytes(content[:SLOT_BYTES] + b"\1" + content[SLOT_BYTES + 1 :])
        return "is damaged"
    if damage == "open keys":
        key_file.chmod(0o644)
        return "chmod 600"
    key_file.unlink()
    return "put that file back"


def test_a_log_that_another_locks_is_told(files: FilesPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    files.store.add("Ada", MODEL, embeddings(1))
    monkeypatch.setattr("stages.gallery.rows.BUSY_S", 0.1)
    with closing(sqlite3.connect(files.database, 0, 0, None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Failed, match=r"is still in the log of .*gallery.sqlite \(.*\): stop who uses it, and say"):
            Rows(files.database).truncate_log()


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
    place.store.forget("Survivor 0")
    place.check()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0", "x" * 101, "\udc80", "tab\there", "\x1b[31mred"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Usage, match="printable characters"):
        checked_name(name)


def test_a_name_is_the_same_however_it_was_typed() -> None:
    assert checked_name(" Zoe\u0308 ") == checked_name("Zo\u00eb") == "Zoë"
    assert checked_name("x" * 100) == "x" * 100


def test_what_is_kept_of_a_person_can_be_changed(place: Place) -> None:
    place.store.add("Ada", MODEL, embeddings(2))
    generation = place.store.generation()
    badge = place.store.badge("4711")
    access = Access(groups=("staff",), windows=("daily 07:00-19:00",), watch=True, badges=(badge,))
    place.store.set_access("Ada", access)
    place.store.rename("Ada", "Ada Lovelace")
    place.store.add_negative("Ada Lovelace", MODEL, embeddings(1, seed=7)[0], portrait(7))

    (ada,) = Store(place.home, place.keys).people()

    assert (ada.name, ada.access, len(ada.templates), len(ada.negatives)) == ("Ada Lovelace", access, 2, 1)
    assert place.store.generation() > generation
    assert b"4711" not in place.content()
    assert place.store.badge(" 4711\n") == badge != place.store.badge("4712")
    with pytest.raises(Usage, match="the number of a badge is blank"):
        place.store.badge(" ")
    with pytest.raises(Failed, match="nobody called 'Ada'"):
        place.store.set_access("Ada", access)
    place.store.add("Bob", MODEL, embeddings(1))
    with pytest.raises(Failed, match="another name"):
        place.store.rename("Bob", "Ada Lovelace")


def test_rules_that_cannot_be_are_kept_of_nobody(place: Place) -> None:
    never = Access(windows=("whenever",))
    with pytest.raises(Usage, match="'whenever' is no weekly time window"):
        place.store.add("Ada", MODEL, embeddings(1), access=never)
    assert place.store.people() == []
    place.store.add("Ada", MODEL, embeddings(1))
    with pytest.raises(Usage, match="'whenever' is no weekly time window"):
        place.store.set_access("Ada", never)
    assert place.store.people()[0].access == Access()


def test_portraits_are_kept_encrypted_and_embedded_anew(place: Place) -> None:
    portraits = [portrait(index) for index in range(2)]
    place.store.add("Ada", MODEL, embeddings(2), portraits)

    kept = place.store.portraits("Ada")
    place.store.re_embed("Ada", "other", dict(zip(kept, embeddings(2, seed=3), strict=True)))

    assert sorted(kept.values(), key=lambda one: one.image) == portraits
    assert b"a picture of a face" not in place.content()
    (ada,) = place.store.people()
    assert sorted(template.model for template in ada.templates) == [MODEL, MODEL, "other", "other"]
    place.store.re_embed("Ada", "other", dict(zip(kept, embeddings(2, seed=4), strict=True)))
    assert len(place.store.people()[0].templates) == 4  # again, as after a crash: not twice


def test_a_face_that_is_not_theirs_stays_so_for_every_model(place: Place) -> None:
    store = place.store
    store.add("Ada", MODEL, embeddings(1), [portrait(0)])
    store.add_negative("Ada", MODEL, embeddings(1, seed=7)[0], portrait(7))

    missing = store.unembedded("Ada", "other")
    assert sorted(one.image[-1:] for one in missing.values()) == [b"0", b"7"]
    assert list(store.portraits("Ada").values()) == [portrait(0)]
    assert list(store.portraits("Ada", negative=True).values()) == [portrait(7)]
    for model in ("other", MODEL, "other"):  # in turns, and again
        store.re_embed("Ada", model, dict(zip(missing, embeddings(2, seed=3), strict=True)))

    (ada,) = store.people()
    assert [(len(ada.templates), template.model) for template in ada.negatives] == [(2, MODEL), (2, "other")]
    np.testing.assert_array_equal(ada.negatives[0].embedding, embeddings(1, seed=7)[0])
    assert store.unembedded("Ada", "other") == {}
    assert store.add("Ada", "other", embeddings(1, seed=8)) == 2  # photos, and no faces of others
    assert b"a picture of a face" not in place.content()
    assert store.forget("Ada").counts == {"templates": 5, "portraits": 2}


def test_names_that_would_be_sql_or_paths_are_names(place: Place) -> None:
    wild = ["Robert'); DROP TABLE people;--", "../../etc/passwd", 'a"b%_?', "-", "C:\\x"]
    for name in wild:
        place.store.add(name, MODEL, embeddings(1))
    assert names(place.store) == sorted(wild)
    for name in wild:
        place.store.forget(name)
    assert names(place.store) == []
