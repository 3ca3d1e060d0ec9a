"""The main job, from the command line: real clips, a real RTSP server, and what a user can get wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.graph import Source
from pipeline.supervise import Supervisor
from run_pipeline import LIVE_VIEW_ON_GPU, Settings
from stages.enrolment.settings import EnrolmentSettings
from stages.gate.settings import GateSettings
from stages.record import RecordConfig
from tests.command import GATE, ROOT, Done, User, alive, named, read_rows
from tests.rtsp import RtspServer, clip, missing

EILEEN = "Eileen Collins"


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture(scope="module")
def gate_user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody who has enrolled Eileen Collins."""
    user = User(tmp_path_factory.mktemp("gate"))
    done = user("enroll", EILEEN, ROOT / "samples" / "enrol" / f"{EILEEN}.jpg")
    assert done.code == 0, done.err
    return user


@pytest.fixture(scope="module")
def gate(gate_user: User) -> Done:
    """The bundled clip, once."""
    return gate_user("run", "--json")


@pytest.fixture(scope="module")
def short(gate_user: User) -> Path:
    """A second of the clip with both people in it, cut at a key frame."""
    path = gate_user.folder / "short.mp4"
    with av.open(str(GATE)) as whole, av.open(str(path), "w") as part:
        stream = whole.streams.video[0]
        copy = part.add_stream_from_template(stream)
        whole.seek(int(5.5 / stream.time_base), stream=stream)
        packets = [packet for packet in whole.demux(stream) if packet.dts is not None]
        origin = min(packet.pts for packet in packets)
        for packet in packets[:40]:
            packet.pts, packet.dts = packet.pts - origin, packet.dts - origin
            packet.stream = copy
            part.mux(packet)
    return path


def test_every_frame_of_the_clip_has_a_result(gate: Done, gate_user: User) -> None:
    assert gate.code == 0, gate.err
    rows = gate_user.rows("gate")
    assert [row["seq"] for row in rows] == list(range(360))
    assert [row["pts"] for row in rows] == pytest.approx([seq / 25 for seq in range(360)], abs=1e-3)
    told = json.loads(gate.out)
    assert (told["frames"], told["drops"], told["failures"]) == (360, 0, [])
    out = gate_user.folder / "out"
    assert {Path(path).name for path in told["files"]} == {"gate.mp4", "gate.jsonl", "summary.md"}
    assert frames_of(out / "gate.mp4") == 360
    assert EILEEN in (out / "summary.md").read_text()
    assert not list(out.glob("*.part"))


def test_the_enrolled_person_is_named_and_the_other_is_not(gate: Done, gate_user: User) -> None:
    assert gate.code == 0
    truth = {person["name"]: person for person in json.loads(GATE.with_suffix(".json").read_text())["people"]}
    rows = gate_user.rows("gate")
    clear = {frame for frame, x1, _, x2, _, visible in truth[EILEEN]["faces"] if visible == 1 and x2 - x1 >= 60}
    hits = set(named(rows, EILEEN))
    assert len(hits & clear) >= 0.9 * len(clear), f"named in {len(hits & clear)} of {len(clear)} clear frames"
    present = {frame for frame, *_ in truth[EILEEN]["faces"]}
    assert hits <= present, "a name where she is not"
    for row in rows:
        assert sum(map(bool, row["names"])) <= 1, "the passer-by went by her name"
        for name, box in zip(row["names"], row["boxes"], strict=True):
            if name:
                x1, y1, x2, y2 = next(face[1:5] for face in truth[EILEEN]["faces"] if face[0] == row["seq"])
                assert x1 < (box[0] + box[2]) / 2 < x2
                assert y1 < (box[1] + box[3]) / 2 < y2


@pytest.mark.parametrize("placement", ["--fuse", "--spread"])
def test_the_placement_does_not_change_the_results(gate_user: User, short: Path, placement: str) -> None:
    def results(out: str, *more: str) -> list[dict[str, Any]]:
        done = gate_user("run", "--source", short, "--out", out, "--json", *more)
        assert done.code == 0, done.err
        rows = read_rows(gate_user.folder / out / "short.jsonl")
        return [{key: value for key, value in row.items() if key != "age_ms"} for row in rows]

    plain = results("plain")
    assert len(plain) == 40
    assert any(EILEEN in row["names"] for row in plain)
    assert results("placed", placement) == plain


