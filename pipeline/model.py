"""The one door to ONNX Runtime: load a model, verify the provider, bind, warm up, run."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline import cuda
from pipeline.config import Config
from pipeline.errors import Failed, Usage
from pipeline.lanes import FreeLane, HostLane
from pipeline.limits import cores
from pipeline.registry import Card, card_beside, resolve
from pipeline.session import Plan, Tensor, errors, make_plan, open_session, placement, read_checked, reason

Device = Literal["cpu", "cuda", "tensorrt"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt"]
Triple = tuple[float, float, float]


class Lane(Protocol):
    """One batch size on one provider."""

    session: Any

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run up to so many images; the rest of the outputs is padding."""


log = logging.getLogger(__name__)
_budget = 0  # threads for each session of this process; 0: nobody has set it


class ModelConfig(Config, frozen=True):
    """Which model, and how it runs."""

    path: str  # a name of the catalogue, or a path
    provider: Provider = "auto"
    sha256: str = ""  # "": what the card beside the file says
    half: bool = False  # TensorRT computes in float16


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model says of itself; what the file does not say is empty or None."""

    name: str  # the file's, without suffix
    layout: str
    size: tuple[int, int]  # (height, width), pixels; (0, 0) where no images go in
    mean: Triple | None  # input = (pixel - mean) * scale, pixels 0..255, channels in `order`
    scale: Triple | None
    order: str  # "RGB", "BGR" or ""
    labels: tuple[str, ...]
    align: str  # embedders: "dlib", "arcface" or ""
    licence: str
    origin: str
    inputs: tuple[Tensor, ...]  # at the smallest batch size
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str]  # all of the file's, as it stands there
    provider: Device  # the one that really runs
    nodes: dict[str, int]  # ONNX Runtime's provider -> how many of the graph's nodes it was given
    buckets: tuple[int, ...]  # batch sizes it runs at, ascending; others are padded to the next, or split

    def blank(self, count: int) -> NDArray[Any]:
        """A batch of zeros for `count` images, of the shape and dtype that the model takes."""
        feed = self.inputs[0]
        return np.zeros((count, *feed.shape[1:]), _public(feed.dtype))


def set_thread_budget(threads: int) -> None:
    """Set how many threads each session of this process may use (at least 1); for models loaded from now on."""
    global _budget  # noqa: PLW0603 - the budget is the process's own, like OpenCV's and BLAS's
    _budget = max(1, threads)


def thread_budget() -> int:
    """Threads for each session: the budget, or all cores this process may use where nobody has set one."""
    return _budget or cores()


class Model:
    """A network ready to run: float32 (B, 3, height, width) in, one array an output out. For one thread.

    A file with its pre-processing inside takes uint8 (B, height, width, 3) in place of that, and one that says "array"
    as its framewire.input takes (B, ...) of the sizes that it fixes.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        provider: Provider = "auto",
        threads: int = 0,
        size: tuple[int, int] | None = None,
        batch: int = 1,
        sha256: str = "",
        half: bool = False,
    ) -> None:
        """Load `path` for images of `size` (height, width) and batches of up to `batch`, and run it to warm up.

        Raises Failed where the file is missing, not the one with this sha256 or no model, or where the provider that
        was asked for does not run it; Usage where the size is not one the file takes.
        """
        if half and provider != "tensorrt":
            raise Usage(f"half = true is for provider tensorrt, not {provider}; else give a file exported with --half")
        path = Path(path)
        card = card_beside(path)
        self._plan = make_plan(path, read_checked(path, sha256 or card.sha256), size)
        self._threads, self._half = threads or thread_budget(), half
        self._host = open_session(self._plan, ["CPUExecutionProvider"], self._threads)
        self._fixed = self._outputs_are_fixed()
        self._lanes: dict[int, Lane] = {}
        self._start(provider, batch)
        nodes = {name: len(kinds) for name, kinds in placement(self._lanes[self._buckets[0]].session).items()}
        self.info = _info(self._plan, card, self._outputs(self._buckets[0]), self._provider, nodes, self._buckets)

    @classmethod
    def load(cls, config: ModelConfig, *, size: tuple[int, int] | None = None, batch: int = 1) -> Model:
        """The model that a config names."""
        return cls(
            resolve(config.path),
            provider=config.provider,
            size=size,
            batch=batch,
            sha256=config.sha256,
            half=config.half,
        )

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run a batch like `info.blank(B)`; outputs in file order, valid until the next call."""
        dtype = _public(self._plan.dtype)
        if batch.shape[1:] != self._plan.image:
            raise ValueError(f"{self.info.name} takes {(-1, *self._plan.image)}, not {batch.shape}")
        if not np.can_cast(batch.dtype, dtype, "same_kind"):
            raise ValueError(f"{self.info.name} takes {dtype}, not {batch.dtype}")
        batch = np.ascontiguousarray(batch, dtype)
        if len(batch) == 0:
            return [np.empty((0, *map(abs, tensor.shape[1:])), _public(tensor.dtype)) for tensor in self.info.outputs]
        largest = self._buckets[-1]
        if not self._fixed and len(batch) not in self._buckets:
            raise ValueError(f"{self.info.name} has outputs that vary in size: its batches can be {self._buckets} only")
        if len(batch) <= largest:
            return self._run(batch)
        parts = [batch[start : start + largest] for start in range(0, len(batch), largest)]
        ran = [[output.copy() for output in self._run(part)] for part in parts]
        return [np.concatenate(outputs) for outputs in zip(*ran, strict=True)]

    def replays(self) -> dict[int, bool]:
        """For each batch size whether a captured CUDA graph is what runs; on the CPU there is none."""
        return {bucket: isinstance(lane, cuda.DeviceLane) and lane.replays() for bucket, lane in self._lanes.items()}

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        bucket = bucket_for(len(batch), self._buckets)
        if bucket not in self._lanes:
            self._lanes[bucket] = self._host_lane(self._host, bucket)
        # Some exporters fold the batch into the first axis: what belongs to the padding is the same share of it.
        found = self._lanes[bucket](batch)
        outputs = found if bucket == len(batch) else [array[: len(array) * len(batch) // bucket] for array in found]
        return [array.astype(_public(array.dtype.name), copy=False) for array in outputs]

    def _start(self, provider: Provider, batch: int) -> None:
        """Make lanes on the first of the providers in question that runs, and run each of them."""
        for candidate in candidates(provider):
            try:
                self._provider = candidate
                self._buckets = self._plan.buckets(batch, cuda.BUCKETS if candidate != "cpu" and self._fixed else ())
                self._lanes = self._make_lanes(candidate)
                self._warm_up()
                return
            except Failed as error:
                if provider != "auto" or candidate == "cpu":
                    raise
                log.warning("provider auto runs %s on the CPU: %s", self._plan.path.name, error)

    def _make_lanes(self, provider: Device) -> dict[int, Lane]:
        first = self._buckets[0]
        if provider == "cpu":
            return {first: self._host_lane(self._host, first)}
        cuda.require(provider)
        try:
            if self._fixed:
                outputs = {bucket: self._outputs(bucket) for bucket in self._buckets}
                return dict(cuda.gpu_lanes(self._plan, provider, self._threads, outputs, self._half))
            session = cuda.open_gpu(self._plan, provider, self._threads, graphs=False, half=self._half)
            return {bucket: FreeLane(session, self._plan.feed(bucket)) for bucket in self._buckets}
        except errors() as error:  # no memory left on the device, or a library that is not there
            raise Failed(f"{self._plan.path} cannot be set up on provider {provider}: {reason(error)}") from error

    def _host_lane(self, session: Any, bucket: int) -> Lane:
        feed = self._plan.feed(bucket)
        return HostLane(session, feed, self._outputs(bucket)) if self._fixed else FreeLane(session, feed)

    def _warm_up(self) -> None:
        """Run every lane until the next run is like all that follow: the first one allocates and captures.

        The session on the CPU has had its first run already, for `_outputs_are_fixed`.
        """
        for bucket, lane in self._lanes.items():
            feed = self._plan.feed(bucket)
            for _ in range(1 if self._provider == "cpu" else 2):
                try:
                    lane(np.zeros(feed.shape, _public(feed.dtype)))
                except errors() as error:
                    raise Failed(f"{self._plan.path} fails on provider {self._provider}: {reason(error)}") from error

    def _outputs(self, bucket: int) -> tuple[Tensor, ...]:
        return self._plan.outputs(self._host, bucket)

    def _outputs_are_fixed(self) -> bool:
        """Does a run give outputs of the shapes that the file promises, and of no other?"""
        feed = self._plan.feed(self._plan.batch or 1)
        promised = self._outputs(feed.shape[0])
        try:
            found = self._host.run(None, {feed.name: np.zeros(feed.shape, feed.dtype)})
        except errors() as error:
            shape = "x".join(map(str, feed.shape))
            raise Failed(f"{self._plan.path} does not run on {shape}, try another size: {reason(error)}") from error
        return all(tensor.fits(array) for tensor, array in zip(promised, found, strict=True))


def bucket_for(count: int, buckets: Sequence[int]) -> int:
    """The smallest of the ascending `buckets` that holds `count`, or the largest one."""
    return next((bucket for bucket in buckets if bucket >= count), buckets[-1])


def candidates(provider: Provider) -> tuple[Device, ...]:
    """The providers to try, in order: auto takes CUDA where there is a device."""
    if provider != "auto":
        return (provider,)
    clause = cuda.missing()
    if clause:
        _say_once(f"provider auto takes the CPU: {clause}")
        return ("cpu",)
    return ("cuda", "cpu")


@functools.cache
def _say_once(sentence: str) -> None:
    log.info(sentence)


def _public(dtype: str) -> str:
    """Callers see float32 where the network computes in float16."""
    return "float32" if dtype == "float16" else dtype


def _info(
    plan: Plan,
    card: Card,
    outputs: tuple[Tensor, ...],
    provider: Device,
    nodes: dict[str, int],
    buckets: tuple[int, ...],
) -> ModelInfo:
    """What the file's metadata says, and the card where they are silent."""
    said = {key.removeprefix("framewire."): value for key, value in plan.metadata.items()}
    try:
        return ModelInfo(
            name=plan.path.stem,
            layout=said.get("layout") or card.layout,
            size=plan.size,
            mean=_triple(said.get("mean", "")) or card.mean,
            scale=_triple(said.get("scale", "")) or card.scale,
            order=said.get("order") or card.order,
            labels=msgspec.json.decode(said.get("labels") or "[]", type=tuple[str, ...]),
            align=said.get("align") or card.align,
            licence=said.get("licence") or card.licence,
            origin=said.get("origin") or card.origin,
            inputs=(plan.feed(buckets[0]),),
            outputs=outputs,
            metadata=plan.metadata,
            provider=provider,
            nodes=nodes,
            buckets=buckets,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise Failed(f"the metadata of {plan.path} is wrong ({error}): export the model again") from error


def _triple(text: str) -> Triple | None:
    if not text:
        return None
    first, second, third = (float(value) for value in text.split(","))
    return first, second, third
