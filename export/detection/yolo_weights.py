"""A YOLO's weights: out of a checkpoint of its training, or out of its ONNX file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from export.checkpoint import load_weights, read_checkpoint
from export.models.yolo import Shape, Yolo, fold_norms
from export.packages import Failed
from export.preprocess import INPUT, planes

PREFIX = "network."  # of the names of the weights in the file
FIRST = "backbone.stem.0.weight"


def shape_of(said: str) -> Shape:
    """The shape out of its own words, as checkpoints and files have them; Failed where they are another network's."""
    kind, _, words = said.partition(" ")
    if kind != "yolo":
        raise Failed(f"this is {kind or 'nothing'}, not a yolo; give a checkpoint or an ONNX file of one")
    values = json.loads(words)
    anchors = tuple(tuple((float(w), float(h)) for w, h in level) for level in values["anchors"])
    return Shape(values["size"], tuple(values["labels"]), bool(values["landmarks"]), anchors)


def of(file: Path) -> Yolo:
    """The network of a finished run's checkpoint or of an ONNX file."""
    if not file.is_file():
        raise Failed(f"{file} is not there; give a network's name, a checkpoint, or an ONNX file of a YOLO")
    if file.suffix == ".onnx":
        return from_onnx(file.read_bytes())
    state = read_checkpoint(file)
    shape_of(state["architecture"])  # or it is of another network
    if "level" not in state:  # comes last
        done = state.get("step", 0)
        raise Failed(
            f"{file} is of a run that has done {done} steps; let it finish, or end it there with --steps {done}"
        )
    return averaged(state, file)


def from_checkpoint(file: Path) -> Yolo:
    """The network with the averaged weights of a run of `train yolo`, finished or not."""
    return averaged(read_checkpoint(file), file)


def averaged(state: Mapping[str, Any], file: Path) -> Yolo:
    """The network of the state in a checkpoint."""
    yolo = Yolo(shape_of(state["architecture"]))
    load_weights(yolo, state.get("averaged", {}), file)
    yolo.shift_scores(state.get("level", 0.0))
    return yolo.eval()


def from_onnx(data: bytes) -> Yolo:
    """The network with the weights of an ONNX file that `python -m export onnx` wrote, its batch norms folded."""
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        raise Failed("this is no ONNX file; give one that python -m export onnx wrote") from None
    said = {prop.key: prop.value for prop in model.metadata_props}
    yolo = Yolo(shape_of(said.get("framewire.shape", ""))).eval()
    fold_norms(yolo)
    stored = {tensor.name.removesuffix(".half"): numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if said.get("framewire.input") == INPUT:  # pixels go in, BGR
        stored[PREFIX + FIRST] = planes(stored[PREFIX + FIRST])[:, ::-1]
    state = yolo.state_dict()
    missing = [name for name in state if PREFIX + name not in stored and not name.endswith("anchors")]
    if missing:
        raise Failed(f"the file lacks the weights {', '.join(missing[:3])}; give one that python -m export onnx wrote")
    with torch.no_grad():
        for name, value in state.items():
            if PREFIX + name in stored:
                value.copy_(torch.tensor(stored[PREFIX + name].astype(np.float32)).reshape(value.shape))
    return yolo