def test_the_placement_for_a_gpu_gives_the_same_results_too(
    gate_user: User, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where the command line would not choose it."""
    plain = gate_user("run", "--source", short, "--out", "plain", "--json")
    assert plain.code == 0, plain.err
    for name in ("FRAMEWIRE_HOME", "FRAMEWIRE_KEYS"):
        monkeypatch.setenv(name, gate_user.environment[name])
    out = gate_user.folder / "gpu"
    out.mkdir()
    settings = Settings(record=RecordConfig(out=str(out), sources=("short",)))
    source = Source("short", str(short), live=False)
    with Supervisor(LIVE_VIEW_ON_GPU, [source], settings.by_stage(), settings.engine, out / "log") as supervisor:
        while supervisor.step(0.05):
            pass
    assert (supervisor.code, supervisor.failures) == (0, [])
    one, other = (read_rows(gate_user.folder / name / "short.jsonl") for name in ("plain", "gpu"))
    assert len(one) == 40
    assert [row | {"age_ms": 0} for row in one] == [row | {"age_ms": 0} for row in other]


def test_several_sources_at_once(gate_user: User, short: Path) -> None:
    done = gate_user("run", "--source", short, "--source", short, "--out", "both", "--json")
    assert done.code == 0, done.err
    for name in ("short", "short-2"):
        assert [row["seq"] for row in read_rows(gate_user.folder / "both" / f"{name}.jsonl")] == list(range(40))
        assert frames_of(gate_user.folder / "both" / f"{name}.mp4") == 40


def test_known_faces_of_a_real_clip(user: User, shared: Path) -> None:
    photos = shared / "photos" / "face_recognition_examples"
    for name in ("obama", "lin-manuel-miranda", "biden", "alex-lacamoire"):
        (photo,) = [*photos.rglob(f"{name}.*")][:1]
        assert user("enroll", name, photo).code == 0
    done = user("run", "--source", shared / "videos" / "short_hamilton_clip.mp4", "--json")
    assert done.code == 0, done.err
    rows = user.rows("short_hamilton_clip")
    assert len(rows) == 275
    lin, obama = named(rows, "lin-manuel-miranda"), named(rows, "obama")
    assert len([seq for seq in lin if 85 <= seq <= 215]) >= 30
    assert len([seq for seq in obama if 210 <= seq <= 275]) >= 6  # seen from the side: 11, without VNNI 8
    assert not named(rows, "biden")
    assert all(seq < 48 for seq in named(rows, "alex-lacamoire")), "he is at the piano when the clip begins"


@pytest.fixture
def server(gate_user: User) -> Iterator[RtspServer]:
    if missing():
        pytest.skip(missing())
    server = RtspServer({"/gate": clip(GATE)})
    server.start()
    yield server
    server.stop()


@pytest.mark.alone
def test_an_rtsp_camera(gate_user: User, server: RtspServer) -> None:
    address = f"rtsp://127.0.0.1:{server.port}/gate"
    done = gate_user("run", "--source", address, "--out", "rtsp", "--seconds", "9", "--json")
    assert done.code == 0, done.err
    rows = read_rows(gate_user.folder / "rtsp" / "cam0.jsonl")
    seqs = [row["seq"] for row in rows]
    assert len(seqs) > 20
    assert seqs == sorted(set(seqs))
    assert named(rows, EILEEN)
    assert frames_of(gate_user.folder / "rtsp" / "cam0.mp4") == len(rows)


@pytest.mark.alone
def test_seconds_count_from_when_all_has_loaded(gate_user: User, server: RtspServer) -> None:
    address = f"rtsp://127.0.0.1:{server.port}/gate"
    done = gate_user("run", "--source", address, "--out", "brief", "--seconds", "1", "--json")
    assert done.code == 0, done.err
    rows = read_rows(gate_user.folder / "brief" / "cam0.jsonl")
    assert len(rows) >= 3
    numbers = json.loads(done.out)
    assert numbers["frames"] == len(rows)
    assert numbers["drops"] >= rows[-1]["seq"] + 1 - len(rows)


@pytest.mark.alone
def test_a_camera_that_goes_away_comes_back(gate_user: User, server: RtspServer) -> None:
    out = gate_user.folder / "lost"
    address = f"rtsp://127.0.0.1:{server.port}/gate"
    run = gate_user.start("run", "--source", address, "--out", out, "--json")
    seen = RunningRows(out, "cam0")
    seen.wait(lambda rows: len(rows) > 10)
    server.stop()
    log = out / "framewire.log"
    wait_for(lambda: '"reconnecting"' in log.read_text(), "the log tells of it")
    before = len(seen.rows())
    server.start()
    rows = seen.wait(lambda rows: len(rows) > before + 40)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 0, said
    seqs = [row["seq"] for row in rows]
    assert seqs == sorted(set(seqs))
    times = [row["pts"] for row in rows]
    assert times == sorted(times)
    first = sorted(row["age_ms"] for row in rows[5:before])
    again = sorted(row["age_ms"] for row in rows[-20:])
    assert again[10] < 3 * first[len(first) // 2] + 100, "the age is normal again"


@pytest.mark.alone
def test_ctrl_c_leaves_a_playable_video_and_nothing_else(gate_user: User) -> None:
    out = gate_user.folder / "stopped"
    run = gate_user.start("run", "--realtime", "--out", out, "--json")
    rows = RunningRows(out, "gate").wait(lambda rows: len(rows) > 15)
    children = children_of(run.pid)
    assert len(children) >= 4
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == 0, stderr
    done = read_rows(out / "gate.jsonl")
    assert len(done) >= len(rows)
    assert json.loads(stdout)["frames"] == len(done) == frames_of(out / "gate.mp4")
    assert not any(map(alive, children))
    assert sorted(path.name for path in out.iterdir()) == ["framewire.log", "gate.jsonl", "gate.mp4", "summary.md"]


@pytest.mark.alone
def test_whichever_process_is_killed_every_frame_comes_out_once(gate_user: User) -> None:
    out = gate_user.folder / "shot"
    run = gate_user.start("run", "--out", out, "--json")
    chance = random.Random(7)
    victims = ["capture-gate", "detect", "match", "show"] * 2
    chance.shuffle(victims)
    rows = RunningRows(out, "gate")
    reached = 0
    for victim in victims:
        reached = len(rows.wait(lambda rows: len(rows) > reached + chance.randint(3, 20)))  # noqa: B023
        wait_for(lambda: alive(newest(out / "framewire.log", victim)), f"{victim} runs")  # noqa: B023
        os.kill(newest(out / "framewire.log", victim), signal.SIGKILL)
    stdout, stderr = run.communicate(timeout=100)
    assert run.returncode == 0, stderr
    assert json.loads(stdout)["failures"] == []
    assert [row["seq"] for row in read_rows(out / "gate.jsonl")] == list(range(360))
    assert frames_of(out / "gate.mp4") == 360


@pytest.mark.alone
def test_a_killed_run_leaves_no_process(gate_user: User) -> None:
    out = gate_user.folder / "killed"
    run = gate_user.start("run", "--realtime", "--out", out, "--json")
    RunningRows(out, "gate").wait(lambda rows: len(rows) > 5)
    children = children_of(run.pid)
    run.kill()
    run.communicate()
    wait_for(lambda: not any(map(alive, children)), "its processes are gone", 1)


class Wrong:
    """What a user can get wrong, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def wrong(user: User) -> Wrong:
    return Wrong(user.folder)


def check(done: Done, code: int, *words: str) -> None:
    """One sentence that has the words; no traceback."""
    for word in words:
        assert word in done.sentence, done.sentence
    assert done.code == code


def test_a_missing_file(user: User) -> None:
    check(user("run", "--source", "nowhere.mp4"), 1, "no file or folder nowhere.mp4")
    assert not (user.folder / "out").exists()


LONG = "a" * 300


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "--source", f"{LONG}.mp4"], 1),
        (["run", "--out", LONG], 1),
        (["enroll", "Ada", f"{LONG}.jpg"], 1),
        (["run", "--source", "\udcff.mp4"], 2),
        (["run", "--out", "\udcff"], 2),
    ],
)
def test_a_name_that_no_file_can_have(user: User, words: list[str], code: int) -> None:
    check(user(*words), code)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--out", "closed/sub"], "cannot write into closed/sub"),
        (["run", "--source", "closed/clip.mp4"], "closed/clip.mp4"),
        (["run", "--source", "listed"], "listed may not be read"),
        (["enroll", "Ada", "closed/photo.jpg"], "closed/"),
        (["people"], "set $FRAMEWIRE_HOME"),
        (["models", "pull", "yunet", "--mirror", "closed/sub"], "closed/"),
        (["doctor"], ""),
        (["models", "list"], ""),
    ],
)
def test_a_folder_that_may_not_be_searched(user: User, words: list[str], sentence: str) -> None:
    (user.folder / "closed").mkdir(mode=0)
    (user.folder / "listed").mkdir()
    (user.folder / "listed" / "photo.jpg").write_bytes(b"photo")
    (user.folder / "listed").chmod(0o744)
    for name in ("FRAMEWIRE_HOME", "FRAMEWIRE_KEYS"):
        user.environment[name] = str(user.folder / "closed" / name)
    if not os.geteuid():  # root may search anything: be nobody, in a folder of nobody's
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv cannot become somebody who may not")
        user.wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        for name in ("closed", "listed"):
            os.chown(user.folder / name, 65534, 65534)
    done = user(*words)
    if sentence:
        check(done, 1, sentence)
    else:  # they list what they find
        assert (done.err, done.out != "") == ("", True)


