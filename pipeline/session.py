"""ONNX Runtime sessions: the file is checked, its sizes are fixed, and no provider falls back in silence."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage

QUIET = 4  # ONNX Runtime's severity "fatal"
PIXELS = "uint8 NHWC"  # what framewire.input says where mean, scale and channel order are inside the graph
ARRAY = "array"  # and where no images go in, but a batch of arrays whose sizes the file fixes
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
STATUSES = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NotImplemented",
    "RuntimeException",
)

Dimension = int | str | None  # a size, the name of a symbolic size, or neither


class Tensor(msgspec.Struct, frozen=True):
    """An input or output; -1 in `shape` is a size that varies from run to run."""

    name: str
    dtype: str  # NumPy's name of it
    shape: tuple[int, ...]

    def fits(self, array: NDArray[Any]) -> bool:
        """Is `array` this tensor as it stands?"""
        return array.shape == self.shape and array.dtype == self.dtype


class Plan(msgspec.Struct, frozen=True):
    """How the shapes of a file are fixed: which symbolic sizes get which value, and what is fed in the end."""

    path: Path
    blob: bytes
    metadata: dict[str, str]
    name: str  # of the input
    dtype: str
    image: tuple[int, ...]  # the shape of one: (3, height, width), (height, width, 3) of uint8, or an array's
    size: tuple[int, int]  # height, width, pixels; (0, 0) of arrays
    overrides: dict[str, int]
    batch: int  # what the file fixes; 0: any
    batch_name: str  # the symbol of the batch axis; "" where it has none

    def feed(self, batch: int) -> Tensor:
        """The input at this batch size, (batch, *image)."""
        return Tensor(self.name, self.dtype, (batch, *self.image))

    def buckets(self, most: int, steps: Sequence[int]) -> tuple[int, ...]:
        """Batch sizes to run at, for batches of up to `most`: those of `steps` it needs; without steps, each."""
        if self.batch:
            return (self.batch,)
        last = next((step for step in steps if step >= most), max(steps, default=most))
        return tuple(step for step in steps or range(1, most + 1) if step <= last)

    def outputs(self, session: Any, batch: int) -> tuple[Tensor, ...]:
        """The outputs of `session` at this batch size, in file order."""
        known = {self.batch_name: batch} if self.batch_name else {}
        return tuple(
            Tensor(node.name, DTYPES.get(node.type, node.type), _sizes(node.shape, known))
            for node in session.get_outputs()
        )


@functools.cache
def runtime() -> Any:
    """The module onnxruntime, imported on first use; its wheels send usage events to their maker unless told not to."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # only read when onnxruntime is first imported
    import onnxruntime

    onnxruntime.set_default_logger_severity(QUIET)  # it complains about CUDA on every machine without a GPU
    return onnxruntime


@functools.cache
def errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises, OSError for a library: its status classes share no base but Exception."""
    state = runtime().capi.onnxruntime_pybind11_state
    return (RuntimeError, ValueError, OSError, *(getattr(state, name) for name in STATUSES))


def reason(error: Exception) -> str:
    """The part of an ONNX Runtime message that tells something: its first line, without status and source line."""
    line = str(error).strip().split("\n")[0].rpartition(" : ")[2]
    return re.sub(r"^\S+\.cc:\d+ .*?\) ", "", line).rstrip(".")


def read_checked(path: Path, sha256: str) -> bytes:
    """Read a model file; raises Failed where it cannot be read or is not the file with this sha256 ("": any)."""
    try:
        blob = path.read_bytes()
    except FileNotFoundError as error:
        raise Failed(f"there is no model file {path}; see what there is with: run_pipeline.py models list") from error
    except OSError as error:
        raise Failed(f"cannot read the model file {path}: {error.strerror}") from error
    found = hashlib.sha256(blob).hexdigest() if sha256 else ""
    if found != sha256.lower():
        raise Failed(f"the model file {path} is damaged or was changed (sha256 {found}, not {sha256}); get it again")
    return blob


def open_session(
    plan: Plan,
    providers: Sequence[Any],
    threads: int,
    *,
    batch: int = 0,
    config: Mapping[str, str] | None = None,
) -> Any:
    """An InferenceSession with the plan's sizes (and this batch size, if not 0) fixed; Failed where it cannot be."""
    overrides = plan.overrides | ({plan.batch_name: batch} if batch and plan.batch_name else {})
    options = _options(threads)
    for name, size in overrides.items():
        options.add_free_dimension_override_by_name(name, size)
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    try:
        # enable_fallback=0: without it a session that fails on the GPU is made again on the CPU, with a print.
        return runtime().InferenceSession(plan.blob, options, providers=providers, enable_fallback=0)
    except errors() as error:
        raise Failed(f"ONNX Runtime cannot load {plan.path}: {reason(error)}") from error


def placement(session: Any) -> dict[str, list[str]]:
    """Which provider runs what: the operators of its nodes, as ONNX Runtime has shared the graph out."""
    found: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    return found


