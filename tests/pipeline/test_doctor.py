"""The doctor, on this machine and on others made of files."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline import libraries, machine, trials
from pipeline.doctor import doctor
from pipeline.errors import Failed

app = typer.Typer(rich_markup_mode="rich")
app.command()(doctor)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    return tmp_path


@pytest.fixture
def limits() -> Iterator[None]:
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)}
    yield
    for kind, values in before.items():
        resource.setrlimit(kind, values)


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_this_machine_can_do_the_main_job(place: Path) -> None:
    result = call("--json")
    findings = json.loads(result.stdout)
    assert [finding for finding in findings if finding["state"] == "broken"] == []
    assert result.exit_code == 0
    assert {"frame ring", "provider cpu", "provider cuda", "H.264", "camera", "keys", "model"} <= {
        finding["what"] for finding in findings
    }
    assert list(place.iterdir()) == []  # looking changes nothing


def test_what_is_broken_stands_in_the_table_and_in_the_exit_code(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    (place / "keys").mkdir()
    (place / "keys" / "gallery.keys").touch(mode=0o644)
    result = call()
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines() if " broken " in line] == ["keys"]
    assert "open to other users" in result.output


def test_help_has_an_example() -> None:
    assert "Example: python run_pipeline.py doctor" in call("--help").output


def proc(folder: Path, *, free: int) -> Path:
    (folder / "self").mkdir(parents=True)
    (folder / "self" / "cgroup").write_text("0::/\n")
    (folder / "meminfo").write_text(f"MemTotal: {8 << 20} kB\nMemFree: 1 kB\nMemAvailable: {free >> 10} kB\n")
    return folder


def test_memory(tmp_path: Path) -> None:
    plenty = machine.memory(proc(tmp_path / "proc", free=4 << 30), tmp_path)
    little = machine.memory(proc(tmp_path / "other", free=1 << 29), tmp_path)
    assert (plenty.state, plenty.found) == ("ok", "4.0 GiB free of 8.0 GiB")
    assert little.state == "note"


def test_memory_of_a_control_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "memory.max").write_text(f"{1 << 29}\n")
    finding = machine.memory(proc(tmp_path / "proc", free=4 << 30), tmp_path / "cgroup")
    assert finding.state == "note"
    assert finding.found == "0.5 GiB free of 8.0 GiB, limited to 0.5 GiB by a control group"


def test_a_quota_of_cores(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "cpu.max").write_text("100000 100000\n")
    finding = machine.processor(proc(tmp_path / "proc", free=4 << 30), tmp_path / "cgroup")
    assert finding.state == "note"
    assert finding.found.startswith("1 of ")


def test_open_files(limits: None) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    finding = machine.open_files()
    assert finding.state == "broken"
    assert "ulimit -n" in finding.advice


def test_no_room_for_a_frame_ring(limits: None) -> None:
    assert machine.shared_memory().state == "ok"
    before = os.listdir("/proc/self/fd")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    assert machine.shared_memory().state == "broken"
    assert os.listdir("/proc/self/fd") == before


def test_places(tmp_path: Path) -> None:
    state, keys = tmp_path / "state", tmp_path / "keys"
    assert {finding.state for finding in machine.places(state, keys)} == {"ok"}

    (tmp_path / "file").touch()
    (blocked, _) = machine.places(tmp_path / "file" / "state", keys)
    assert (blocked.state, "FRAMEWIRE_HOME" in blocked.advice) == ("broken", True)

    *_, inside = machine.places(state, state / "keys")
    assert inside.found == "inside of the data they protect"

    keys.mkdir()
    (keys / "a.keys").touch(mode=0o600)
    assert {finding.state for finding in machine.places(state, keys)} == {"ok"}
    (keys / "a.keys").chmod(0o640)
    *_, readable = machine.places(state, keys)
    assert (readable.state, "chmod" in readable.advice) == ("broken", True)


def test_cameras(tmp_path: Path) -> None:
    (finding,) = machine.cameras(tmp_path, tmp_path)
    assert (finding.state, finding.found) == ("note", "none")

    (tmp_path / "video10").touch()
    (tmp_path / "video2").symlink_to(tmp_path / "gone")  # nobody, not even root, may open it
    (tmp_path / "class" / "video10").mkdir(parents=True)
    (tmp_path / "class" / "video10" / "name").write_text("HD Webcam\n")
    closed, camera = machine.cameras(tmp_path, tmp_path / "class")
    assert (closed.state, "usermod -aG video" in closed.advice) == ("note", True)
    assert (camera.state, camera.found) == ("ok", f"{tmp_path / 'video10'} HD Webcam")


@pytest.mark.parametrize(
    ("script", "state", "found"),
    [
        ("echo 'NVIDIA L4, 23034 MiB, 560.1'", "ok", "NVIDIA L4, 23034 MiB, 560.1"),
        ("echo broken >&2; exit 9", "note", "nvidia-smi failed"),
    ],
)
def test_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str, found: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = machine.gpu()
    assert (finding.state, found in finding.found) == (state, True)


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpu().found == "no NVIDIA driver"


@pytest.mark.parametrize("decoder", ["hevc", "no such codec"])
def test_a_codec_that_does_not_give_back_what_it_got(decoder: str) -> None:
    assert trials.round_trip(trials.H264) == "libx264 encodes, h264 decodes"
    with pytest.raises(ValueError, match=decoder if " " in decoder else "come back|fails"):
        trials.round_trip(trials.H264._replace(decoder=decoder))


def test_a_shipped_model_that_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = trials.registry.SHIPPED
    for path in shipped.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "centerface.onnx").open("ab") as file:
        file.write(b"\0")
    (tmp_path / "dlib_face.onnx").unlink()
    monkeypatch.setattr(trials.registry, "SHIPPED", tmp_path)
    found = {Path(finding.found.split()[0]).name: finding for finding in trials.models()}
    assert (found["centerface.onnx"].state, "wrong sha256" in found["centerface.onnx"].found) == ("broken", True)
    assert (found["dlib_face.onnx"].state, "is missing" in found["dlib_face.onnx"].found) == ("broken", True)
    (tmp_path / "upstream.toml").unlink()
    assert [finding.state for finding in trials.models()] == ["broken"]


def test_a_system_library_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert libraries.missing() == {}
    monkeypatch.setattr(libraries, "PACKAGES", {"libabsent.so.1": "libabsent1", "libc.so.6": "libc6"})
    sentence = str(libraries.explained(ImportError("libabsent.so.1: cannot open shared object file")))
    assert sentence == "libabsent.so.1 is missing on this system: run sudo apt-get install -y libabsent1"
    assert isinstance(libraries.explained(ImportError()), Failed)
    assert machine.system_libraries().state == "broken"
