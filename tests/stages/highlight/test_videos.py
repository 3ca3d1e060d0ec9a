"""Which files there are, and how they are known again."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Failed, Usage
from stages.highlight.videos import BESIDE, Hashes, State, facts, videos
from tests.stages import clips
from tests.stages.highlight import flashes
from tests.stages.highlight.films import film, textured


def test_a_folder_is_its_videos_by_name_each_once(tmp_path: Path) -> None:
    for name in ("reel.mp4", "b.mp4", "a.MOV", "notes.txt", 'it\'s 100 % "new".mkv'):
        (tmp_path / name).write_bytes(b"x")
    found, _ = videos([tmp_path, tmp_path / "a.MOV"], tmp_path / "reel.mp4")
    assert [path.name for path in found] == ["a.MOV", "b.mp4", 'it\'s 100 % "new".mkv']


def test_below_a_folder_are_a_cameras_recordings_but_no_reels_and_nothing_hidden(tmp_path: Path) -> None:
    for name in (
        "26/07.mkv",
        "26/08.mkv",
        "27/07.mkv",
        ".trash/09.mkv",
        "27/._07.mkv",
        "best.mp4",
        "best.mov",
        "x.mp4",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for end in BESIDE:  # as they lie beside a reel
        (tmp_path / f"best{end}").write_bytes(b"x")
    (tmp_path / "27" / "round").symlink_to(tmp_path)
    found, _ = videos([tmp_path], Path("reel.mp4"))
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "26/07.mkv",
        "26/08.mkv",
        "27/07.mkv",
        "best.mov",
        "x.mp4",
    ]
    assert videos([tmp_path / "best.mp4"], Path("reel.mp4")) == ([tmp_path / "best.mp4"], [])  # asked for by its name


def test_what_cannot_be_searched_costs_the_rest_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mkv").write_bytes(b"x")
    for name in ("closed", "lost+found"):
        (tmp_path / name).mkdir()
    scandir = os.scandir

    def refuses(path: str) -> object:  # a fake of permissions, which root does not heed
        if Path(path).name in ("closed", "lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    found, failures = videos([tmp_path], Path("reel.mp4"))
    assert found == [tmp_path / "a.mkv"]
    closed = f"cannot search {tmp_path}/closed: Permission denied; let this user in, or give other folders"
    assert failures == [closed]
    (tmp_path / "a.mkv").unlink()
    with pytest.raises(Failed, match="cannot search"):  # there may be videos where nobody may look
        videos([tmp_path], Path("reel.mp4"))
    with pytest.raises(Failed) as raised:
        videos([tmp_path / "closed"], Path("reel.mp4"))
    assert str(raised.value) == closed


def test_what_holds_no_video_is_said(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="there is no video in the folder"):
        videos([tmp_path], Path("reel.mp4"))
    with pytest.raises(Failed, match="there is no file or folder"):
        videos([tmp_path / "nothing.mp4"], Path("reel.mp4"))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Failed, match=r"empty\.mp4 is empty"):
        videos([tmp_path / "empty.mp4"], Path("reel.mp4"))


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    tone = np.sin(np.arange(48_000) * 0.05).astype(np.float32)
    silent = facts(film(tmp_path / "silent.mp4", textured(30)))
    assert silent == (160, 96, False, 30)
    assert facts(film(tmp_path / "loud.mp4", textured(30), sound=tone)).sound
    assert facts(film(tmp_path / "loud.mkv", textured(30))).frames == 30  # Matroska does not say how many


def test_sound_that_is_only_announced_is_none(tmp_path: Path) -> None:
    loud = flashes.film(tmp_path / "loud.ts", [0.6])
    assert [facts(path).sound for path in (loud, flashes.without_its_sound(loud))] == [True, False]


def test_a_size_is_the_shown_one(tmp_path: Path) -> None:
    path = clips.film(tmp_path / "dv.mp4", 2, (720, 576), rotation=90, aspect=Fraction(64, 45))
    assert facts(path)[:2] == (576, 1024)


def test_a_file_without_a_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(Failed, match=r"text\.mp4 is not a video that can be read"):
        facts(tmp_path / "text.mp4")


def test_a_file_is_known_again_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a b.mp4"
    path.write_bytes(b"one")
    hashes = Hashes(tmp_path / "home")
    assert hashes.sha256(path, State.of(path)) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr("stages.highlight.videos.sha256_of", lambda _: pytest.fail("it was read again"))
    assert hashes.sha256(path, State.of(path)) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.undo()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert hashes.sha256(path, State.of(path)) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_file_of_hashes_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    (tmp_path / "files.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Failed, match=r"was damaged .* and is deleted: say this again"):
        Hashes(tmp_path).sha256(path, State.of(path))
    assert Hashes(tmp_path).sha256(path, State.of(path)) == hashlib.sha256(b"one").hexdigest()