def test_the_environment_names_sources_line_by_line(user: User, short: Path) -> None:
    spaced = user.folder / "my clips" / "a b.mp4"
    spaced.parent.mkdir()
    spaced.write_bytes(short.read_bytes())
    user.environment["FRAMEWIRE_SOURCE"] = f"{spaced}\n\n{short}\n\n"
    done = user("run", "--json")
    assert done.code == 0, done.err
    assert len(user.rows("a-b")) == len(user.rows("short")) == 40


@pytest.mark.parametrize("out", ["run-10:30", "e:smile:f", "z[/b]", "x[red]"])
def test_results_in_a_folder_of_an_odd_name(user: User, short: Path, out: str) -> None:
    done = user("run", "--source", short, "--out", out)
    assert done.code == 0, done.err
    listed = [f"{out}/{name}" for name in ("short.mp4", "short.jsonl", "summary.md")]
    assert done.out.splitlines()[-3:] == listed
    assert frames_of(user.folder / out / "short.mp4") == 40


def test_a_full_disk_behind_the_words_does_not_cost_the_results(user: User, short: Path) -> None:
    user.wrapper = ["sh", "-c", 'exec "$@" > /dev/full', "sh"]
    check(user("run", "--source", short), 1, "cannot write what there is to say")
    assert frames_of(user.folder / "out" / "short.mp4") == 40
    check(user("models", "list"), 1, "cannot write what there is to say")
    check(user("run", "--source", "nowhere.mp4"), 1, "no file or folder nowhere.mp4")


