"""Passive liveness networks as ONNX files: how ours and MiniFASNet get into one, and what one says of a face.

The metadata's `align` tells which crops lie one above the other in the input, "x2.7 x4.0": the face's box so many times
over, 80x80 each. Layout "liveness" puts out the score (B,) of 0..1 itself; "minifasnet" puts out logits (B, 3), class 1
is live.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from export.cli import Commands, command
from export.detector import Array, Image
from export.liveness.live_folders import LAYOUTS, contexts, stacked
from export.model_file import results, session
from export.models.liveness import CONTEXTS, SIDE, Live, Liveness
from export.models.minifasnet import minifasnet
from export.packages import Failed
from export.to_onnx import Interface, Metadata, export, save


def said(contexts: Sequence[float]) -> str:
    """Contexts as the metadata has them."""
    return " ".join(f"x{times}" for times in contexts)


def liveness_to_onnx(module: Liveness, threshold: float, origin: str, licence: str) -> onnx.ModelProto:
    """Our network as ONNX; a face that scores at least `threshold` is taken for live."""
    height = SIDE * len(CONTEXTS)
    interface = Interface((2, 3, height, SIDE), ("batch", None, None, None), {"live": ("batch",)})
    metadata = Metadata(
        layout="liveness",
        size=f"{height}x{SIDE}",
        mean=(127.5,) * 3,
        scale=(1 / 127.5,) * 3,
        align=said(CONTEXTS),
        threshold=round(threshold, 4),
        licence=licence,
        origin=origin,
    )
    return export(Live(module).eval(), interface, metadata)


def minifasnet_to_onnx(file: Path) -> onnx.ModelProto:
    """A published state dict of MiniFASNet as ONNX; Failed where the file holds something else."""
    try:
        module, times = minifasnet(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        raise Failed(
            f"{file} is no state dict of MiniFASNetV2 or V1SE ({type(error).__name__}); "
            "take it from resources/anti_spoof_models of Silent-Face-Anti-Spoofing"
        ) from error
    interface = Interface((2, 3, SIDE, SIDE), ("batch", None, None, None), {"logits": ("batch", 3)})
    metadata = Metadata(
        layout="minifasnet",
        size=f"{SIDE}x{SIDE}",
        mean=(0.0,) * 3,
        scale=(1.0,) * 3,
        order="BGR",
        align=said([times]),
        threshold=0.5,
        licence="Apache-2.0",
        origin=f"Silent-Face-Anti-Spoofing (Minivision): {file.name}",
    )
    return export(module, interface, metadata)


class Passive:
    """A passive liveness file on the CPU, one face at a time; `threshold` is the file's own."""

    def __init__(self, file: Path) -> None:
        self.session = session(file)
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.layout = metadata.get("framewire.layout", "nothing")
        if self.layout not in LAYOUTS:
            raise Failed(f"{file} has the layout {self.layout!r}, not {' or '.join(LAYOUTS)}: it tells nothing of life")
        self.contexts = contexts(metadata["framewire.align"])
        self.threshold = float(metadata["framewire.threshold"])
        self.order = metadata["framewire.order"]
        self.mean, self.scale = (
            np.array(json.loads(f"[{metadata[f'framewire.{name}']}]"), np.float32) for name in ("mean", "scale")
        )

    def __call__(self, image: Image, box: Array) -> float:
        """How live the face with this xyxy box (4,) looks in a (H, W, 3) uint8 BGR picture, 0..1."""
        crops = stacked(image, box, self.contexts)
        fed = (crops if self.order == "BGR" else crops[..., ::-1]).astype(np.float32)
        fed = np.ascontiguousarray(((fed - self.mean) * self.scale)[None].transpose(0, 3, 1, 2))
        output = results(self.session, {self.session.get_inputs()[0].name: fed})[0][0].astype(np.float64)
        if self.layout == "liveness":
            return float(output)
        shares = np.exp(output - output.max())
        return float(shares[1] / shares.sum())


def write_minifasnet(arguments: argparse.Namespace) -> None:
    """`minifasnet`: a published state dict as an ONNX file that describes itself."""
    print(f"{save(minifasnet_to_onnx(arguments.weights), arguments.out)}  {arguments.out}")


def add(commands: Commands) -> None:
    """The command `minifasnet`."""
    sub = command(commands, "minifasnet", write_minifasnet, "write a MiniFASNet's published weights as ONNX")
    sub.add_argument("weights", type=Path, metavar="WEIGHTS.pth")
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FILE.onnx")
