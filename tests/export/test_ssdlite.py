"""The person detector: read right out of TensorFlow's frozen graph, and as TensorFlow runs it."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export import chips, networks, packages, parity
from export.graph_def import NotAGraph, read_nodes
from export.models.ssdlite import SsdLite, anchors

MODEL = Path(__file__).resolve().parents[2] / "models" / "person_ssdlite.onnx"
# What TensorFlow 2.21 makes of the same 300x300 pixels: the best anchors of the astronaut, their scores before NMS, and
# the best one's box.
BEST = [1911, 1916, 1859, 1862, 1754, 1913]
SCORES = [0.93066, 0.93047, 0.87200, 0.83215, 0.40012, 0.29899]
BOX = [1.843, 19.864, 219.400, 298.467]
Weights = Callable[[str], bytes]
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def network(weights: Weights) -> SsdLite:
    return networks.ssdlite(weights("person_ssdlite"))


def fed(images: list[Image]) -> NDArray[np.float32]:
    """(B, 3, 300, 300) float32, squeezed and scaled as the network wants them."""
    metadata = networks.NETWORKS["person_ssdlite"].metadata
    pixels = np.stack([chips.squeezed(image, 300, 300) for image in images])
    return np.ascontiguousarray(((pixels - metadata.mean) * metadata.scale).transpose(0, 3, 1, 2), np.float32)


def test_it_says_what_tensorflow_says(network: SsdLite, astronaut: Image) -> None:
    with torch.inference_mode():
        boxes, scores, classes = (output[0].numpy() for output in network(torch.from_numpy(fed([astronaut]))))
    best = np.argsort(-scores)[: len(BEST)]
    assert best.tolist() == BEST
    np.testing.assert_allclose(scores[best], SCORES, atol=2e-5)
    np.testing.assert_allclose(boxes[best[0]], BOX, atol=0.01)
    assert not classes.any()


def test_torch_and_onnx_runtime_agree(network: SsdLite, photos: list[Image]) -> None:
    images = fed(photos)
    with torch.inference_mode():
        expected = [output.numpy() for output in network(torch.from_numpy(images))]
    boxes, scores, classes = parity.differences(
        ("boxes", "scores", "classes"), expected, parity.run(MODEL, images)
    ).values()
    assert boxes.max_abs <= 2  # pixels; the file keeps the weights as float16
    assert scores.max_abs <= 0.02
    assert min(boxes.cosine, scores.cosine, classes.cosine) >= 0.999
    assert expected[1].max() > 0.9  # there are people


def test_anchors_are_those_of_the_ssd_generator() -> None:
    x, y, width, height = anchors().numpy()
    assert len(x) == 3 * 19**2 + 6 * (10**2 + 5**2 + 3**2 + 2**2 + 1)
    np.testing.assert_allclose(width[:3], [30, 60 * 2**0.5, 60 / 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(height[:3], [30, 60 / 2**0.5, 60 * 2**0.5], rtol=1e-6)
    np.testing.assert_allclose((x[3], y[3]), (300 * 1.5 / 19, 300 * 0.5 / 19), rtol=1e-6)  # row by row
    np.testing.assert_allclose((x[-1], y[-1], width[-1], height[-1]), [150, 150, *[300 * 0.95**0.5] * 2], rtol=1e-6)


def test_in_float16_it_is_nearly_the_same(network: SsdLite, astronaut: Image) -> None:
    images = torch.from_numpy(fed([astronaut]))
    with torch.inference_mode():
        expected = [output.numpy() for output in network(images)]
        found = [output.numpy() for output in networks.HalfNetwork(copy.deepcopy(network))(images)]
    assert parity.compare(expected, found).cosine >= 0.999


def test_there_are_no_maps_to_decode(weights: Weights) -> None:
    with pytest.raises(packages.Failed, match="person_ssdlite has no maps to decode: leave --decode and --nms out"):
        networks.to_onnx("person_ssdlite", weights("person_ssdlite"), decoded=True)


def test_the_graph_in_the_file_is_the_one_that_is_built(weights: Weights) -> None:
    nodes = read_nodes(weights("person_ssdlite"))
    kinds = [node.kind for node in nodes]
    assert (kinds.count("Conv2D"), kinds.count("DepthwiseConv2dNative"), kinds.count("BiasAdd")) == (55, 33, 12)
    first = next(node for node in nodes if node.kind == "FusedBatchNorm")
    assert first.real("epsilon") == pytest.approx(0.001)
    constants = {node.name: node for node in nodes if node.kind == "Const"}
    assert constants["FeatureExtractor/MobilenetV2/Conv/weights"].tensor().shape == (3, 3, 3, 32)


@pytest.mark.parametrize("cut", [1, 300, 5000, -1])
def test_a_truncated_graph_is_refused(weights: Weights, cut: int) -> None:
    with pytest.raises(NotAGraph):
        read_nodes(weights("person_ssdlite")[:cut])


@pytest.mark.parametrize(("data", "says"), [(b"\x0b", "unknown kind 3"), (b"\x0a\xff", "without end")])
def test_other_bytes_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(NotAGraph, match=says):
        read_nodes(data)