def test_a_reader_of_the_words_that_leaves_does_not_cost_the_results(user: User, short: Path) -> None:
    user.wrapper = ["bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "bash"]
    user("run", "--source", short)
    assert frames_of(user.folder / "out" / "short.mp4") == 40


def test_words_into_nothing(user: User) -> None:
    user.wrapper = ["sh", "-c", 'exec "$@" >&-', "sh"]
    done = user("models", "list")
    assert (done.code, done.err) == (0, "")


def test_a_console_that_knows_few_letters(user: User, short: Path) -> None:
    user.environment |= {"PYTHONIOENCODING": "ascii"}
    done = user("run", "--source", short, "--out", "Łódź")
    assert done.code == 0, done.err
    assert frames_of(user.folder / "Łódź" / "short.mp4") == 40


def test_too_few_files_allowed(user: User, short: Path) -> None:
    user.wrapper = ["sh", "-c", 'ulimit -n 24; exec "$@"', "sh"]
    words = [word for _ in range(6) for word in ("--source", short)]
    check(user("run", *words), 1, "too many open files", "ulimit -n")


def test_a_folder_where_a_result_goes(user: User, short: Path) -> None:
    (user.folder / "out" / "short.mp4").mkdir(parents=True)
    check(user("run", "--source", short), 2, "short.mp4 is a folder", "--out")


def test_a_dead_rtsp_address(user: User) -> None:
    done = user("run", "--source", "rtsp://someone:secret@127.0.0.1:1/x")
    check(done, 1, "127.0.0.1:1")
    assert "secret" not in done.err + done.out
    assert not list((user.folder / "out").glob("cam0*"))


def test_the_results_never_replace_a_source(user: User, short: Path) -> None:
    own = user.folder / "out" / "short.mp4"
    own.parent.mkdir()
    own.write_bytes(short.read_bytes())
    other = user.folder / "short.mp4"
    other.write_bytes(matroska(short, user.folder / "other.mkv").read_bytes())
    third = user.folder / "out" / "cam0.mp4"
    third.write_bytes(short.read_bytes())
    for sources in ([own], [other, own], ["rtsp://127.0.0.1:1/x", third]):
        words = [word for source in sources for word in ("--source", source)]
        check(user("run", *words), 2, "the results would replace", "--out")
    assert own.read_bytes() == third.read_bytes() == short.read_bytes()


def test_a_folder_that_cannot_be_made(user: User, wrong: Wrong) -> None:
    check(user("run", "--out", wrong.file("file", "") / "out"), 1, "cannot write into", "--out")


def test_files_of_an_earlier_run_are_not_this_runs(gate: Done, gate_user: User, tmp_path: Path) -> None:
    assert gate.code == 0
    text = tmp_path / "gate.mp4"
    text.write_text("this is no video")
    done = gate_user("run", "--source", text, "--json")
    assert done.code == 1
    assert json.loads(done.out)["files"] == []
    assert frames_of(gate_user.folder / "out" / "gate.mp4") == 360, "and they are still there"


def matroska(clip: Path, path: Path, title: str = "") -> Path:
    """The clip's packets in another container."""
    with av.open(str(clip)) as given, av.open(str(path), "w") as taken:
        taken.metadata["title"] = title
        stream = given.streams.video[0]
        copy = taken.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                taken.mux(packet)
    return path


def test_a_title_that_is_not_utf_8(user: User, wrong: Wrong, short: Path) -> None:
    titled = matroska(short, user.folder / "titled.mkv", title="Cafe-Cafe")
    latin = wrong.file("latin.mkv", titled.read_bytes().replace(b"Cafe-Cafe", "Café-Café".encode("latin-1")))
    done = user("run", "--source", latin, "--json")
    assert done.code == 0, done.err
    assert len(user.rows("latin")) == 40


def test_a_file_that_is_no_video(user: User, wrong: Wrong) -> None:
    check(user("run", "--source", wrong.file("text.mp4", "this is no video")), 1, "text.mp4")
    check(user("run", "--source", wrong.file("zero.jpg", b"")), 1, "zero.jpg", "empty")


def test_a_truncated_video_delivers_what_it_has(user: User, wrong: Wrong, short: Path) -> None:
    whole = matroska(short, user.folder / "whole.mkv")
    data = whole.read_bytes()
    cut = wrong.file("cut.mkv", data[: len(data) * 2 // 3])
    done = user("run", "--source", cut)
    rows = user.rows("cut")
    assert 0 < len(rows) < 40
    assert frames_of(user.folder / "out" / "cut.mp4") == len(rows)
    check(done, 1, "cut.mkv")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("[match]\ntreshold = 0.5\n", 2, ["treshold", "$.match"]),
        ("[match]\nthreshold = 'high'\n", 2, ["$.match.threshold", "float"]),
        ("[engine]\nslots = 1\n", 2, ["$.engine.slots"]),
        ("[match\n", 2, ["wrong.toml"]),
        ("[detect]\nmodel = 'dlib_face'\n", 1, ["embedder"]),
        ("[match]\nmodel = 'centerface'\n", 1, ["embedder"]),
        ("[detect]\nmodel = 'nothing'\n", 2, ["there is no model nothing"]),
        ("[detect]\nlayout = 'yolov8'\n", 1, ["yolov8"]),
        ("[detect]\nsize = [65536, 65536]\n", 2, ["$.detect.size", "4096"]),
        ("[record]\nout = 'a\\u0000b'\n".replace("'", '"'), 2, ["$.record.out"]),
        ("[match]\ngallery = 'a\\u0000b'\n".replace("'", '"'), 2, ["$.match.gallery"]),
        ("[record]\nsources = ['gate']\n", 2, ["$.record.sources", "leave it out"]),
    ],
)
def test_a_config_that_is_wrong(user: User, wrong: Wrong, text: str, code: int, words: list[str]) -> None:
    check(user("run", "--config", wrong.file("wrong.toml", text)), code, *words)
    assert not list((user.folder / "out").glob("gate*"))


@pytest.mark.parametrize("command", [["enroll", "Ada", "photo.jpg"], ["people"], ["forget", "Ada"]])
def test_a_config_with_a_table_nobody_knows(user: User, wrong: Wrong, command: list[str]) -> None:
    config = wrong.file("typo.toml", "[mtach]\nthreshold = 0.5\n")
    check(user(*command, "--config", config), 2, "mtach")
    config = wrong.file("whole.toml", "[engine]\nslots = 8\n[record]\nout = 'x'\n")
    assert "whole.toml" not in user(*command, "--config", config).err, "tables for other commands stand beside"


def test_enrolment_takes_the_config_of_a_run() -> None:
    tables = {*Settings.__struct_fields__, *GateSettings.__struct_fields__}
    assert set(EnrolmentSettings.__struct_fields__) == tables, "a table of one is known to the others"


def test_not_enough_memory_for_the_ring(user: User, wrong: Wrong) -> None:
    wide = user.folder / "wide.mp4"
    with av.open(str(wide), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 8000, 8000, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(8000, 8000, "yuv420p")))
        container.mux(stream.encode())
    config = wrong.file("config.toml", "[engine]\nslots = 256\n")
    check(user("run", "--source", wide, "--config", config), 1, "not enough memory for the frames of wide", "slots")