def make_plan(path: Path, blob: bytes, size: tuple[int, int] | None) -> Plan:
    """Look into the file and decide how its sizes are fixed; `size` (height, width) goes before the file's metadata."""
    session = _probe(path, blob)
    inputs = session.get_inputs()
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    said = metadata.get("framewire.input", "")
    fixed: tuple[int, int] = (0, 0)
    overrides: dict[str, int] = {}
    if said == ARRAY:
        batch, image = _array_axes(path, inputs, size)
    else:
        batch, channels, *sides = _axes(path, inputs, said)
        fixed = _image_size(path, sides, size, metadata.get("framewire.size", ""))
        image = (*fixed, 3) if said == PIXELS else (3, *fixed)
        overrides = _overrides(batch, [channels, *sides], [3, *fixed])
    return Plan(
        path=path,
        blob=blob,
        metadata=metadata,
        name=inputs[0].name,
        dtype=DTYPES[inputs[0].type],
        image=image,
        size=fixed,
        overrides=overrides,
        batch=batch if isinstance(batch, int) else 0,
        batch_name=batch if isinstance(batch, str) else "",
    )


def _options(threads: int) -> Any:
    options = runtime().SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = runtime().GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for `placement`
    # Weights in a second file, which no hash covers, are looked for where there is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _probe(path: Path, blob: bytes) -> Any:
    """A session as cheap as they come (no optimizing, no repacking of weights), to read names, shapes and metadata."""
    options = _options(1)
    options.graph_optimization_level = runtime().GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return runtime().InferenceSession(blob, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except errors() as error:
        if "xternal" in str(error):
            raise Failed(
                f"{path} keeps weights in a second file, which its sha256 does not cover: make it one file with "
                f'python -c \'import onnx; onnx.save(onnx.load("{path}"), "{path}")\''
            ) from error
        raise Failed(f"{path} is not an ONNX model that ONNX Runtime can load: {reason(error)}") from error


def _axes(path: Path, inputs: Sequence[Any], said: str) -> tuple[Dimension, Dimension, Dimension, Dimension]:
    """Batch, channels, height and width of the one input, whose framewire.input is `said`."""
    shape: Sequence[Dimension] = inputs[0].shape if len(inputs) == 1 else []
    kind = inputs[0].type if len(shape) == 4 else ""
    if said == PIXELS and kind == "tensor(uint8)":
        batch, height, width, channels = shape
        form = "(N, height, width, 3)"
    elif not said and kind in ("tensor(float)", "tensor(float16)"):
        batch, channels, height, width = shape
        form = "(N, 3, height, width)"
    else:
        takes = ", ".join(f"{node.name} {node.type}{node.shape}" for node in inputs)
        takes += f" with framewire.input {said!r}" if said else ""
        raise Failed(
            f"{path} takes {takes}; a model here takes one float image batch (N, 3, height, width), "
            f"or uint8 (N, height, width, 3) with framewire.input {PIXELS!r} in its metadata"
        )
    if channels not in (3, None) and not isinstance(channels, str):
        raise Failed(f"{path} takes {channels} channels where 3 are needed: {form}")
    return batch, channels, height, width


def _array_axes(path: Path, inputs: Sequence[Any], asked: tuple[int, int] | None) -> tuple[Dimension, tuple[int, ...]]:
    """Batch, and the sizes behind it, of the one input of a file that takes arrays."""
    if asked is not None:
        raise Usage(f"{path} takes no images, so no size either: leave it out, or give another model")
    batch, *sizes = inputs[0].shape if len(inputs) == 1 and inputs[0].type in DTYPES else [None]
    fixed = tuple(size for size in sizes if isinstance(size, int))
    if not fixed or len(fixed) < len(sizes):
        takes = ", ".join(f"{node.name} {node.type}{node.shape}" for node in inputs)
        raise Failed(f"{path} takes {takes}; with framewire.input {ARRAY!r} it has to be one batch of fixed sizes")
    return batch, fixed


def _image_size(
    path: Path, sides: Sequence[Dimension], asked: tuple[int, int] | None, preferred: str
) -> tuple[int, int]:
    """(height, width): what the file fixes, else what was asked for, else what its metadata prefers."""
    height, width = sides
    if asked is None and preferred:
        try:
            high, wide = (int(side) for side in preferred.split("x"))
        except ValueError as error:
            raise Failed(f"{path} has framewire.size {preferred!r} where HEIGHTxWIDTH belongs") from error
        asked = (high, wide)
    if isinstance(height, int) and isinstance(width, int):
        if asked not in (None, (height, width)):
            raise Usage(f"{path} takes images of {height}x{width} (height x width) only, not {asked[0]}x{asked[1]}")
        return height, width
    if asked is None:
        raise Usage(f"{path} takes images of any size: tell it one, as in size = [192, 320] (height, width)")
    return asked


def _overrides(batch: Dimension, names: Sequence[Dimension], values: Sequence[int]) -> dict[str, int]:
    """Symbol -> size. A symbol that stands for two different sizes (some exporters write "?" everywhere) stays free."""
    pairs = {(name, value) for name, value in zip(names, values, strict=True) if isinstance(name, str) and name}
    symbols = [name for name, _ in pairs]
    return {name: value for name, value in pairs if symbols.count(name) == 1 and name != batch}


def _sizes(shape: Sequence[Dimension], known: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else known.get(size or "", -1) for size in shape)
