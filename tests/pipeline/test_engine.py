"""The engine with real processes: nothing is lost or repeated, whatever dies; nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import logs
from pipeline.briefing import EngineConfig
from pipeline.config import Config
from pipeline.graph import Process, Source, every, fuse, head, latest, packets, spread
from pipeline.metrics import Counter, State
from pipeline.rundir import RunDirectory
from pipeline.supervise import Supervisor
from tests.command import alive
from tests.pipeline.parts import (
    SIZE,
    Busy,
    Count,
    CountConfig,
    Film,
    Look,
    LookConfig,
    Name,
    NameConfig,
    Note,
    NoteConfig,
    Sieve,
    SieveConfig,
    Tape,
    Write,
    WriteConfig,
)

GRAPH = [
    Process("count", (Count,), per_source=True),
    Process("look", (Look, Name), hears=(head("count"),)),
    Process("write", (Write,), hears=(every("look"),)),
]


class Run:
    """A run of GRAPH, or of what was made of it."""

    def __init__(self, folder: Path, sources: Sequence[str] = ("a",), live: bool = False) -> None:
        self.folder = folder
        self.sources = [Source(name, name, live) for name in sources]
        self.settings: dict[str, Config] = {
            "Count": CountConfig(),
            "Look": LookConfig(),
            "Name": NameConfig(),
            "Write": WriteConfig(path=str(folder / "lines")),
        }
        self.engine = EngineConfig()
        self.supervisor: Supervisor

    def go(self, graph: Sequence[Process] = GRAPH, meddle: Callable[[Supervisor], None] = lambda _: None) -> Supervisor:
        """Run to the end; `meddle` is called again and again meanwhile."""
        ends = time.monotonic() + 100
        with Supervisor(graph, self.sources, self.settings, self.engine, self.folder / "log.jsonl") as supervisor:
            self.supervisor = supervisor
            while supervisor.step(0.05):
                meddle(supervisor)
                assert time.monotonic() < ends, self.log()
        return supervisor

    def log(self) -> str:
        path = self.folder / "log.jsonl"
        return path.read_text() if path.exists() else ""

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "lines").read_text().splitlines()]

    def seqs(self, source: str = "a") -> list[int]:
        return [row["seq"] for row in self.rows() if row["source"] == source]


@pytest.mark.parametrize("place", [list, fuse, spread])
def test_every_frame_comes_out_once_and_in_order(tmp_path: Path, place: Callable[..., list[Process]]) -> None:
    run = Run(tmp_path, ("a", "b"))
    supervisor = run.go(place(GRAPH))
    assert (supervisor.failures, supervisor.code) == ([], 0)
    assert run.seqs("a") == run.seqs("b") == list(range(100))
    assert (tmp_path / "lines.closed").exists()


@pytest.mark.parametrize("place", [list, fuse, spread])
def test_what_a_stage_gives_nothing_for_ends_there(tmp_path: Path, place: Callable[..., list[Process]]) -> None:
    run = Run(tmp_path)
    run.settings["Sieve"] = SieveConfig()
    sieved = replace(GRAPH[1], stages=(Sieve, Look, Name))
    supervisor = run.go(place([GRAPH[0], sieved, GRAPH[2]]))
    assert (supervisor.failures, supervisor.code) == ([], 0)
    assert run.seqs() == list(range(0, 100, 2))


def test_a_later_run_goes_on_where_an_ending_says_that_an_earlier_one_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=40)
    run.go()
    run.settings["Count"] = CountConfig(frames=100)
    run.settings["Look"] = LookConfig(raise_at=39)  # it is not shown again what is done
    assert run.go().code == 0
    assert run.seqs() == list(range(100))


def test_a_later_run_does_again_what_a_stage_on_the_way_says_that_it_has_not_done(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings |= {"Count": CountConfig(frames=40), "Note": NoteConfig(path=str(tmp_path / "notes"))}
    noting = [GRAPH[0], replace(GRAPH[1], stages=(Look, Name, Note)), GRAPH[2]]
    assert run.go(noting).code == 0
    (tmp_path / "notes").unlink()
    run.settings["Count"] = CountConfig(frames=100)
    assert run.go(noting).code == 0
    noted = [json.loads(line)["seq"] for line in (tmp_path / "notes").read_text().splitlines()]
    assert noted == run.seqs() == list(range(100))


def test_one_frame_in_a_hundred_leaves_its_trace_in_the_log(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=150)
    run.go()
    lines = [json.loads(line) for line in run.log().splitlines()]
    traces = [line for line in lines if line["event"] == "trace"]
    seen = {seq: [line["process"] for line in traces if line["seq"] == seq] for seq in (0, 100)}
    assert seen[0] == seen[100] == ["count-a", "look", "write"]
    ages = [line["age_ms"] for line in traces if line["seq"] == 100]
    assert 0 < ages[0] < ages[1] < ages[2]
    assert len(traces) == 6


def test_a_log_that_has_grown_is_renamed_and_all_write_on_into_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    monkeypatch.setattr(logs, "FILES", 1000)
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=10**9)
    files: list[Path] = []

    def look(supervisor: Supervisor) -> None:
        files[:] = tmp_path.glob("log.jsonl*")
        if len(files) == 4:
            supervisor.finish()

    run.go(meddle=look)
    files[:] = tmp_path.glob("log.jsonl*")
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert {line["process"] for line in lines if line["event"] == "ended"} == {"count-a", "look", "write"}
    traced = [line["seq"] for line in lines if line["event"] == "trace" and line["process"] == "write"]
    assert sorted(traced) == list(range(0, run.seqs()[-1] + 1, 100))
    assert all(path.stat().st_size >= 2000 for path in files if path.name != "log.jsonl")


def test_of_a_log_the_newest_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 3)
    path = tmp_path / "gate.log"
    logs.rotate(path)  # before the first line
    for content in ("one", "two", "three", "four", "five", "six", "7"):
        path.write_text(content)
        logs.rotate(path)
    kept = {file.name: file.read_text() for file in tmp_path.iterdir()}
    old = {"gate.log.1": "six", "gate.log.2": "five", "gate.log.3": "four", "gate.log.4": "three"}
    assert kept == {"gate.log": "7"} | old


@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_killed_nothing_is_lost_or_repeated(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=10**9)  # until all have been killed, however fast the machine is
    victims = [name for name in ("count-a", "look", "name", "write") for _ in range(3)]
    chance.shuffle(victims)
    progress = 0

    def kill(supervisor: Supervisor) -> None:
        nonlocal progress
        children = {child.name: child for child in supervisor.children}
        done = children["write"].page.get(Counter.SENT)
        if done < progress + chance.randint(20, 60):
            return
        if not victims:
            supervisor.finish()
        elif victim := children[victims[-1]].running:
            victims.pop()
            progress = done
            victim.kill()

    supervisor = run.go(spread(GRAPH), kill)
    assert (supervisor.failures, supervisor.code) == ([], 0)
    assert sum(child.restarts for child in supervisor.children) == 12
    seqs = run.seqs()
    assert seqs == list(range(len(seqs)))
    assert len(seqs) == supervisor.children[0].page.last_sent()[0] + 1, "all that was read came out"
    refused = [child.page.get(Counter.REFUSED) for child in supervisor.children]
    assert not any(refused), "a dead process's last words are no nonsense"


TAPED = [
    Process("film", (Film,), per_source=True),
    Process("look", (Look, Name), hears=(head("film"),)),
    Process("tape", (Tape,), hears=(latest("look"), packets("film"))),
]


def taped(run: Run) -> list[list[str]]:
    return [line.split() for line in (run.folder / "lines.packets").read_text().splitlines()]


def test_packets_come_beside_the_frames_all_of_them_from_the_first(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a", "b"))
    run.settings |= {"Film": CountConfig(frames=400), "Tape": run.settings["Write"]}
    supervisor = run.go(TAPED)
    assert (supervisor.failures, supervisor.code) == ([], 0)
    for source in ("a", "b"):
        found = [(int(number), int(size)) for name, number, size in taped(run) if name == source]
        assert found == [(number, 1000) for number in range(400)]
    counted = [child.page.get(Counter.DROPPED) for child in supervisor.children if child.name != "tape"]
    assert not any(counted), "a packet is no frame"


def test_who_hears_packets_and_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings |= {"Film": CountConfig(frames=400, every_s=0.005), "Tape": run.settings["Write"]}
    killed = False

    def kill(supervisor: Supervisor) -> None:
        nonlocal killed
        tape = supervisor.children[-1]
        if not killed and tape.running and tape.page.get(Counter.SENT) > 20:
            killed = True
            tape.running.kill()

    supervisor = run.go(TAPED, kill)
    assert (killed, supervisor.failures, supervisor.code) == (True, [], 0)
    assert supervisor.children[0].restarts == 0
    numbers = [int(number) for _, number, _ in taped(run)]
    assert numbers == sorted(set(numbers)), "in order, each once"
    assert (numbers[0], numbers[-1]) == (0, 399)


def test_packets_that_nobody_takes_are_lost_counted_and_told(tmp_path: Path) -> None:
    run = Run(tmp_path, live=True)
    run.settings |= {"Film": CountConfig(frames=10**9), "Busy": run.settings["Write"]}

    def let_go(supervisor: Supervisor) -> None:
        if supervisor.children[0].page.get(Counter.UNSENT) and not (tmp_path / "lines.go").exists():
            (tmp_path / "lines.go").touch()
        if '"packets go on"' in run.log():
            supervisor.finish()

    supervisor = run.go([*TAPED[:2], Process("tape", (Busy,), hears=(latest("look"), packets("film")))], let_go)
    assert (supervisor.failures, supervisor.code) == ([], 0)
    numbers = [int(number) for _, number, _ in taped(run)]
    assert numbers == sorted(set(numbers))
    lost = numbers[-1] - numbers[0] + 1 - len(numbers)  # from the first that came on: nobody heard those before
    assert 0 < lost <= supervisor.children[0].page.get(Counter.UNSENT)
    assert '"packets are lost"' in run.log()


@pytest.mark.parametrize("name", ["count-a", "look", "write"])
def test_sigterm_is_the_supervisors_to_hear(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=400, every_s=0.01)
    told = False

    def terminate(supervisor: Supervisor) -> None:
        nonlocal told
        (child,) = [child for child in supervisor.children if child.name == name]
        if not told and child.running and supervisor.children[-1].page.get(Counter.SENT) > 20:
            child.running.terminate()
            told = True

    supervisor = run.go(meddle=terminate)
    assert (told, supervisor.failures, supervisor.code) == (True, [], 0)
    assert run.seqs() == list(range(400))


def test_memory_stays_flat(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=3000)
    seen: dict[str, list[tuple[int, int]]] = {}

    def weigh(supervisor: Supervisor) -> None:
        for child in supervisor.children:
            if child.running and (pages := _resident(child.running.pid)):
                seen.setdefault(child.name, []).append((child.page.get(Counter.SENT), pages))

    run.go(meddle=weigh)
    for name, weights in seen.items():
        settled = [pages for sent, pages in weights if sent >= 1000]
        assert settled, name
        assert max(settled) - settled[0] < 512, f"{name} grew by {max(settled) - settled[0]} pages over 2000 frames"


@pytest.mark.parametrize("bad", [0, 42, 99])
def test_a_frame_that_kills_its_stage_twice_is_left_out(tmp_path: Path, bad: int) -> None:
    run = Run(tmp_path)
    run.settings["Look"] = LookConfig(kill_at=bad)
    supervisor = run.go()
    assert run.seqs() == [seq for seq in range(100) if seq != bad]
    assert supervisor.code == 1
    assert f"frame {bad} of a killed look twice and was left out" in supervisor.failures[0]
    write = next(child for child in supervisor.children if child.name == "write")
    assert write.page.get(Counter.SENT) == 99, "what was left out is no result"


def test_a_process_that_does_not_stop_fails_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Look"] = LookConfig(hang_at=20)

    def stop(supervisor: Supervisor) -> None:
        if supervisor.children[-1].page.get(Counter.SENT) >= 20:
            supervisor.finish()

    supervisor = run.go(meddle=stop)
    assert supervisor.code == 1
    assert any("look did not stop in time" in sentence for sentence in supervisor.failures)
    assert run.seqs() == list(range(20))


def test_a_stage_that_raises_is_no_different(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, ("a", "b"))
    run.settings["Look"] = LookConfig(raise_at=7)
    supervisor = run.go()
    assert run.seqs("a") == run.seqs("b") == [seq for seq in range(100) if seq != 7]
    assert supervisor.code == 1
    said = [getattr(record, "stderr", "") for record in caplog.records]
    assert any("RuntimeError: cannot bear frame 7" in text for text in said), "its traceback is in the log"


def test_a_process_that_keeps_crashing_stops_the_graph_with_its_traceback(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Look"] = LookConfig(crash_at_start=True)
    supervisor = run.go()
    assert supervisor.code == 1
    assert "look crashed 5 times" in supervisor.failures[-1]
    assert "ZeroDivisionError" in supervisor.failures[-1]


def test_a_stage_that_cannot_start_fails_the_run_with_its_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Look"] = LookConfig(refuse_to_start="there is no such model: name another")
    supervisor = run.go()
    assert (supervisor.failures, supervisor.code) == (["there is no such model: name another"], 1)
    assert not (tmp_path / "lines.closed").exists()


def test_a_source_that_breaks_off_delivers_what_it_had(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a", "b"))
    run.settings["Count"] = CountConfig(fail_at=30)
    supervisor = run.go()
    assert sorted(supervisor.failures) == [f"{name} is damaged after frame 29" for name in "ab"]
    assert supervisor.code == 1
    assert run.seqs("a") == run.seqs("b") == list(range(30))
    assert (tmp_path / "lines.closed").exists()


def test_frames_that_grow_get_a_new_ring(tmp_path: Path) -> None:
    run = Run(tmp_path)
    sizes = ((64, 48), (32, 16), (128, 96), (640, 480))
    run.settings["Count"] = CountConfig(frames=40, sizes=sizes)
    run.go()
    assert [tuple(row["size"]) for row in run.rows()] == [sizes[n % 4] for n in range(40)]


def test_a_ring_that_does_not_fit_into_memory_fails_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(sizes=((32768, 32768),))
    run.engine = EngineConfig(slots=256)
    supervisor = run.go()
    assert supervisor.code == 1
    assert "not enough memory for the frames of a" in supervisor.failures[0]


def test_a_live_source_is_not_delayed_by_a_slow_stage(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a", "b"), live=True)
    run.settings["Count"] = CountConfig(frames=150, every_s=0.01)
    run.settings["Look"] = LookConfig(slow_s=0.02)
    supervisor = run.go()
    look = next(child for child in supervisor.children if child.name == "look")
    dropped = look.page.get(Counter.DROPPED)
    assert dropped > 50
    for name in "ab":
        seqs = run.seqs(name)
        assert seqs == sorted(set(seqs))
        assert seqs[-1] == 149, "the last frame is waited for"
    ages = [row["age_ms"] for row in run.rows()]
    first, last = ages[: len(ages) // 3], ages[-len(ages) // 3 :]
    assert sorted(last)[len(last) // 2] < 3 * sorted(first)[len(first) // 2], "delay builds up"


def test_told_to_finish_it_closes_what_it_has(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=10**9)

    def stop(supervisor: Supervisor) -> None:
        if supervisor.children[-1].page.get(Counter.SENT) > 50:
            supervisor.finish()

    supervisor = run.go(meddle=stop)
    assert supervisor.code == 0
    seqs = run.seqs()
    assert len(seqs) > 50
    assert seqs == list(range(len(seqs)))
    assert (tmp_path / "lines.closed").exists()


def test_a_backlog_is_finished_however_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.supervise.ABORT_AFTER_S", 0.6)
    monkeypatch.setattr("pipeline.supervise.KILL_AFTER_S", 0.9)
    run = Run(tmp_path)
    run.settings |= {"Count": CountConfig(frames=10**9), "Look": LookConfig(slow_s=0.2)}  # 15 frames: 3 s

    def stop(supervisor: Supervisor) -> None:
        if supervisor.children[-1].page.get(Counter.SENT) > 2:
            supervisor.finish()

    supervisor = run.go(meddle=stop)
    assert (supervisor.failures, supervisor.code) == ([], 0)
    assert run.seqs() == list(range(supervisor.children[0].page.get(Counter.SENT)))


def test_who_hangs_when_told_to_stop_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.supervise.ABORT_AFTER_S", 0.6)
    monkeypatch.setattr("pipeline.supervise.KILL_AFTER_S", 0.9)
    run = Run(tmp_path)
    run.settings |= {"Count": CountConfig(frames=10**9), "Look": LookConfig(hang_at=20)}

    def stop(supervisor: Supervisor) -> None:
        if supervisor.children[-1].page.get(Counter.SENT) == 20:
            supervisor.finish()

    supervisor = run.go(meddle=stop)
    assert supervisor.code == 1
    assert "did not stop in time" in " ".join(supervisor.failures)
    assert run.seqs() == list(range(20))


def test_to_abort_again_and_again_does_not_put_off_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a second Ctrl-C does, as long as the run goes on."""
    monkeypatch.setattr("pipeline.supervise.ABORT_AFTER_S", 0.6)
    monkeypatch.setattr("pipeline.supervise.KILL_AFTER_S", 0.9)
    run = Run(tmp_path)
    run.settings |= {"Count": CountConfig(frames=10**9), "Look": LookConfig(hang_at=20)}
    began: list[float] = []

    def stop(supervisor: Supervisor) -> None:
        if supervisor.children[-1].page.get(Counter.SENT) == 20:
            began.append(time.monotonic())
            supervisor.abort()
            assert time.monotonic() < began[0] + 30, "it goes on"

    assert run.go(meddle=stop).code == 1
    assert run.seqs() == list(range(20))


