"""A trained scorer of highlights as an ONNX file, which says of itself which signals go in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from export import parity
from export.checkpoint import load_weights, read_checkpoint
from export.models.highlight_scorer import REACH, HighlightScorer, Scored
from export.packages import Failed
from export.to_onnx import Interface, export

KIND = "highlight"  # the task in the file, and the first word of a checkpoint's architecture
LENGTH = 256  # seconds that go in at a time
TOLERANCE = 1e-4  # largest difference between the scores, 0..1, of torch and of ONNX Runtime


@dataclass(frozen=True)
class Words:
    """What the file says of itself; a signal goes in as x / (x + half)."""

    half: Mapping[str, float]  # the signals, in the order of the input's rows
    licence: str
    origin: str

    def props(self) -> dict[str, str]:
        """The entries, but for the hash of the weights."""
        return {
            "framewire.task": KIND,
            "framewire.layout": KIND,
            "framewire.input": "array",  # no images
            "framewire.signals": json.dumps(list(self.half)),
            "framewire.half": json.dumps(list(self.half.values())),
            "framewire.reach": str(REACH),  # seconds that a score depends on, to each side
            "framewire.licence": self.licence,
            "framewire.origin": self.origin,
        }


def is_scorer(file: Path) -> bool:
    """Is this the checkpoint of a scorer of highlights?"""
    if file.suffix == ".onnx" or not file.is_file():
        return False
    return bool(read_checkpoint(file)["architecture"].partition(" ")[0] == KIND)


def from_checkpoint(file: Path) -> tuple[HighlightScorer, dict[str, float]]:
    """The network of a finished run, with its averaged weights, and the halves of its signals."""
    state = read_checkpoint(file)
    done = state["step"]
    if done < json.loads(state["plan"])["steps"]:
        raise Failed(
            f"{file} is of a run that has done {done} steps; let it finish, or end it there with --steps {done}"
        )
    half: dict[str, float] = json.loads(state["architecture"].removeprefix(KIND))["half"]
    module = HighlightScorer(len(half))
    load_weights(module, state["averaged"], file)
    return module.eval(), half


def scorer_to_onnx(file: Path, licence: str = "", origin: str = "") -> onnx.ModelProto:
    """The network of a checkpoint as ONNX, compared with torch on random signals; Failed where the two differ."""
    module, half = from_checkpoint(file)
    scored = Scored(module).eval()
    shape = (2, len(half) + 1, LENGTH)
    interface = Interface(shape, ("batch", None, None), {"score": ("batch", LENGTH)}, input="signals")
    words = Words(half, licence or "unknown", origin or "trained by framewire on its user's marks")
    model = export(scored, interface, words)
    signals = np.random.default_rng(0).random(shape, np.float32)
    signals[:, -1] = np.arange(LENGTH) < LENGTH - REACH
    with torch.inference_mode():
        expected = scored(torch.from_numpy(signals)).numpy()
    found = parity.compare([expected], parity.run(model.SerializeToString(), signals))
    if not found.max_abs <= TOLERANCE:
        raise Failed(f"the ONNX file of {file} would be off by {found.max_abs:g}; train again, into another folder")
    return model
