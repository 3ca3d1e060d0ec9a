import ctypes
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from bench import gpu_check
from pipeline import cuda, model
from pipeline.errors import Failed, Usage
from pipeline.lanes import HostLane
from pipeline.model import Model, ModelConfig, bucket_for, set_thread_budget, thread_budget
from pipeline.session import ARRAY, PIXELS, Plan, Tensor, make_plan, open_session
from tests.pipeline.tiny_onnx import FLOAT, FLOAT16, INT64, UINT8, tiny

ROOT = Path(__file__).resolve().parents[2]
CENTERFACE = ROOT / "models" / "centerface.onnx"
SIZE = (96, 128)
no_gpu = pytest.mark.skipif(not cuda.no_device(), reason="this machine has a GPU; this tests one without")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_budget", 1)


def images(count: int, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    return np.random.default_rng(count).random((count, 3, *size), np.float32) * 255


def write(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


def relu(shape: Sequence[int | str], metadata: Mapping[str, str] | None = None, kind: int = FLOAT) -> bytes:
    return tiny("Relu", [("x", kind, shape)], [("y", kind, shape)], metadata or {})


# What it gives


def test_any_batch_gives_what_its_images_give_alone() -> None:
    detector = Model(CENTERFACE, provider="cpu", size=SIZE, batch=4)
    batch = images(11)  # 4 + 4 + 3
    together = [output.copy() for output in detector(batch)]
    assert [output.shape for output in together] == [(11, c, 24, 32) for c in (1, 2, 2, 10)]
    for row, image in enumerate(batch):
        for alone, all_ in zip(detector(image[None]), together, strict=True):
            np.testing.assert_allclose(alone[0], all_[row], atol=1e-4)


def test_it_gives_what_a_plain_session_gives() -> None:
    import onnxruntime

    detector = Model(CENTERFACE, provider="cpu", size=SIZE)
    batch = images(1)
    expected = onnxruntime.InferenceSession(CENTERFACE, providers=["CPUExecutionProvider"]).run(None, {"images": batch})
    for ours, theirs in zip(detector(batch), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_outputs_are_the_same_memory_call_after_call() -> None:
    detector = Model(CENTERFACE, provider="cpu", size=SIZE, batch=2)
    batch = images(2)
    first = [output.ctypes.data for output in detector(batch)]
    assert [output.ctypes.data for output in detector(batch[::-1])] == first


def test_an_empty_batch_gives_empty_outputs() -> None:
    found = Model(CENTERFACE, provider="cpu", size=SIZE)(images(0))
    assert [output.shape for output in found] == [(0, c, 24, 32) for c in (1, 2, 2, 10)]


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes \(-1, 3, 96, 128\), not \(1, 3, 32, 32\)"):
        Model(CENTERFACE, provider="cpu", size=SIZE)(images(1, (32, 32)))


def test_a_fixed_batch_is_padded_and_split(tmp_path: Path) -> None:
    path = write(tmp_path / "four.onnx", relu([4, 3, 8, 8]))
    four = Model(path, provider="cpu", batch=1)
    assert four.info.buckets == (4,)
    for count in (1, 4, 3, 9):
        np.testing.assert_array_equal(four(images(count, (8, 8)))[0], images(count, (8, 8)))


def test_a_batch_folded_into_the_first_axis_is_cut_and_joined_right(tmp_path: Path) -> None:
    outputs = [("y", FLOAT, (4 * 3 * 8, 8))]  # as SCRFD does it: rows of all images, one after the other
    blob = tiny("Reshape", [("x", FLOAT, (4, 3, 8, 8))], outputs, {}, constant=(-1, 8))
    folded = Model(write(tmp_path / "folded.onnx", blob), provider="cpu")
    for count in (1, 4, 6):
        np.testing.assert_array_equal(folded(images(count, (8, 8)))[0], images(count, (8, 8)).reshape(-1, 8))


def test_outputs_that_vary_in_size_come_as_they_are(tmp_path: Path) -> None:
    blob = tiny("NonZero", [("x", FLOAT, ("n", 3, 8, 8))], [("y", INT64, (4, "found"))], {})
    finder = Model(write(tmp_path / "finder.onnx", blob), provider="cpu", batch=2)
    assert finder.info.outputs[0].shape == (4, -1)
    for found in (0, 5, 2):
        batch = np.zeros((1, 3, 8, 8), np.float32)
        batch[0, 1, 2, :found] = 1
        assert finder(batch)[0].T.tolist() == [[0, 1, 2, column] for column in range(found)]
    with pytest.raises(ValueError, match="vary in size"):
        finder(images(3, (8, 8)))


def test_a_file_that_promises_wrong_shapes_still_runs(tmp_path: Path) -> None:
    blob = tiny("NonZero", [("x", FLOAT, (1, 3, 8, 8))], [("y", INT64, ("a", "b"))], {})
    assert Model(write(tmp_path / "vague.onnx", blob), provider="cpu")(images(1, (8, 8)))[0].shape == (4, 192)


def test_float16_files_take_and_give_float32(tmp_path: Path) -> None:
    half = Model(write(tmp_path / "half.onnx", relu(["n", 3, 8, 8], kind=FLOAT16)), provider="cpu", batch=2)
    found = half(images(2, (8, 8)))[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images(2, (8, 8)), rtol=1e-3)


# Pixels in place of planes


def pixels(op: str = "Sign", shape: Sequence[int | str] = ("n", "h", "w", 3), said: str = PIXELS) -> bytes:
    """A file that takes uint8; Sign leaves 0 and 1 as they are."""
    output = ("y", UINT8, shape) if op == "Sign" else ("y", INT64, (4, "found"))
    return tiny(op, [("x", UINT8, shape)], [output], {"framewire.input": said} if said else {})


def bits(count: int, size: tuple[int, int] = (8, 12)) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 2, (count, *size, 3), np.uint8)


def test_a_file_with_its_preprocessing_inside_takes_pixels(tmp_path: Path) -> None:
    signs = Model(write(tmp_path / "pixels.onnx", pixels()), provider="cpu", size=(8, 12), batch=2)
    assert signs.info.inputs == (Tensor("x", "uint8", (1, 8, 12, 3)),)
    assert signs.info.size == (8, 12)
    for count in (1, 2, 3):
        assert Tensor("x", "uint8", (count, 8, 12, 3)).fits(signs.info.blank(count))
        np.testing.assert_array_equal(signs(bits(count))[0], bits(count))


def test_blank_is_float32_for_every_other_file(tmp_path: Path) -> None:
    for kind in (FLOAT, FLOAT16):
        info = Model(write(tmp_path / "x.onnx", relu(["n", 3, 8, 12], kind=kind)), provider="cpu").info
        assert Tensor("x", "float32", (2, 3, 8, 12)).fits(info.blank(2))


def test_pixels_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    signs = Model(write(tmp_path / "pixels.onnx", pixels()), provider="cpu", size=(8, 12))
    with pytest.raises(ValueError, match=r"takes \(-1, 8, 12, 3\), not \(1, 3, 8, 12\)"):
        signs(images(1, (8, 12)))
    with pytest.raises(ValueError, match="takes uint8, not float32"):
        signs(bits(1).astype(np.float32))


def test_pixels_whose_outputs_vary_in_size(tmp_path: Path) -> None:
    finder = Model(write(tmp_path / "finder.onnx", pixels("NonZero")), provider="cpu", size=(8, 12), batch=2)
    np.testing.assert_array_equal(finder(bits(2))[0], np.array(np.nonzero(bits(2))))


def test_device_lanes_take_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "pixels.onnx", pixels())
    plan = make_plan(path, path.read_bytes(), (8, 12))
    session = open_session(plan, ["CPUExecutionProvider"], 1)
    lane = cuda.DeviceLane(session, plan.feed(4), plan.outputs(session, 4), HostMemory(), graph=4, device="cpu")
    for count in (4, 3):
        np.testing.assert_array_equal(lane(bits(count))[0][:count], bits(count))
    assert not lane.replays(), "the CPU has no graphs: an input bound elsewhere is seen"


@pytest.mark.parametrize(
    ("blob", "sentence"),
    [
        (pixels(said=""), r"\(N, height, width, 3\) with framewire.input 'uint8 NHWC' in its metadata"),
        (pixels(said="uint8 NCHW"), r"with framewire.input 'uint8 NCHW'; a model here takes"),
        (relu([1, 3, 8, 8], {"framewire.input": PIXELS}), r"tensor\(float\).* with framewire.input 'uint8 NHWC'; a"),
        (pixels(shape=("n", "h", "w", 1)), r"takes 1 channels where 3 are needed: \(N, height, width, 3\)"),
    ],
    ids=["mute", "unknown", "float", "grey"],
)
def test_pixels_that_a_file_does_not_mean(tmp_path: Path, blob: bytes, sentence: str) -> None:
    path = write(tmp_path / "x.onnx", blob)
    with pytest.raises(Failed, match=sentence) as refusal:
        Model(path, provider="cpu", size=(8, 12))
    assert "\n" not in str(refusal.value)


# Arrays in place of images


@pytest.mark.parametrize("shape", [("n", 5, 16), ("n", 7), ("n", 4, 6, 8, 3)], ids=str)
def test_a_file_that_says_so_takes_arrays(tmp_path: Path, shape: tuple[str | int, ...]) -> None:
    path = write(tmp_path / "array.onnx", relu(shape, {"framewire.input": ARRAY}))
    network = Model(path, provider="cpu", batch=2)
    sizes = network.info.inputs[0].shape[1:]
    assert (sizes, network.info.size) == (shape[1:], (0, 0))
    for count in (1, 2, 3):
        batch = np.random.default_rng(count).random((count, *sizes), np.float32)
        np.testing.assert_array_equal(network(batch)[0], batch)
    with pytest.raises(ValueError, match=r"takes \(-1, .*\), not \(1, 3, 96, 128\)"):
        network(images(1))


def test_a_file_of_one_array_a_run_takes_several(tmp_path: Path) -> None:
    network = Model(write(tmp_path / "one.onnx", relu([1, 5, 16], {"framewire.input": ARRAY})), provider="cpu")
    batch = np.random.default_rng(0).random((3, 5, 16), np.float32)
    np.testing.assert_array_equal(network(batch)[0], batch)


def test_arrays_have_the_sizes_of_their_file(tmp_path: Path) -> None:
    path = write(tmp_path / "array.onnx", relu(["n", 5, "t"], {"framewire.input": ARRAY}))
    with pytest.raises(Failed, match=r"with framewire\.input 'array' it has to be one batch of fixed sizes"):
        Model(path, provider="cpu")
    with pytest.raises(Usage, match="takes no images, so no size either"):
        Model(path, provider="cpu", size=SIZE)


# Sizes


def test_sizes_without_names_of_their_own_work(tmp_path: Path) -> None:
    shapes: list[list[int | str]] = [["n", 3, "?", "?"], ["", 3, "", ""], ["n", "c", "h", "w"]]
    for shape in shapes:
        free = Model(write(tmp_path / "free.onnx", relu(shape)), provider="cpu", size=(8, 12), batch=2)
        np.testing.assert_array_equal(free(images(2, (8, 12)))[0], images(2, (8, 12)))


def test_the_size_asked_for_goes_before_the_files_own() -> None:
    assert Model(CENTERFACE, provider="cpu").info.size != SIZE
    info = Model(CENTERFACE, provider="cpu", size=SIZE).info
    assert info.size == SIZE
    assert info.outputs[0] == Tensor("heatmap", "float32", (1, 1, 24, 32))


def test_a_size_that_the_file_does_not_take_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "fixed.onnx", relu([1, 3, 8, 8]))
    with pytest.raises(Usage, match=r"takes images of 8x8 \(height x width\) only, not 16x8"):
        Model(path, provider="cpu", size=(16, 8))


