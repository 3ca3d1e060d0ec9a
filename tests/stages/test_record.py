from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest

from pipeline.errors import Failed, Usage
from pipeline.types import Drawn, Matches
from stages.record import Record, RecordConfig
from tests.stages.recording_child import drawn, pts_ns, shade

ROOT = Path(__file__).resolve().parents[2]


def child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.stages.recording_child", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def record_all(out: Path, messages: list[Drawn], **options: Any) -> None:
    record = Record(RecordConfig(out=str(out), **options))
    for message in messages:
        record(message)
    record.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ticks(pts: list[int]) -> list[int]:
    """ns to 1/90000 s after the first."""
    return [round(one * 9 / 100_000) - round(pts[0] * 9 / 100_000) for one in pts]


def video(path: Path) -> list[tuple[int, float]]:
    """(pts in 1/90000 s, mean of the red channel) of each frame."""
    with av.open(path) as file:
        frames = [(frame.pts, float(frame.to_ndarray(format="rgb24")[..., 0].mean())) for frame in file.decode(video=0)]
        assert file.streams.video[0].frames == len(frames)
        assert file.streams.video[0].time_base.denominator == 90_000
    return frames


def check(out: Path, seqs: list[int], source: str = "cam") -> None:
    """Both files have exactly these frames, in order, at their times; and nothing else is left."""
    assert [line["seq"] for line in lines(out / f"{source}.jsonl")] == seqs
    frames = video(out / f"{source}.mp4")
    assert [pts for pts, _ in frames] == ticks([pts_ns(seq) for seq in seqs])
    assert [red for _, red in frames] == pytest.approx([shade(seq) for seq in seqs], abs=4)
    assert sorted(path.name for path in out.iterdir()) == [f"{source}.jsonl", f"{source}.mp4", "summary.md"]


def test_all_three_readers_find_every_frame_at_its_time_in_its_color(tmp_path: Path) -> None:
    color = (40, 160, 220)
    messages = [drawn(seq, size=(640, 360)) for seq in range(40)]
    for message in messages:
        message.picture[:] = color
    record_all(tmp_path, messages, run="a")
    reader = cv2.VideoCapture(str(tmp_path / "cam.mp4"))
    pictures = []
    while (got := reader.read())[0]:
        pictures.append(got[1])
    reader.release()
    assert len(pictures) == 40
    assert pictures[0].shape == (360, 640, 3)
    assert pictures[20][180, 320].tolist() == pytest.approx(color, abs=5)
    assert len(video(tmp_path / "cam.mp4")) == 40
    if not shutil.which("ffprobe"):
        return
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", str(tmp_path / "cam.mp4")]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert [packet["pts"] for packet in shown["packets"]] == ticks([pts_ns(seq) for seq in range(40)])
    stream = shown["streams"][0]
    assert (stream["color_space"], stream["color_range"], stream["pix_fmt"]) == ("smpte170m", "tv", "yuv420p")


def test_the_index_of_the_video_is_in_front(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(seq) for seq in range(3)])
    data = (tmp_path / "cam.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_line_says_all_there_is_to_say(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(5, names=("José", "", "王"))])
    (line,) = lines(tmp_path / "cam.jsonl")
    assert line.pop("age_ms") > 0
    assert line == {
        "source": "cam",
        "seq": 5,
        "pts": round(pts_ns(5) / 1e9, 6),
        "boxes": [[1.5, 2.0, 30.0, 40.0]] * 3,
        "scores": [0.9] * 3,
        "classes": [0] * 3,
        "labels": ["face"] * 3,
        "landmarks": [[[0.0, 0.0]] * 5] * 3,
        "names": ["José", "", "王"],
        "similarities": [0.8, None, 0.8],
    }


def test_a_frame_with_nothing_in_it_has_its_line(tmp_path: Path) -> None:
    empty = drawn(0, names=())
    found = msgspec.structs.replace(empty.matches.found, keypoints=None)
    message = Drawn(Matches(found, (), empty.matches.similarity), empty.picture)
    record_all(tmp_path, [message])
    (line,) = lines(tmp_path / "cam.jsonl")
    assert (line["boxes"], line["names"], line["landmarks"]) == ([], [], None)


def test_several_sources_have_files_of_their_own(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(seq, source) for seq in range(4) for source in ("gate", "yard-2")])
    for source in ("gate", "yard-2"):
        assert [line["seq"] for line in lines(tmp_path / f"{source}.jsonl")] == [0, 1, 2, 3]
        assert len(video(tmp_path / f"{source}.mp4")) == 4