def test_wrong_usage(user: User) -> None:
    check(user("run", "--fuse", "--spread"), 2, "--fuse and --spread")
    check(user("run", "--source", "ftp://example/x.mp4"), 2, "cannot be read")
    assert user("run", "--provider", "abacus").code == 2
    for host in ("ho\u2100st/x", "[::1/x", "127.0.0.1:1/\udcff"):
        done = user("run", "--source", f"rtsp://user:secret@{host}")
        check(done, 2)
        assert "secret" not in done.err


def test_every_command_has_help_with_an_example(user: User) -> None:
    for words in (["run"], ["enroll"], ["people"], ["forget"], ["doctor"], ["models", "list"], ["models", "verify"]):
        done = user(*words, "--help")
        assert done.code == 0
        assert "Example" in done.out, words
    assert "Example" in user("models", "pull", "--help").out


class RunningRows:
    """The results of a run that goes on."""

    def __init__(self, out: Path, name: str) -> None:
        self._out, self._name = out, name

    def rows(self) -> list[dict[str, Any]]:
        found = [*self._out.glob(f"recording-*.part/{self._name}.jsonl")]
        return read_rows(found[0]) if found else []

    def wait(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        wait_for(lambda: enough(self.rows()), f"results of {self._name}", 60)
        return self.rows()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, what
        signal.sigtimedwait([], 0.02)


def newest(log: Path, process: str) -> int:
    """The process id that goes by that name now."""
    lines = map(json.loads, log.read_text().splitlines())
    return [line["pid"] for line in lines if (line["process"], line["event"]) == (process, "started")][-1]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
