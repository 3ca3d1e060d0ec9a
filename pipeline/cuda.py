"""The GPU path of `Model`: is there a device, the sessions, and a captured CUDA graph for each batch size.

A graph replays the kernels it captured on the addresses it captured, so each batch size (bucket) has device buffers of
its own, made once. ONNX Runtime asks for fixed shapes, wants all compute nodes on the GPU (else it refuses the session)
and keeps graphs by thread: a model is called from the thread that made it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import platformdirs
from numpy.typing import NDArray

from pipeline.cudart import Cudart, Memory
from pipeline.errors import Failed
from pipeline.lanes import stage
from pipeline.session import QUIET, Plan, Tensor, open_session, placement, runtime

BUCKETS = (1, 2, 4, 8)  # batch sizes with a graph of their own; a batch is padded to the next, a larger one is split

NO_GRAPH = -1  # ONNX Runtime's id for a run that neither captures nor replays
TENSORRT = "libnvinfer.so.10"  # what ONNX Runtime's TensorRT provider is linked to

# What a network's time goes into. A session may leave shape arithmetic on the CPU, but none of these.
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

GpuProvider = Literal["cuda", "tensorrt"]
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@functools.cache
def no_device() -> str:
    """Why there is no GPU here, as a clause; "" where the driver counts at least one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "the NVIDIA driver finds no device"
    return ""


@functools.cache
def missing() -> str:
    """Why CUDA cannot be used here, as a clause; "" where there are a device, the provider and its libraries."""
    if clause := no_device():
        return clause
    if PROVIDERS["cuda"] not in runtime().get_available_providers():
        return "this onnxruntime is without CUDA: pip install onnxruntime-gpu in its place"
    _load_libraries()
    version = runtime().cuda_version
    try:
        for library in (f"libcudart.so.{version.partition('.')[0]}", "libcudnn.so.9"):
            ctypes.CDLL(library)
    except OSError:
        return f"CUDA {version} and cuDNN 9 are not installed: pip install 'framewire[gpu]'"
    return ""


def require(provider: GpuProvider) -> None:
    """Raise Failed unless CUDA can be used; TensorRT needs it too."""
    if clause := missing():
        raise Failed(f"provider {provider} was asked for but {clause}; or use provider cpu")


def _load_libraries() -> None:
    """Load CUDA and cuDNN from their Python packages, where they are; torch brings its own."""
    if "torch" not in sys.modules:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; `missing` tells
            runtime().preload_dlls()


@functools.cache
def tensorrt_release() -> str:
    """Load TensorRT, from its Python package or the system, and tell its version; raises Failed where there is none."""
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorrt_libs")
    try:
        return str(ctypes.CDLL(TENSORRT).getInferLibVersion())
    except OSError as error:
        raise Failed(
            f"provider tensorrt was asked for but {TENSORRT} is not there: pip install 'tensorrt~=10.0' or use cuda"
        ) from error


def cuda_options(graphs: bool) -> dict[str, str]:
    """Options of the CUDA execution provider."""
    return {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search takes seconds for each bucket of each model
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "enable_cuda_graph": "1" if graphs else "0",
    }


def tensorrt_options(plan: Plan, graphs: bool, bucket: int, half: bool, release: str) -> dict[str, str]:
    """Options of the TensorRT execution provider; engines are kept in the user's cache directory."""
    # An engine is good for one release of either; for one kind of GPU, too, and that its file's name says.
    cache = _own_folder(platformdirs.user_cache_path("framewire") / f"tensorrt-{release}-{runtime().__version__}")
    digest = hashlib.sha256(plan.blob).hexdigest()[:16]
    shape = "x".join(map(str, (bucket, *plan.image)))
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        # ONNX Runtime names engines by the graph and not by its input shape: two sizes would share one engine.
        "trt_engine_cache_prefix": f"{digest}-{shape}-{'half' if half else 'full'}",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": "1" if half else "0",
        "trt_cuda_graph_enable": "1" if graphs else "0",
    }


