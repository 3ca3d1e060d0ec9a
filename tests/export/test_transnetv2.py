"""TransNet V2: what the weights mean as they lie in the package, the same in torch and in ONNX Runtime."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export import networks, parity
from export.chips import squeezed
from export.models.transnetv2 import WINDOW, band, histograms

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "transnetv2.onnx"
CLIP = ROOT / "samples" / "gate.mp4"
Weights = Callable[[str], bytes]
Window = NDArray[np.float32]


def window(clip: Path, first: int = 0) -> Window:
    """(WINDOW, 3, 27, 48) float32 RGB 0..255: frames of a clip, from `first` on."""
    video = cv2.VideoCapture(str(clip))
    found = [np.asarray(video.read()[1], np.uint8) for _ in range(first + WINDOW)][first:]
    frames = np.stack([squeezed(frame, 27, 48) for frame in found])
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32)


@pytest.fixture(scope="module")
def frames() -> Window:
    """Frames of two places with a cut between them."""
    halves = window(CLIP), window(CLIP, 150)[:, ::-1, :, ::-1]
    return np.ascontiguousarray(np.concatenate([half[: WINDOW // 2] for half in halves]))


def original(data: bytes, frames: Window) -> Tensor:
    """The paper's network, layer by layer, on the weights as they are: Conv3d, batch norms, frames one by one."""
    w = torch.load(io.BytesIO(data), weights_only=True)

    def cell(x: Tensor, name: str) -> Tensor:
        branches = []
        for dilation in (1, 2, 4, 8):
            layers = f"{name}.Conv3D_{dilation}.layers"
            y = functional.conv3d(x, w[f"{layers}.0.weight"], padding=(0, 1, 1))
            y = functional.conv3d(y, w[f"{layers}.1.weight"], padding=(dilation, 0, 0), dilation=(dilation, 1, 1))
            branches.append(y)
        norm = [w[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return torch.relu(functional.batch_norm(torch.cat(branches, 1), *norm, eps=1e-3))

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def compared(features: Tensor) -> Tensor:
        """Each frame's cosine to those 50 before it to 50 behind it, 0 where there is none."""
        unit = functional.normalize(features, dim=1)
        found = torch.zeros(WINDOW, 101)
        for frame in range(WINDOW):
            for place in range(101):
                if 0 <= frame + place - 50 < WINDOW:
                    found[frame, place] = unit[frame] @ unit[frame + place - 50]
        return found

    pixels = torch.from_numpy(frames)
    x = pixels.transpose(0, 1)[None] / 255  # (1, 3, T, H, W)
    means = []
    for stack in range(3):
        short_cut = cell(x, f"SDDCNN.{stack}.DDCNN.0")
        x = functional.avg_pool3d(cell(short_cut, f"SDDCNN.{stack}.DDCNN.1") + short_cut, (1, 2, 2))
        means.append(x.mean((3, 4)))
    likeness = linear(torch.cat(means, 1)[0].T, "frame_sim_layer.projection")
    bins = pixels.int() >> 5
    places = (bins[:, 0] * 64 + bins[:, 1] * 8 + bins[:, 2]).flatten(1)
    colours = torch.stack([torch.bincount(row, minlength=512) for row in places]).float()
    features = [
        torch.relu(linear(compared(colours), "color_hist_layer.fc")),
        torch.relu(linear(compared(likeness), "frame_sim_layer.fc")),
        x[0].permute(1, 2, 3, 0).flatten(1),
    ]
    hidden = torch.relu(linear(torch.cat(features, 1), "fc1"))
    return torch.sigmoid(linear(hidden, "cls_layer1"))[:, 0]


def test_it_is_the_network_of_the_paper(weights: Weights, frames: Window) -> None:
    with torch.inference_mode():
        expected = original(weights("transnetv2"), frames)
        found = networks.transnetv2(weights("transnetv2"))(torch.from_numpy(frames))
    assert int(expected.argmax()) == WINDOW // 2 - 1  # the last frame before the cut
    assert expected.max() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_torch_and_onnx_runtime_agree(weights: Weights, frames: Window) -> None:
    found = parity.check(networks.transnetv2(weights("transnetv2")), MODEL, frames)
    assert found.max_abs <= 1e-3  # the file keeps the weights as float16


def test_torch_and_onnx_runtime_agree_on_a_clip_with_cuts(weights: Weights, shared: Path) -> None:
    frames = window(shared / "videos" / "short_hamilton_clip.mp4")
    assert np.flatnonzero(parity.run(MODEL, frames)[0] > 0.5).tolist() == [19, 81]
    assert parity.check(networks.transnetv2(weights("transnetv2")), MODEL, frames).max_abs <= 1e-3


def test_parity_sees_a_wrong_weight(weights: Weights, frames: Window) -> None:
    module = networks.transnetv2(weights("transnetv2"))
    with torch.no_grad():
        module.stacks[2].second.branches[0][0].weight.mul_(1.1)
    assert parity.check(module, MODEL, frames).max_abs > 3e-3


def test_band_is_what_lies_about_the_diagonal() -> None:
    square = torch.arange(1.0, 17).reshape(4, 4)
    found = band(square)
    assert found.shape == (4, 101)
    assert found[0, 49:55].tolist() == [0, 1, 2, 3, 4, 0]
    assert found[3, 46:52].tolist() == [0, 13, 14, 15, 16, 0]


def test_histograms_count_colours_of_eight_steps() -> None:
    image = torch.tensor([[0.0, 31], [32, 255]]).expand(1, 3, 2, 2)
    found = histograms(image)
    assert found.shape == (1, 512)
    assert {place: round(float(found[0, place]) * 6**0.5, 4) for place in found[0].nonzero()[:, 0].tolist()} == {
        0: 2,
        73: 1,
        511: 1,
    }
