"""The file of a video's signals."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Failed
from stages.highlight.store import KNOWN, Store, told


def filled(path: Path, key: str, name: str = "faces") -> None:
    with Store(path) as store:
        track = store.track(name, key)
        with store.transaction():
            for seq in range(3):
                track.add(seq, seq * 40, [seq, np.nan])
                track.keep(seq, seq * 40, b"kept")


def test_rows_come_back_in_their_order(tmp_path: Path) -> None:
    filled(tmp_path / "a.sqlite", "one")
    with Store(tmp_path / "a.sqlite") as store:
        times, rows = store.track("faces", "one").read(2)
    assert times.tolist() == [0, 40, 80]
    np.testing.assert_array_equal(rows, np.array([[0, np.nan], [1, np.nan], [2, np.nan]], np.float32))


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        track = store.track("faces", "one")
        with pytest.raises(ZeroDivisionError), store.transaction():
            track.add(0, 0, [1 / 0])
        assert track.last is None


def test_what_other_settings_measured_goes_once_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    filled(path, "old")
    filled(path, "old", KNOWN + "ada")
    filled(path, "old", "people")
    filled(path, "new")
    with Store(path) as store:
        assert store.known("old") == ["ada"]
        store.finish([store.track("faces", "new")], ["damaged"])
        found = set(store.rows.execute("SELECT name, key FROM track"))
        assert found == {("faces", "new"), ("people", "old")}
        assert store.track("faces", "new").whole
        assert store.track("faces", "new").kept() == []
        assert store.notes() == ["damaged"]
        assert store.rows.execute("SELECT count(DISTINCT track) FROM sample").fetchone() == (2,)
        store.finish([store.track("faces", "newer")], [])
        assert store.notes() == []


def test_nothing_of_what_is_deleted_stays_in_the_file(tmp_path: Path) -> None:
    path, needle = tmp_path / "a.sqlite", np.float32(0.7654321)
    with Store(path) as store:
        track = store.track("faces", "one")
        for seq in np.random.default_rng(0).permutation(3000).tolist():  # out of order: pages are split
            track.add(seq, seq * 40, [needle])
    assert needle.tobytes() in path.read_bytes()
    with Store(path) as store:
        store.drop([store.track("faces", "one")])
    assert needle.tobytes() not in path.read_bytes()


def test_who_was_recognized_goes_with_the_faces(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    for name, key in (("faces", "one"), (KNOWN + "ada", "one"), (KNOWN + "ada", "two"), ("people", "one")):
        filled(path, key, name)
    with Store(path) as store:
        store.drop([store.track("faces", "one")])
        assert set(store.rows.execute("SELECT name, key FROM track")) == {(KNOWN + "ada", "two"), ("people", "one")}
        assert store.rows.execute("SELECT count(DISTINCT track) FROM sample").fetchone() == (2,)


def test_a_row_is_never_another_tracks(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        with store.transaction():
            forgotten = store.track(KNOWN + "ada", "one")
        store.drop([forgotten])
        with pytest.raises(sqlite3.IntegrityError), store.transaction():
            forgotten.add(0, 0, [0.7])
        assert store.track(KNOWN + "grace", "one").last is None


def test_another_machine_gets_all_of_it_also_what_is_in_the_log_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # a kill would leave people's ids there
    there = tmp_path / "there.sqlite"
    filled(tmp_path / "other.sqlite", "one")
    with Store(tmp_path / "other.sqlite") as other:
        other.track("people", "two")
        there.write_bytes(other.snapshot())
    with Store(there) as copied, Store(tmp_path / "here.sqlite") as back:
        assert len(copied.track("faces", "one").read(2)[0]) == 3
        back.track("sound", "old")
        back.take_over(copied.snapshot())
        assert len(back.track("faces", "one").read(2)[0]) == 3
        assert back.rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert back.rows.execute("SELECT count(*) FROM track WHERE name = 'sound'").fetchone() == (0,)


def test_a_newer_file_is_refused_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    filled(path, "one")
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(Failed, match="were written by a newer framewire: update this one"):
            Store(path)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    filled(path, "one")
    content = bytearray(path.read_bytes())
    content[4096:] = b"x" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(Failed, match=r"a\.sqlite cannot be used .*: delete the file, and say this again"):  # noqa: SIM117
        with told(path), Store(path) as store:
            store.track("faces", "one").read(2)
