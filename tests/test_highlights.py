"""`highlights` as a user has it: real videos in, a reel and its reasons out, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from rich.console import Console

from pipeline.registry import sha256_of
from run_pipeline import HIGHLIGHTS
from stages.highlight.analyse import alone
from stages.highlight.known import FOLDER, here
from stages.highlight.progress import Bars
from stages.highlight.score import PRESETS
from stages.highlight.settings import HighlightSettings
from stages.highlight.sound import SoundConfig
from stages.highlight.store import Store
from stages.highlight.work import Work, find, look_at
from tests.command import ROOT, User
from tests.stages.clips import film as clip
from tests.stages.highlight.films import film, textured
from tests.stages.highlight.joined import NEGATIVES, Piece, join

BESIDE = (".json", ".html", ".jpg", ".otio", ".edl")
EILEEN = "Eileen Collins"
EMPTY = ("people-detection.gif", "one-by-one-person-detection.mp4")  # nobody comes in most of their first 8 s


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def document(user: User, name: str = "reel.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((user.folder / name).read_text())
    return found


def length(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)) and (container.duration or 0) / av.time_base


@pytest.fixture(scope="module")
def joined(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Piece]]:
    path = tmp_path_factory.mktemp("joined") / "joined.mp4"
    return path, join(shared / "videos", path, longest=8)


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_the_reel_of_all_clips_is_of_people_and_action_not_of_the_empty_ones(
    user: User, joined: tuple[Path, list[Piece]]
) -> None:
    path, pieces = joined
    done = user("highlights", path, "--length", "30s", timeout=380)
    assert done.code == 0, done.err
    found = document(user)
    chosen = [(moment["start"], moment["end"]) for moment in found["moments"]]
    assert 28 <= sum(end - start for start, end in chosen) <= 30
    inside = {
        piece.name: sum(max(0.0, min(end, piece.end) - max(begin, piece.start)) for begin, end in chosen)
        for piece in pieces
    }
    assert sum(inside[name] for name in NEGATIVES) < 0.2  # a bound lies within a frame or two of a join
    assert sum(1 for name, seconds in inside.items() if seconds > 1) >= 4  # varied
    score = found["videos"][0]["score"]
    worth = {piece.name: float(np.mean(score[round(piece.start) : round(piece.end)])) for piece in pieces}
    assert max(worth[name] for name in NEGATIVES) < min(worth[name] for name in worth.keys() - {*NEGATIVES, *EMPTY})
    reel = user.folder / "reel.mp4"
    assert length(reel) == pytest.approx(sum(end - start for start, end in chosen), abs=0.15)
    assert all((user.folder / f"reel{end}").stat().st_size for end in BESIDE)
    assert str(reel.name) in done.out


@pytest.mark.timeout(300)
def test_who_is_enrolled_is_found_and_can_be_all_that_is_asked_for(user: User) -> None:
    sample = ROOT / "samples" / "gate.mp4"
    assert user("highlights", sample, "--length", "2s").code == 0
    before = processes(user)
    assert user("enroll", EILEEN, ROOT / "samples" / "enrol" / f"{EILEEN}.jpg").code == 0
    done = user("highlights", sample, "--length", "20s", "--only", EILEEN, timeout=180)
    assert done.code == 0, done.err
    again = processes(user).items() - before.items()
    assert {name for name, _ in again} == {"capture-video", "motion", "faces"}  # what faces need, and no more
    known = document(user)["videos"][0]["signals"]["known"]
    for moment in document(user)["moments"]:
        assert all(known[second] for second in range(int(moment["start"]), int(np.ceil(moment["end"]))))
    kept = b"".join(path.read_bytes() for path in (user.folder / "home" / "highlights").iterdir())
    assert EILEEN.encode() not in kept  # an id that the gallery alone can read
    nobody = user("highlights", sample, "--only", "Grace Hopper")
    assert nobody.sentence == "nobody enrolled is called 'Grace Hopper': `run_pipeline.py people` lists who is"


def noisy(path: Path, seconds: int) -> Path:
    random = np.random.default_rng(5)
    pictures = [picture for scene in range(4) for picture in textured(seconds * 25 // 4, (320, 180), scene)]
    return film(path, pictures, sound=(0.1 * random.standard_normal(48_000 * seconds)).astype(np.float32))


def analysed(user: User) -> dict[str, Any]:
    return {name: document(user)["videos"][0][name] for name in ("signals", "cuts", "pauses", "frames", "duration")}


def measured(user: User, folder: str = FOLDER) -> int:
    """Frames whose motion is in a store in that folder."""
    frames = "SELECT count(*) FROM sample JOIN track ON track.id = sample.track WHERE name = 'motion'"
    for path in (user.folder / "home" / folder).glob("*.sqlite"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as rows, suppress(sqlite3.Error):
            count: int = rows.execute(frames).fetchone()[0]
            return count
    return 0


def until(what: Callable[[], bool], running: subprocess.Popen[str] | None, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert running is None or running.poll() is None, running.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def processes(user: User) -> dict[str, int]:
    """The process of each name that has started last."""
    lines = (user.folder / "home" / "highlights.log").read_text().splitlines()
    return {line["child"]: line["number"] for line in map(json.loads, lines) if line["event"] == "ready"}


@pytest.mark.timeout(300)
def test_stopped_and_killed_it_goes_on_and_finds_the_same(user: User, tmp_path: Path) -> None:
    path = noisy(tmp_path / "a film.mp4", 28)
    unbroken = User(tmp_path / "unbroken")
    unbroken.folder.mkdir()
    assert unbroken("highlights", path, "--length", "6s").code == 0
    stopped = user.start("highlights", path, "--length", "6s")
    until(lambda: measured(user) > 60, stopped)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert (stopped.returncode, err) == (1, "framewire: stopped: say it again, and it goes on where it was\n")
    assert not (tmp_path / "reel.mp4").exists()
    killed = user.start("highlights", path, "--length", "6s")
    for name in ("shots", "motion", "faces", "people", "capture-video"):
        there = measured(user)
        until(lambda there=there: measured(user) > there + 40, killed)  # type: ignore[misc]
        os.kill(processes(user)[name], signal.SIGKILL)
    there = measured(user)
    until(lambda: measured(user) > there + 50, killed)
    killed.kill()  # the supervisor: all its processes go with it
    killed.communicate()
    there = measured(user)
    assert 250 < there < 700
    assert user("highlights", path, "--length", "6s").code == 0
    assert analysed(user) == analysed(unbroken)
    assert analysed(user)["frames"] == 700


@pytest.mark.timeout(200)
def test_a_file_that_changes_meanwhile_is_not_believed(user: User, tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mp4", 12)
    running = user.start("highlights", path)
    until(lambda: measured(user) > 20, running)
    os.utime(path, ns=(1, 1))
    _, err = running.communicate(timeout=100)
    assert running.returncode == 1
    assert "a.mp4 has changed while it was looked at: say it again when nothing writes it any more" in err
    assert measured(user) == 0
    assert not (tmp_path / "reel.mp4").exists()


@pytest.mark.timeout(200)
def test_what_a_stage_fails_at_makes_no_reel_of_the_rest(user: User, tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mp4", 28)
    running = user.start("highlights", path)
    until(lambda: measured(user) > 20, running)
    for _ in range(5):
        people = processes(user)["people"]
        os.kill(people, signal.SIGKILL)
        until(lambda people=people: processes(user)["people"] != people or running.poll() is not None, None)  # type: ignore[misc]
    _, err = running.communicate(timeout=100)
    assert running.returncode == 1
    assert "people crashed 5 times" in err
    assert not (tmp_path / "reel.mp4").exists()


@pytest.mark.timeout(200)
def test_scored_again_it_looks_at_nothing_again(user: User, tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mp4", 12)
    assert user("highlights", path, "--length", "4s").code == 0
    event = document(user)
    started = processes(user)
    path.rename(tmp_path / 'it\'s "another" name: 100 %.mp4')  # it is the content that counts
    path = tmp_path / 'it\'s "another" name: 100 %.mp4'
    done = user("highlights", path, "--length", "4s", "--weight", "motion=9", "--weight", "people=0", "-o", "b.mp4")
    assert done.code == 0, done.err
    assert processes(user) == started
    again = document(user, "b.json")
    assert again["videos"][0]["signals"] == event["videos"][0]["signals"]
    assert again["videos"][0]["score"] != event["videos"][0]["score"]
    assert event["weights"] == PRESETS["event"]
    assert again["weights"] == {**PRESETS["event"], "motion": 9, "people": 0}
    assert again["videos"][0]["path"] == str(path)


@pytest.mark.timeout(200)
def test_what_is_asked_for_is_in_and_a_copy_is_cut_at_key_frames(user: User, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", textured(500), options={"g": "25", "preset": "ultrafast"})
    assert user("highlights", path, "--length", "6s", "--must", "0:07.5-0:09").code == 0
    assert [(one["start"], one["end"]) for one in document(user)["moments"] if one["must"]] == [(7.5, 9)]
    assert user("highlights", path, "--length", "6s", "--must", "0:07.5-0:09", "--copy", "-o", "c.mp4").code == 0
    moments = document(user, "c.json")["moments"]
    assert [(one["start"], one["end"]) for one in moments if one["must"]] == [(7, 9)]
    assert all(one[side] == int(one[side]) for one in moments for side in ("start", "end"))
    assert sum(one["end"] - one["start"] for one in moments) <= 6
    assert user("highlights", path, "--length", "4s", "--vertical", "-o", "v.mp4").code == 0
    with av.open(str(tmp_path / "v.mp4")) as tall:
        stream = tall.streams.video[0]
        assert stream.height / stream.width == pytest.approx(16 / 9, rel=0.05)


@pytest.mark.timeout(200)
def test_of_several_files_those_that_can_be_read_make_the_reel(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    film(folder / "a.mp4", textured(100, seed=1))
    film(folder / "b.mkv", textured(100, (96, 160), seed=2))
    (folder / "again.mp4").write_bytes((folder / "a.mp4").read_bytes())  # what looks the same is looked at once
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "c.mp4").write_bytes(b"no video")
    done = user("highlights", folder, "--length", "60s", "--jobs", "2")
    assert done.code == 1
    assert "c.mp4 is not a video that can be read" in done.err
    assert "there is no file or folder" in done.err
    assert "videos: 2 of 2" in done.out  # no terminal, no bar
    assert [Path(video["path"]).name for video in document(user)["videos"]] == ["a.mp4", "b.mkv"]
    assert {moment["video"] for moment in document(user)["moments"]} == {0, 1}
    assert length(tmp_path / "reel.mp4") == pytest.approx(8, abs=0.1)  # longer than all there is: all of it
    twin = user("highlights", folder, "--length", "2s", "--must", "again.mp4=0:01-0:02")
    assert [(one["video"], one["start"], one["end"]) for one in document(user)["moments"] if one["must"]] == [(0, 1, 2)]
    assert "c.mp4 is not a video" in twin.err
    short = user("highlights", folder, "--length", "1s")
    assert "c.mp4 is not a video" in short.err  # what else is wrong does not hide it
    assert short.err.endswith("framewire: no moment fits into 1s: make --length longer\n")


@pytest.mark.timeout(200)
def test_strange_videos_are_watched_as_they_are_shown(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    film(folder / "deep.mp4", textured(50, seed=4), pix_fmt="yuv420p10le")
    film(folder / "one.mp4", textured(1))
    clip(folder / "phone.mp4", 50, rotation=90)
    film(folder / "slides.mkv", textured(4, seed=3), times=[0, 0.1, 3.0, 5.5])
    done = user("highlights", folder, "--length", "60s", "--jobs", "1", timeout=180)
    assert done.code == 0, done.err
    found = {Path(video["path"]).stem: video for video in document(user)["videos"]}
    assert [found[name]["frames"] for name in ("deep", "one", "phone", "slides")] == [50, 1, 50, 4]
    assert (found["phone"]["width"], found["phone"]["height"]) == (96, 160)
    assert len(found["slides"]["score"]) == 8  # 5.5 s, and the last picture as long as the usual one
    assert found["slides"]["signals"]["motion"][1] is None  # no frame begins in that second
    assert all(not video["sound"] and set(video["signals"]["speech"]) == {None} for video in found.values())
    seconds = sum(moment["end"] - moment["start"] for moment in document(user)["moments"])
    assert length(tmp_path / "reel.mp4") == pytest.approx(seconds, abs=0.15)


@pytest.mark.timeout(200)
def test_on_ray_it_is_the_same(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    films = [film(folder / f"{number}.mp4", textured(50, seed=number)) for number in range(4)]
    (folder / "4.mp4").write_bytes(b"no video")
    kept = user.folder / "home" / FOLDER
    stores = [kept / f"{sha256_of(path)}.sqlite" for path in films]
    (here(kept) / stores[3].with_suffix(".lock").name).mkdir(parents=True)  # a disk that the task cannot write to
    with alone(films[2], stores[2]):
        there = user("highlights", folder, "--length", "4s", "--ray", "local", "-o", "ray.mp4", timeout=180)
    assert there.code == 1
    assert f"another run looks at {films[2]} just now" in there.err
    assert f"Ray has not looked at {films[3]} (RayTaskError(IsADirectoryError)): see" in there.err
    assert "4.mp4 is not a video that can be read" in there.err
    assert "Traceback" not in there.err
    for path in films[2:]:
        path.unlink()
    assert user("highlights", folder, "--length", "4s").code == 1
    assert processes(user) == {}  # what Ray has seen is here
    elsewhere = User(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    assert elsewhere("highlights", folder, "--length", "4s").code == 1
    assert document(user, "ray.json") == document(user) == document(elsewhere)


@pytest.mark.timeout(300)
def test_stopped_on_ray_what_was_seen_is_kept_here_and_nowhere_else(user: User, tmp_path: Path) -> None:
    path, there = noisy(tmp_path / "a.mp4", 28), here(Path(FOLDER))
    running = user.start("highlights", path, "--ray", "local")
    until(lambda: measured(user, str(there)) > 60, running, 180)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=100)
    assert (running.returncode, err) == (1, "framewire: stopped: say it again, and it goes on where it was\n")
    assert 60 < measured(user) < 700
    assert not list((user.folder / "home" / there).glob("*.sqlite*"))


def test_what_goes_wrong_unforeseen_stops_the_other_videos(tmp_path: Path) -> None:
    sound = [process for process in HIGHLIGHTS if process.name == "sound"]
    settings = HighlightSettings().by_stage([])
    work = Work(sound, settings, HighlightSettings().engine, tmp_path / FOLDER, tmp_path / "log")
    (found,), _ = find(work, [noisy(tmp_path / "a.mp4", 8)], [])
    with pytest.raises(ValueError, match="null"), Bars(Console()) as bars:
        look_at(work, [found._replace(sha256="\0"), found], 2, bars, [])
    with Store(work.store(found.sha256)) as store:
        assert not store.track("sound", SoundConfig().key).whole


@pytest.mark.timeout(200)
def test_a_cluster_may_ask_for_its_token_and_have_machines_of_one_core(user: User, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", textured(50))
    user.environment["HOME"] = str(tmp_path)  # where `ray start` puts the token
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ray = Path(sys.executable).with_name("ray")
    token = user.environment | {"RAY_AUTH_MODE": "token"}
    subprocess.run([ray, "get-auth-token", "--generate"], env=token, check=True, stdout=subprocess.DEVNULL)
    words = "start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false", f"--port={address.split(':')[1]}"
    head = subprocess.Popen([ray, *words], env=token, stdout=subprocess.DEVNULL)
    try:
        until(lambda: listens(address), None)
        assert "asks for a token" in user("highlights", "a.mp4", "--ray", address).err
        user.environment |= token
        done = user("highlights", "a.mp4", "--ray", address)
        assert done.code == 0, done.err
    finally:
        head.terminate()
        head.wait(60)


@pytest.mark.timeout(200)
def test_a_video_that_ends_early_makes_a_reel_of_what_is_there_and_says_so_each_time(
    user: User, tmp_path: Path
) -> None:
    whole = film(tmp_path / "whole.mkv", textured(200))
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    for _ in range(2):
        done = user("highlights", path, "--length", "3s")
        assert done.code == 1
        assert "cut.mkv" in done.sentence
        assert "copy or export it again" in done.sentence
        assert length(tmp_path / "reel.mp4") == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.mp4", "--length", "soon"], "'soon' is no time: write it like 60s, 1m30s or 12:30"),
        (
            ["a.mp4", "--preset", "party"],
            "there is no preset 'party': --preset is one of event, sports, security, talk",
        ),
        (["a.mp4", "--weight", "fun=1"], "there is no signal 'fun': --weight knows"),
        (["a.mp4", "--weight", "motion"], "--weight motion has no number: write it like motion=2"),
        (["a.mp4", "--must", "x.mp4=0:01-0:02"], "--must x.mp4=0:01-0:02: 'x.mp4' is none of the videos"),
        (["a.mp4", "--copy", "--vertical"], "--copy cuts one video as it is: leave --vertical out"),
        (["a.mp4", "--scorer", "b.onnx", "--weight", "motion=2"], "--scorer takes the place of --preset and --weight"),
        (["a.mp4", "-o", "reel.avi"], "the reel is an MP4: give -o a name like reel.mp4"),
        (["a.mp4", "-o", "a.mp4"], "the results would replace a.mp4: give -o another name"),
        (["a.mp4", "-o", "nowhere/reel.mp4"], "there is no folder nowhere: make it, or give -o another"),
        (["a.mp4", "--ray", "127.0.0.1:9"], "no Ray cluster answers at 127.0.0.1:9: give its head's HOST:PORT"),
        (["b.mp4"], "there is no file or folder b.mp4: check the path"),
        (["text.mp4"], "text.mp4 is not a video that can be read"),
        (["a.mp4", "--scorer", "text.mp4"], "text.mp4"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(user: User, words: list[str], sentence: str) -> None:
    film(user.folder / "a.mp4", textured(3))
    (user.folder / "text.mp4").write_text("no video")
    done = user("highlights", *words)
    assert done.code in (1, 2)
    assert sentence in done.sentence
    assert not (user.folder / "reel.mp4").exists()