def test_a_file_of_any_size_wants_to_be_told_one(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="tell it one"):
        Model(write(tmp_path / "any.onnx", relu(["n", 3, "h", "w"])), provider="cpu")


@pytest.mark.parametrize(("count", "bucket"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 8)], ids=str)
def test_the_next_bucket_holds_a_batch(count: int, bucket: int) -> None:
    assert bucket_for(count, cuda.BUCKETS) == bucket


def test_buckets_reach_as_far_as_batches_do() -> None:
    plan = make_plan(CENTERFACE, CENTERFACE.read_bytes(), SIZE)
    assert plan.buckets(1, cuda.BUCKETS) == (1,)
    assert plan.buckets(3, cuda.BUCKETS) == (1, 2, 4)
    assert plan.buckets(20, cuda.BUCKETS) == (1, 2, 4, 8)
    assert plan.buckets(3, ()) == (1, 2, 3)


# What it says of itself


def test_metadata_is_read(tmp_path: Path) -> None:
    said = {
        "layout": "yolov5",
        "size": "8x16",
        "mean": "1,2,3",
        "scale": "0.5,0.25,0.125",
        "order": "BGR",
        "labels": '["cat", "dog"]',
        "align": "",
        "licence": "MIT",
        "origin": "somewhere",
    }
    blob = relu(["n", 3, "h", "w"], {f"framewire.{key}": value for key, value in said.items()})
    info = Model(write(tmp_path / "told.onnx", blob), provider="cpu").info
    assert (info.name, info.layout, info.size, info.order, info.provider) == ("told", "yolov5", (8, 16), "BGR", "cpu")
    assert (info.mean, info.scale, info.labels) == ((1, 2, 3), (0.5, 0.25, 0.125), ("cat", "dog"))
    assert (info.licence, info.origin, info.metadata["framewire.licence"]) == ("MIT", "somewhere", "MIT")


