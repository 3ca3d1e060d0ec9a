"""An ONNX file that somebody gives: whether it is one, what goes in, and at which size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data

from export.packages import Failed
from export.preprocess import INPUT


def load(file: Path) -> onnx.ModelProto:
    """The model in a file; Failed where it is no ONNX file, or only a part of one."""
    if not file.is_file():
        raise Failed(f"{file} is not there; give an ONNX file")
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf's own class, whose package has no types
        raise Failed(f"{file} is not an ONNX file ({error}); give one") from error
    if not model.graph.node:
        raise Failed(f"{file} is not an ONNX file, or has nothing to compute in it; give one")
    if any(map(uses_external_data, model.graph.initializer)):
        raise Failed(f"{file} keeps its weights in another file; save it with the weights inside first")
    return model


def session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """The model on one CPU thread; Failed where ONNX Runtime will not have it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = (
        4  # what goes wrong is raised, and warnings are of quantized graphs, which are meant so
    )
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no public base
        name = model if isinstance(model, Path) else "the model"
        raise Failed(f"ONNX Runtime cannot run {name} ({str(error).strip().splitlines()[0]})") from error


def results(
    run: onnxruntime.InferenceSession, batch: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None
) -> list[NDArray[Any]]:
    """The outputs, or these of them; Failed where the model does not take inputs of such sizes."""
    try:
        return [np.asarray(output) for output in run.run(names, batch)]
    except Exception as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
        said = " ".join(str(error).split())
        raise Failed(f"the model does not run on {shapes} ({said}); choose another --size") from error


def properties(model: onnx.ModelProto) -> dict[str, str]:
    """What the file says of itself, without the `framewire.` in front."""
    return {prop.key.removeprefix("framewire."): prop.value for prop in model.metadata_props}


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What has to be given; older files list their weights as inputs, too."""
    held = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in held]


def sizes(value: onnx.ValueInfoProto) -> list[int | str]:
    """The shape of an input or output; a free size is its name, or "?"."""
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim
    ]


@dataclass(frozen=True)
class Pictures:
    """The one input of a model that takes pictures (B, 3, H, W), or (B, H, W, 3) where the file says so."""

    name: str
    rows: bool  # (B, H, W, 3) uint8: channels last
    size: tuple[int | None, int | None]  # height and width that the file fixes; None where they are free


def pictures_input(model: onnx.ModelProto, file: Path) -> Pictures:
    """The input of a model; Failed where it takes something else than one batch of pictures."""
    given = inputs(model)
    if len(given) != 1:
        names = ", ".join([*(value.name for value in given[:3]), *(["..."] if len(given) > 3 else [])]) or "none"
        raise Failed(f"{file} has {len(given)} inputs ({names}); a model with one input, pictures, is wanted")
    shape, rows = sizes(given[0]), properties(model).get("input") == INPUT
    if len(shape) != 4:
        raise Failed(f"the input of {file} has {len(shape)} sizes, not the 4 of pictures; give a model of pictures")
    height, width = (size if isinstance(size, int) and size > 0 else None for size in shape[1 if rows else 2 :][:2])
    return Pictures(given[0].name, rows, (height, width))


def picture_size(model: onnx.ModelProto, file: Path, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width to run a model at: fixed ones, else `wanted`, else what the file says of itself.

    Failed where none says, and where the fixed ones are not the wanted ones.
    """
    height, width = pictures_input(model, file).size
    said = properties(model).get("size", "")
    if height and width:
        if wanted not in (None, (height, width)):
            raise Failed(f"{file} takes {height}x{width} and no other size; leave --size out")
        return height, width
    if wanted:
        return wanted
    if not said:
        raise Failed(f"{file} takes any size and names none; say one with --size HEIGHTxWIDTH")
    rows, columns = map(int, said.split("x"))
    return rows, columns