@pytest.mark.parametrize(
    ("call", "nth"),
    [*(("pwrite", nth) for nth in range(9)), *(("replace", nth) for nth in range(3)), ("fsync", 1), ("rmtree", 0)],
)
def test_killed_in_a_system_call_nothing_is_lost_or_repeated(tmp_path: Path, call: str, nth: int) -> None:
    count = 6
    with child(tmp_path, "a", count, call, nth) as killed:
        assert killed.wait() == -signal.SIGKILL
        said = [int(line) for line in killed.stdout or ()]
    record = Record(RecordConfig(out=str(tmp_path), run="a", sources=("cam",)))
    last = record.resume().get("cam", -1)
    assert last in ((said or [-1])[-1], (said or [-1])[-1] + 1)
    for seq in range(last + 1, count):
        record(drawn(seq))
    record.close()
    check(tmp_path, list(range(count)))


def test_killed_again_and_again_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    count, chance = 120, random.Random(7)
    for call in ("", *["restarted"] * 4):
        with child(tmp_path, "a", count, call) as victim:
            assert victim.stdout
            for _ in range(chance.randrange(1, 24)):
                victim.stdout.readline()
            victim.kill()
    with child(tmp_path, "a", count, "restarted") as last:
        assert last.wait() == 0
    check(tmp_path, list(range(count)))


def test_a_frame_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(seq) for seq in (0, 1, 1, 0, 2)])
    check(tmp_path, [0, 1, 2])


def test_what_an_earlier_killed_run_left_is_not_taken_up(tmp_path: Path) -> None:
    with child(tmp_path, "old", 9, "pwrite", 12) as killed:
        killed.wait()
    assert (tmp_path / "recording-old.part").is_dir()
    record = Record(RecordConfig(out=str(tmp_path), run="new", sources=("cam",)))
    assert record.resume() == {}
    for seq in range(3):
        record(drawn(seq))
    record.close()
    check(tmp_path, [0, 1, 2])


def test_a_users_own_folder_is_left_alone(tmp_path: Path) -> None:
    diary = tmp_path / "recording-holiday.part" / "diary.txt"
    diary.parent.mkdir()
    diary.write_text("precious")
    (tmp_path / "recording-notes.part").write_text("a file")
    record_all(tmp_path, [drawn(0)])
    assert diary.read_text() == "precious"


def test_what_cannot_be_published_is_kept_but_not_half_written(tmp_path: Path) -> None:
    record = Record(RecordConfig(out=str(tmp_path), sources=("cam",)))
    for seq in range(3):
        record(drawn(seq))
    (tmp_path / "cam.mp4").mkdir()
    with pytest.raises(Failed, match=r"the pictures \(H.264\) and lines lie in"):
        record.close()
    assert sorted(path.suffix for path in record.folder.iterdir()) == [".h264", ".journal", ".jsonl", ".md"]


def test_an_earlier_runs_files_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(seq) for seq in range(5)])
    record = Record(RecordConfig(out=str(tmp_path)))
    for seq in range(2):
        record(drawn(seq))
    assert len(video(tmp_path / "cam.mp4")) == len(lines(tmp_path / "cam.jsonl")) == 5
    record.close()
    check(tmp_path, [0, 1])


def test_two_runs_of_one_config_have_different_names() -> None:
    assert RecordConfig().run != RecordConfig().run


def test_two_runs_do_not_record_into_one_folder(tmp_path: Path) -> None:
    first = Record(RecordConfig(out=str(tmp_path)))
    with pytest.raises(Usage, match="another run records into"):
        Record(RecordConfig(out=str(tmp_path)))
    first.close()
    Record(RecordConfig(out=str(tmp_path))).close()


def test_without_a_frame_there_are_empty_results_and_no_video(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(0)])
    record_all(tmp_path, [], sources=("cam", "yard"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.jsonl", "summary.md", "yard.jsonl"]
    assert (tmp_path / "cam.jsonl").read_bytes() == b""
    assert "No frame arrived" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (1, 1), (33, 2000), (9000, 20)])
def test_every_size_can_be_recorded(tmp_path: Path, size: tuple[int, int]) -> None:
    record_all(tmp_path, [drawn(seq, size=size) for seq in range(3)])
    assert len(video(tmp_path / "cam.mp4")) == 3