def _own_folder(folder: Path) -> Path:
    """`folder`, made where it is not there; raises Failed where others may write: an engine is code."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = each.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise Failed(f"others may write to {each}, where TensorRT's engines are kept: remove it, or make it yours")
    return folder


def open_gpu(
    plan: Plan, provider: GpuProvider, threads: int, *, graphs: bool, bucket: int = 0, half: bool = False
) -> Any:
    """A session that runs on the GPU, or Failed: ONNX Runtime itself would go on with the CPU in silence."""
    if provider == "tensorrt":
        options = tensorrt_options(plan, graphs, bucket, half, tensorrt_release())
    else:
        options = cuda_options(graphs)
    # With graphs, ONNX Runtime refuses a session that has compute nodes on the CPU. The stricter setting would refuse
    # the shape arithmetic, too, that a symbolic batch leaves on the CPU; with TensorRT's fixed batch there is none.
    config = {"session.disable_cpu_ep_fallback": "1"} if provider == "tensorrt" else {}
    try:
        session = open_session(plan, [(PROVIDERS[provider], options)], threads, batch=bucket, config=config)
    except Failed as error:
        raise Failed(f"{error} (provider {provider}); use provider cpu, or a model that runs on {provider}") from error
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise Failed(f"provider {provider} was asked for but ONNX Runtime cannot load it: {_remedy(provider)}")
    left = [kind for kind in placement(session).get("CPUExecutionProvider", []) if kind in HEAVY]
    if left:
        raise Failed(f"provider {provider} would leave {len(left)} layers of {plan.path} on the CPU: use provider cpu")
    return session


def _remedy(provider: GpuProvider) -> str:
    if provider == "tensorrt":
        return "its TensorRT or CUDA libraries have another version; use provider cuda"
    version = getattr(runtime(), "cuda_version", "")
    return f"CUDA {version} and cuDNN 9 have to be installed, for example with: pip install 'framewire[gpu]'"


class DeviceLane:
    """One batch size on the GPU: buffers made once on both sides; the first call captures the work, others replay.

    What the session allocates it has to have before: cudaMalloc fails inside of a capture. So it runs twice without.
    """

    def __init__(
        self, session: Any, feed: Tensor, outputs: Sequence[Tensor], memory: Memory, *, graph: int, device: str = "cuda"
    ) -> None:
        self.session, self._memory = session, memory
        self._feed, self._device = feed, device
        self._options = _run_options(graph)
        self._binding = session.io_binding()
        # The binding holds the addresses alone: the device buffers live as long as these lists.
        self._staged, self._fed, self._up = self._pair(feed, device, up=True)
        self._binding.bind_ortvalue_input(feed.name, self._fed)
        pairs = [self._pair(tensor, device, up=False) for tensor in outputs]
        for tensor, (_, value, _) in zip(outputs, pairs, strict=True):
            self._binding.bind_ortvalue_output(tensor.name, value)
        self._outputs = [array for array, _, _ in pairs]
        self._values = [value for _, value, _ in pairs]
        self._down = [copy for _, _, copy in pairs]
        if graph:
            for _ in range(2):
                session.run_with_iobinding(self._binding, _run_options(NO_GRAPH))

    def replays(self) -> bool:
        """Whether a captured graph is what runs: it works on the addresses it captured, wherever its input is bound."""
        wanted = [output.copy() for output in self(np.zeros(self._feed.shape, self._feed.dtype))]
        array, elsewhere, copy = self._pair(self._feed, self._device, up=True)
        array[:] = np.random.default_rng(0).integers(0, 256, array.shape, np.uint8)
        self._memory.copy([copy])
        self._binding.bind_ortvalue_input(self._feed.name, elsewhere)
        self.session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        self._memory.copy(self._down)
        self._binding.bind_ortvalue_input(self._feed.name, self._fed)
        return all(np.array_equal(one, two) for one, two in zip(self._outputs, wanted, strict=True))

    def _pair(self, tensor: Tensor, device: str, *, up: bool) -> tuple[NDArray[Any], Any, tuple[int, int, int]]:
        """A page-locked array, a device buffer of the same shape, and the copy between them."""
        array = self._memory.zeros(tensor)
        value = runtime().OrtValue.ortvalue_from_shape_and_type(tensor.shape, array.dtype.type, device, 0)
        here, there = array.ctypes.data, value.data_ptr()
        return array, value, (there, here, array.nbytes) if up else (here, there, array.nbytes)

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        stage(self._staged, batch)
        self._memory.copy([self._up])
        self.session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        self._memory.copy(self._down)
        return self._outputs


def _run_options(graph: int) -> Any:
    """For a run that captures or replays the graph of that id; 0: as the session does by itself."""
    options = runtime().RunOptions()
    options.log_severity_level = QUIET
    if graph:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def gpu_lanes(
    plan: Plan, provider: GpuProvider, threads: int, outputs: Mapping[int, Sequence[Tensor]], half: bool
) -> dict[int, DeviceLane]:
    """A lane for each bucket; `outputs` has theirs.

    On CUDA all share one session, the bucket is the graph's id. TensorRT's provider keeps one graph a session, whatever
    id is asked for, so there each bucket is a session of its own.
    """
    if provider == "tensorrt":
        sessions = {b: open_gpu(plan, provider, threads, graphs=True, bucket=b, half=half) for b in outputs}
    else:
        sessions = dict.fromkeys(outputs, open_gpu(plan, provider, threads, graphs=True))
    memory = Cudart()
    return {
        bucket: DeviceLane(
            session, plan.feed(bucket), outputs[bucket], memory, graph=bucket if provider == "cuda" else 0
        )
        for bucket, session in sessions.items()
    }
