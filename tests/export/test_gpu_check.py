"""gpu-check on exported files: rounding to float16 is no fault, other weights are one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from bench import gpu_check
from export import networks
from export.to_onnx import save
from pipeline.model import Model

SIZE = (192, 320)
Export = Callable[..., Path]
pytestmark = pytest.mark.timeout(400)  # exporting takes its time on a busy machine


@pytest.fixture(scope="module")
def export(weights: Callable[[str], bytes], tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Writes CenterFace with its decoding, or NMS, in the graph."""
    folder = tmp_path_factory.mktemp("exported")

    def write(**way: bool) -> Path:
        file = folder / f"{'-'.join(way)}.onnx"
        if not file.exists():
            save(networks.to_onnx("centerface", weights("centerface"), **way), file)
        return file

    return write


def opened(file: Path) -> Model:
    return Model(file, provider="cpu", size=SIZE, batch=8)


class Noisy(Model):
    """Its input is off by 1e-6 of the pixels' range."""

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        noise = np.random.default_rng(0).uniform(-255e-6, 255e-6, batch.shape)
        return super().__call__(batch + noise.astype(np.float32))


def test_float16_agrees_with_float32(export: Export) -> None:
    half, full = opened(export(decoded=True, half=True)), opened(export(decoded=True))
    assert list(gpu_check.parity(half, full).values()) == [True] * 6
    assert list(gpu_check.replay(half, full).values()) == [True] * 4


def test_nms_agrees_with_itself_but_for_rounding(export: Export) -> None:
    file = export(nms=True)
    noisy, clean = Noisy(file, provider="cpu", size=SIZE, batch=8), opened(file)
    assert list(gpu_check.parity(noisy, clean).values()) == [True] * 5
    assert list(gpu_check.replay(noisy, clean).values()) == [True] * 4
    assert list(gpu_check.used(noisy, "cuda").values()) == [False, True], "not CUDA, and no graph to miss"


@pytest.mark.parametrize("way", ["decoded", "nms"])
@pytest.mark.parametrize("layer", ["", "smooth", "heatmap", "scale", "landmarks"], ids=lambda layer: layer or "all")
def test_other_weights_are_a_fault(export: Export, tmp_path: Path, way: str, layer: str) -> None:
    file = export(**{way: True})
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.name.startswith(f"network.{layer}") and tensor.name.endswith("weight"):
            scaled = numpy_helper.to_array(tensor) * np.float32(1.2)
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert not any(gpu_check.parity(opened(tmp_path / "wrong.onnx"), opened(file)).values())
