"""The reel and what lies beside it, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from pipeline.errors import Failed, Usage
from stages.highlight.outputs import BESIDE, write
from stages.highlight.progress import Bars
from stages.highlight.timeline import Reel
from tests.stages.clips import film
from tests.stages.highlight import flashes
from tests.stages.highlight.reel import reel, video


def written(made: Reel, out: Path, copied: bool = False) -> list[Path]:
    with Bars(Console(quiet=True)) as bars:
        return write(made, out, copied=copied, vertical=False, bars=bars)


def test_a_reel_that_fails_leaves_nothing_new(tmp_path: Path) -> None:
    path = flashes.film(tmp_path / "film.mkv", [], codec="libvpx", sound_from=None)
    made = reel([video(path)], 1, 1)
    old = tmp_path / "reel.json"
    old.write_text("of another reel")
    with pytest.raises(Usage, match="no MP4 holds"):
        written(made, tmp_path / "reel.mp4", copied=True)
    assert sorted(tmp_path.iterdir()) == [path, old]
    assert old.read_text() == "of another reel"


def test_all_is_there(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    files = written(reel([video(path)], 1, 1), tmp_path / "reel.mp4")
    assert files == [tmp_path / f"reel{end}" for end in (".mp4", *BESIDE)]
    assert sorted(tmp_path.iterdir()) == sorted([path, *files])


def test_a_folder_in_the_way_of_a_small_file(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    (tmp_path / "reel.edl").mkdir()
    with pytest.raises(Failed, match="cannot write beside"):
        written(reel([video(path)], 1, 1), tmp_path / "reel.mp4")
    assert not list(tmp_path.glob("*.part"))
