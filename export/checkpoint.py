"""A run's state in one file that is whole or not there, and knows which network it is of."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.files import write_whole
from export.packages import Failed

CHECKPOINT = "checkpoint.pt"  # its name in a run's folder


def save_checkpoint(file: Path, architecture: str, state: Mapping[str, Any]) -> None:
    """Keep a state (tensors, numbers and strings) of the network that `architecture` names."""
    buffer = io.BytesIO()
    torch.save({**state, "architecture": architecture}, buffer)
    write_whole(file, buffer.getvalue())


def read_checkpoint(file: Path) -> dict[str, Any]:
    """What save_checkpoint kept, `architecture` among it; Failed where the file is damaged or not there."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        str(state["architecture"])
    except FileNotFoundError:
        raise Failed(f"{file} is not there; give the checkpoint of an earlier run") from None
    except Exception as error:  # torch has no class of its own for what it cannot read
        raise Failed(f"{file} is no checkpoint of this program ({type(error).__name__}); give another") from error
    return state


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], file: Path) -> None:
    """Give a network the weights of a checkpoint; Failed where they are of one whose layers were others."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise Failed(
            f"{file} is of another version of this network, with other layers; train again, into another folder"
        ) from error


def load_checkpoint(file: Path, architecture: str) -> dict[str, Any]:
    """The same, and Failed where it is another network's."""
    state = read_checkpoint(file)
    if state["architecture"] != architecture:
        found = state["architecture"]
        raise Failed(
            f"{file} holds {found}, not {architecture}; give a checkpoint of that, or train into another folder"
        )
    return state