def test_a_file_without_metadata_says_nothing(tmp_path: Path) -> None:
    info = Model(write(tmp_path / "mute.onnx", relu([1, 3, 8, 8])), provider="cpu").info
    assert (info.layout, info.mean, info.scale, info.order, info.labels) == ("", None, None, "", ())


def test_the_card_speaks_where_the_file_is_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "carded.onnx", relu([1, 3, 8, 8], {"framewire.order": "RGB"}))
    write_card(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), layout="yolox", order="BGR")
    info = Model(path, provider="cpu").info
    assert (info.layout, info.order) == ("yolox", "RGB")


@pytest.mark.parametrize(("key", "value"), [("mean", "1,2"), ("scale", "a,b,c"), ("labels", "cat"), ("size", "8")])
def test_wrong_metadata_is_refused(tmp_path: Path, key: str, value: str) -> None:
    path = write(tmp_path / "wrong.onnx", relu([1, 3, 8, 8], {f"framewire.{key}": value}))
    with pytest.raises(Failed, match=r"wrong\.onnx"):
        Model(path, provider="cpu")


# What is refused


def test_a_missing_file() -> None:
    with pytest.raises(Failed, match=r"no model file nowhere/x\.onnx"):
        Model("nowhere/x.onnx", provider="cpu")