def test_an_odd_picture_is_not_scaled(tmp_path: Path) -> None:
    message = drawn(0, size=(97, 65))
    message.picture[:, 1::2] = 255 - message.picture[:, 1::2]  # scaling would blur these columns
    record_all(tmp_path, [message])
    with av.open(tmp_path / "cam.mp4") as file:
        grey = next(file.decode(video=0)).to_ndarray(format="rgb24")[:65, :97, 0].astype(int)
    assert grey.shape == (65, 97)
    assert np.abs(grey - message.picture[..., 0]).mean() < 12


@pytest.mark.parametrize("height", [424, 426, 428, 430])
def test_colours_are_where_they_belong(tmp_path: Path, height: int) -> None:
    """A height that 4 does not divide once had its colours shifted against its shapes."""
    message = drawn(0, size=(640, height))
    message.picture[: height // 2] = (0, 0, 255)
    message.picture[height // 2 :] = (255, 0, 0)
    record_all(tmp_path, [message])
    with av.open(tmp_path / "cam.mp4") as file:
        (frame,) = file.decode(video=0)
    shown = frame.to_ndarray(format="bgr24").astype(int)
    assert shown.shape == (height, 640, 3)
    wrong = np.abs(shown - message.picture).max(axis=2) > 40
    wrong[height // 2 - 4 : height // 2 + 4] = False  # colours have half the resolution
    assert not wrong.any()


def test_a_picture_of_another_size_is_letterboxed_onto_the_first(tmp_path: Path) -> None:
    record_all(tmp_path, [drawn(0, size=(200, 100)), drawn(1, size=(100, 100)), drawn(2, size=(800, 400))])
    with av.open(tmp_path / "cam.mp4") as file:
        pictures = [frame.to_ndarray(format="rgb24")[..., 0].astype(int) for frame in file.decode(video=0)]
    assert {picture.shape for picture in pictures} == {(100, 200)}
    assert pictures[1][50, 100] == pytest.approx(shade(1), abs=6)
    assert pictures[1][50, 10] == pytest.approx(0, abs=6)
    assert pictures[2][5, 5] == pytest.approx(shade(2), abs=6)


def test_a_clock_that_goes_back_or_leaps_goes_on(tmp_path: Path) -> None:
    second = 1_000_000_000
    record = Record(RecordConfig(out=str(tmp_path)))
    for seq, pts in enumerate([50 * second, 51 * second, 3 * second, 3 * second, 4 * second, 90_000 * second]):
        message = drawn(seq)
        frame = msgspec.structs.replace(message.frame, pts_ns=pts)
        found = msgspec.structs.replace(message.matches.found, frame=frame)
        record(Drawn(msgspec.structs.replace(message.matches, found=found), message.picture))
    record.close()
    assert [pts for pts, _ in video(tmp_path / "cam.mp4")] == [0, 90_000, 93_600, 97_200, 187_200, 190_800]
    assert [line["pts"] for line in lines(tmp_path / "cam.jsonl")] == [50, 51, 3, 3, 4, 90_000]


@pytest.mark.parametrize("source", ["../up", "a/b", "", ".hidden", "a\n", "x" * 101])
def test_a_source_name_never_becomes_a_path(tmp_path: Path, source: str) -> None:
    record = Record(RecordConfig(out=str(tmp_path)))
    with pytest.raises(Usage, match="cannot name a file"):
        record(drawn(0, source))
    record.close()


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path: Path) -> None:
    record = Record(RecordConfig(out=str(tmp_path)))
    record(drawn(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))  # stands for a full disk: writing fails in the kernel
    try:
        with pytest.raises(Failed, match=r"cannot write into .* choose another folder"):
            any(record(drawn(seq)) for seq in range(1, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    record.close()
    seqs = [line["seq"] for line in lines(tmp_path / "cam.jsonl")]
    assert seqs
    check(tmp_path, list(range(len(seqs))))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match=r"cannot write into .*file"):
        Record(RecordConfig(out=str(tmp_path / "file" / "out")))


def test_the_summary_tells_who_was_there_and_what_was_lost(tmp_path: Path) -> None:
    names = {0: ("José",), 1: ("José", ""), 4: ("王|小",), 6: ("José", "José")}
    record_all(tmp_path, [drawn(seq, names=names[seq]) for seq in names], run="abc")
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "| frames | 4 (0:00.200 of the stream) |" in text
    assert "| dropped | 3 |" in text
    assert "| José | 0:07.000 | 0:07.200 | 3 | 0.80 |" in text
    assert "| 王\\|小 | 0:07.135 | 0:07.135 | 1 | 0.80 |" in text
    assert f"`{tmp_path}/cam.mp4`" in text
    assert text.endswith("\nrun abc\n")