def test_a_folder_of_our_name_where_the_user_is_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path)
    assert run.go().failures == []


def test_a_death_without_words_is_named(tmp_path: Path) -> None:
    def kill(supervisor: Supervisor) -> None:
        (look,) = [child for child in supervisor.children if child.name == "look"]
        if look.running:
            look.running.kill()

    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=10**9)
    supervisor = run.go(meddle=kill)
    assert supervisor.code == 1
    assert "the last time it said:\nnothing; it ended with signal SIGKILL" in supervisor.failures[-1]


def test_runs_that_begin_while_others_end() -> None:
    def come_and_go() -> list[Path]:
        paths = []
        for _ in range(150):
            directory = RunDirectory()
            paths.append(directory.path)
            directory.remove()
        return paths

    with ThreadPoolExecutor(3) as pool:
        paths = [path for run in [pool.submit(come_and_go) for _ in range(3)] for path in run.result()]
    assert len(paths) == len(set(paths)) == 450
    assert not any(path.exists() for path in paths)


def test_a_stage_that_hangs_is_killed_by_the_watchdog(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    run.settings["Look"] = LookConfig(hang_at=5)
    run.engine = EngineConfig(watchdog_s=0.5)
    supervisor = run.go()
    assert run.seqs() == [seq for seq in range(100) if seq != 5]
    assert supervisor.code == 1
    assert [record.message for record in caplog.records].count("hangs") == 2, "said once a kill"


def test_a_source_that_waits_for_slow_stages_neither_hangs_nor_drains(tmp_path: Path) -> None:
    """A larger frame needs a new ring, and the old one is given up when all its frames are done."""
    run = Run(tmp_path)
    run.settings["Count"] = CountConfig(frames=30, sizes=(SIZE,) * 29 + ((128, 96),))
    run.settings["Look"] = LookConfig(slow_s=0.1)
    run.engine = EngineConfig(watchdog_s=0.5)

    def watch(supervisor: Supervisor) -> None:
        page = supervisor.children[0].page
        assert page.get(Counter.STATE) != State.DRAINING or page.get(Counter.SENT) == 30

    supervisor = run.go(meddle=watch)
    assert (supervisor.failures, supervisor.code) == ([], 0)
    assert sum(child.restarts for child in supervisor.children) == 0
    assert run.seqs() == list(range(30))


def test_what_a_latest_hearer_never_got_is_a_drop(tmp_path: Path) -> None:
    run = Run(tmp_path, live=True)
    run.settings["Count"] = CountConfig(frames=20)  # all there before the next process listens
    supervisor = run.go()
    _, look, write = supervisor.children
    lost = look.page.get(Counter.DROPPED) + look.page.get(Counter.OVERWRITTEN)
    assert lost + write.page.get(Counter.SENT) == 20


def test_after_kill_9_of_the_supervisor_all_are_gone_and_the_next_run_starts_clean(tmp_path: Path) -> None:
    script = Path(__file__).with_name("endless.py")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, env=environment, text=True
    ) as parent:
        assert parent.stdout is not None
        told = json.loads(parent.stdout.readline())
        assert all(alive(pid) for pid in told["pids"])
        parent.kill()
    _await(lambda: not any(alive(pid) for pid in told["pids"]), 1.0)
    assert Path(told["run"]).exists()
    (tmp_path / "next").mkdir()
    run = Run(tmp_path / "next")
    run.go()
    assert run.seqs() == list(range(100))
    assert not Path(told["run"]).exists(), "the next run sweeps what the killed one left"
    assert not run.supervisor.run.path.exists()


@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_after_kill_9_of_a_supervisor_that_starts_all_are_gone(tmp_path: Path, after_s: float) -> None:
    """Its processes are still loading."""
    script = Path(__file__).with_name("endless.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script, tmp_path, "start"], stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        pids = json.loads(run.stdout.readline())["pids"]
        signal.sigtimedwait([], after_s)
        run.kill()
    _await(lambda: not any(alive(pid) for pid in pids), 1.0)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def _await(condition: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        signal.sigtimedwait([], 0.01)