@pytest.mark.parametrize("blob", [b"", b"hello", CENTERFACE.read_bytes()[:100_000]], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_model(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(Failed, match=r"x\.onnx is not an ONNX model that ONNX Runtime can load: .") as refusal:
        Model(write(tmp_path / "x.onnx", blob), provider="cpu")
    assert "\n" not in str(refusal.value)
    assert "ONNXRuntimeError" not in str(refusal.value)


def test_a_file_with_another_hash_is_not_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", relu([1, 3, 8, 8]))
    with pytest.raises(Failed, match="damaged or was changed"):
        Model(path, provider="cpu", sha256="0" * 64)
    Model(path, provider="cpu", sha256=hashlib.sha256(path.read_bytes()).hexdigest().upper())


def test_weights_in_a_second_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sha256 would say nothing of them. ONNX Runtime takes them from the working directory, if it may."""
    value = ("x", FLOAT, (1, 3, 8, 8)), ("y", FLOAT, (1, 3, 8, 8))
    path = write(tmp_path / "x.onnx", tiny("Mul", value[:1], value[1:], {}, elsewhere="x.data"))
    write(tmp_path / "x.data", np.float32(2).tobytes())
    for folder in (ROOT, tmp_path):
        monkeypatch.chdir(folder)
        with pytest.raises(Failed, match="keeps weights in a second file") as refusal:
            Model(path, provider="cpu")
        assert "\n" not in str(refusal.value)


def test_a_config_of_the_models_name_is_no_card(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", relu([1, 3, 8, 8]))
    (tmp_path / "x.toml").write_text("[detect]\nmodel = 'x.onnx'\n")
    with pytest.raises(Failed, match=r"x\.toml: .*it lies beside x\.onnx and is read as its card"):
        Model(path, provider="cpu")


def test_the_card_beside_the_file_is_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", relu([1, 3, 8, 8]))
    write_card(path, sha256="1" * 64)
    with pytest.raises(Failed, match="damaged or was changed"):
        Model(path, provider="cpu")


@pytest.mark.parametrize(
    "inputs",
    [
        [("x", FLOAT, (1, 1, 8, 8))],
        [("x", UINT8, (1, 3, 8, 8))],
        [("x", FLOAT, (1, 3, 8))],
        [("x", FLOAT, (1, 3, 8, 8)), ("z", FLOAT, (1, 3, 8, 8))],
    ],
    ids=["grey", "uint8", "flat", "two"],
)
def test_a_file_that_takes_no_image_batch(tmp_path: Path, inputs: list[tuple[str, int, Sequence[int]]]) -> None:
    path = write(
        tmp_path / "x.onnx", tiny("Max" if len(inputs) == 2 else "Sign", inputs, [("y", inputs[0][1], ())], {})
    )
    with pytest.raises(Failed, match=r"\(N, 3, height, width\)"):
        Model(path, provider="cpu")


# Threads and start


def test_the_thread_budget_is_at_least_one() -> None:
    set_thread_budget(3)
    assert thread_budget() == 3
    set_thread_budget(0)
    assert thread_budget() == 1


def test_loading_says_and_leaves_nothing(tmp_path: Path) -> None:
    """ONNX Runtime would warn of missing CUDA libraries, and keep a device id and events for its maker under ~."""
    code = (
        "import sys, pipeline.model as m\n"
        "assert 'onnxruntime' not in sys.modules, 'imported too early'\n"
        "m.Model('models/centerface.onnx', size=(96, 128))\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# The GPU path, as far as a CPU can walk it


class HostMemory:
    """Stands in for CUDA's: device buffers on the CPU are host memory, too."""

    def zeros(self, tensor: Tensor) -> NDArray[np.float32]:
        return np.zeros(tensor.shape, tensor.dtype)

    def copy(self, pairs: Sequence[tuple[int, int, int]]) -> None:
        for target, source, size in pairs:
            ctypes.memmove(target, source, size)


def test_device_lanes_give_what_the_model_gives() -> None:
    plan = make_plan(CENTERFACE, CENTERFACE.read_bytes(), SIZE)
    session = open_session(plan, ["CPUExecutionProvider"], 1)
    reference = Model(CENTERFACE, provider="cpu", size=SIZE, batch=8)
    for bucket in (1, 2, 4):
        lane = cuda.DeviceLane(
            session, plan.feed(bucket), plan.outputs(session, bucket), HostMemory(), graph=bucket, device="cpu"
        )
        for count in (bucket, max(1, bucket - 1), bucket):  # the same addresses, full and padded
            batch = images(count)
            for ours, theirs in zip(lane(batch), reference(batch), strict=True):
                np.testing.assert_allclose(ours[:count], theirs, atol=1e-4)
        assert not lane.replays(), "the CPU has no graphs: an input bound elsewhere is seen"


@no_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_refused(provider: model.Device) -> None:
    with pytest.raises(Failed, match=f"provider {provider} was asked for but .*; or use provider cpu"):
        Model(CENTERFACE, provider=provider, size=SIZE)


@no_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_onnxruntime_drops_in_silence_is_refused(
    provider: model.Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a driver but without CUDA's libraries ONNX Runtime makes a session on the CPU, with noise but no error."""
    monkeypatch.setattr(cuda, "missing", lambda: "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Failed, match=f"provider {provider}"):
        Model(CENTERFACE, provider=provider, size=SIZE)
    assert capfd.readouterr() == ("", "")


@no_gpu
def test_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    model._say_once.cache_clear()
    with caplog.at_level(logging.INFO, "pipeline.model"):
        assert Model(CENTERFACE, size=SIZE).info.provider == "cpu"
        assert Model(CENTERFACE, size=SIZE).info.provider == "cpu"
        assert [record.message.partition(":")[0] for record in caplog.records] == ["provider auto takes the CPU"]
        caplog.clear()
        monkeypatch.setattr(cuda, "missing", lambda: "")
        detector = Model(CENTERFACE, size=SIZE, batch=3)
        assert "provider cuda was asked for but ONNX Runtime cannot load it" in caplog.text
    assert (detector.info.provider, detector.info.buckets) == ("cpu", (1, 2, 3))
    assert len(detector(images(3))[0]) == 3


@pytest.mark.parametrize("provider", ["auto", "cpu", "cuda"])
def test_half_is_for_tensorrt_alone(provider: model.Provider) -> None:
    with pytest.raises(Usage, match="half = true is for provider tensorrt"):
        Model(CENTERFACE, provider=provider, size=SIZE, half=True)


def test_tensorrt_engines_of_different_sizes_have_different_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    blob = CENTERFACE.read_bytes()
    options = [
        cuda.tensorrt_options(make_plan(CENTERFACE, blob, size), True, bucket, half, "101300")
        for size, bucket, half in [(SIZE, 1, False), (SIZE, 2, False), (SIZE, 1, True), ((128, 96), 1, False)]
    ]
    assert len({option["trt_engine_cache_prefix"] for option in options}) == 4
    folder = Path(options[0]["trt_engine_cache_path"])
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o077 == 0


def test_tensorrt_engines_are_not_taken_from_where_others_may_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = make_plan(CENTERFACE, CENTERFACE.read_bytes(), SIZE)
    folder = Path(cuda.tensorrt_options(plan, True, 1, False, "101300")["trt_engine_cache_path"])
    for open_to_all in (folder, folder.parent):
        open_to_all.chmod(0o777)
        with pytest.raises(Failed, match=f"others may write to {open_to_all}, "):
            cuda.tensorrt_options(plan, True, 1, False, "101300")
        open_to_all.chmod(0o700)
    cuda.tensorrt_options(plan, True, 1, False, "101300")


@no_gpu
def test_gpu_check_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 0
    assert "nothing to check, this machine has no NVIDIA driver" in capsys.readouterr().out


def test_gpu_check_fails_where_a_gpu_lacks_its_libraries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GPU is claimed here; the libraries are really looked for."""
    monkeypatch.setattr(cuda, "no_device", lambda: "")
    monkeypatch.setattr(cuda, "missing", cuda.missing.__wrapped__)  # without its memory
    if not cuda.missing():
        pytest.skip("this machine has CUDA's libraries")
    assert gpu_check.main() == 1
    assert "pip install 'framewire[gpu]'" in capsys.readouterr().out


def test_gpu_check_finds_out_that_the_cpu_did_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake GPU: sessions on the CPU under the name of CUDA, as an ONNX Runtime that falls back makes them."""

    def imposters(plan: Plan, *_: object) -> dict[int, HostLane]:
        session = open_session(plan, ["CPUExecutionProvider"], 1)
        return {bucket: HostLane(session, plan.feed(bucket), plan.outputs(session, bucket)) for bucket in cuda.BUCKETS}

    monkeypatch.setattr(cuda, "require", lambda _: None)
    monkeypatch.setattr(cuda, "gpu_lanes", imposters)
    detector = Model(CENTERFACE, provider="cuda", size=(32, 64), batch=8)
    assert detector.info.provider == "cuda"
    assert list(gpu_check.used(detector, "cuda").values()) == [False] * 5
    reference = Model(CENTERFACE, provider="cpu", size=(32, 64), batch=8)
    assert all(gpu_check.parity(detector, reference).values())
    assert all(gpu_check.replay(detector, reference).values())


def test_gpu_check_finds_a_lane_that_replays_its_first_answer() -> None:
    reference, stuck = (
        Model(CENTERFACE, provider="cpu", size=(32, 64), batch=8),
        Stuck(CENTERFACE, size=(32, 64), batch=8),
    )
    assert list(gpu_check.replay(stuck, reference).values()) == [False] * 4
    assert list(gpu_check.parity(stuck, reference).values())[-1] is False


def test_gpu_check_measures_beside_a_plain_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "WARM", 0)
    monkeypatch.setattr(gpu_check, "SIZES", {"centerface": (32, 64)})
    assert gpu_check.examine(Console(quiet=True), "", CENTERFACE, "cpu", runs=2) == 2, "not CUDA, and no graph"


class Stuck(Model):
    """Answers each batch size as it did the first time, like a graph whose input buffer was exchanged."""

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        kept: dict[int, list[NDArray[np.float32]]] = self.__dict__.setdefault("kept", {})
        return kept.setdefault(len(batch), [output.copy() for output in super().__call__(batch * 0.5)])


# Other people's files


@pytest.mark.parametrize(
    ("file", "size"),
    [
        ("FastestDet.onnx", None),
        ("mobilefacenet_foamliu.onnx", None),
        ("osnet_x0_25_msmt17.onnx", None),
        ("style/wave.onnx", (48, 64)),
        ("version-RFB-320.onnx", None),
        ("yolox_nano.onnx", None),
        ("yunet_n_320_320.onnx", None),
        ("yunet_n_dynamic.onnx", (96, 128)),
    ],
)
def test_other_peoples_files_load_and_run(shared: Path, file: str, size: tuple[int, int] | None) -> None:
    import onnxruntime

    path = shared / "weights" / file
    ours = Model.load(ModelConfig(path=str(path), provider="cpu"), size=size, batch=2)
    batch = images(3, ours.info.size)
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for row in range(3):
        expected = plain.run(None, {plain.get_inputs()[0].name: batch[row : row + 1]})
        for found, wanted in zip(ours(batch), expected, strict=True):
            np.testing.assert_allclose(found[row], wanted[0], rtol=1e-3, atol=1e-3)


def write_card(path: Path, **fields: str) -> None:
    card = {"name": path.stem, "file": path.name, "task": "detector", "licence": "MIT", "origin": "", "sha256": ""}
    lines = [f'{key} = "{value}"' for key, value in {**card, **fields}.items()]
    path.with_suffix(".toml").write_text("\n".join([*lines, f"bytes = {path.stat().st_size}"]))
