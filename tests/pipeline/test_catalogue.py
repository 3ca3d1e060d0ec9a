"""models list, verify and pull, as a user types them; tests/pipeline/test_registry.py has the parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.catalogue import app
from pipeline.errors import Failed, Usage
from pipeline.registry import SHIPPED


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    return tmp_path


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def models() -> dict[str, str]:
    return {row["name"]: row["where"] for row in json.loads(call("list", "--json").output)}


def test_list() -> None:
    assert models()["centerface"] == "shipped"
    assert models()["yunet"] == "upstream"
    table = call("list").output
    assert all(name in table for name in models())


def test_verify_names_the_files_that_are_as_they_should_be() -> None:
    result = call("verify")
    assert result.exit_code == 0
    shipped = sorted(path.stem for path in SHIPPED.glob("*.onnx"))
    names = ["centerface", "centerface_int8", "dlib_face", "person_ssdlite", "transnetv2", "transnetv2_int8"]
    assert shipped == [*names, "yolo_face", "yolo_face_int8"]
    assert [line.split()[:2] for line in result.output.splitlines()] == [["ok", name] for name in shipped]


def test_pull_from_a_mirror_then_verify(place: Path, shared: Path) -> None:
    path = Path(call("pull", "yunet", "--mirror", shared / "weights").output.strip())
    assert path.read_bytes() == (shared / "weights" / "yunet_n_dynamic.onnx").read_bytes()
    assert models()["yunet"] == "pulled"
    path.write_bytes(b"something else")
    with pytest.raises(Failed, match="the file of yunet is not the one on record: pull it again"):
        call("verify")


def test_a_wrong_file_is_refused(place: Path) -> None:
    mirror = place / "mirror"
    mirror.mkdir()
    (mirror / "yunet_n_dynamic.onnx").write_bytes(b"something else")
    with pytest.raises(Failed):
        call("pull", "yunet", "--mirror", mirror)
    assert models()["yunet"] == "upstream"
    with pytest.raises(Usage, match="there is no model nothing"):
        call("pull", "nothing")


@pytest.mark.parametrize("name", ["list", "verify", "pull"])
def test_help_has_an_example(name: str) -> None:
    assert f"Example: python run_pipeline.py models {name}" in call(name, "--help").output
