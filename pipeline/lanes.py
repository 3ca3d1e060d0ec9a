"""How a batch of one size gets through a session on the CPU; `pipeline.cuda` has the GPU's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.session import Tensor, runtime


class HostLane:
    """One batch size on the CPU: outputs bound to arrays made once, the caller's array fed without a copy."""

    def __init__(self, session: Any, feed: Tensor, outputs: Sequence[Tensor]) -> None:
        self.session, self._feed = session, feed
        self._staged: NDArray[Any] | None = None
        self._outputs = [np.empty(tensor.shape, tensor.dtype) for tensor in outputs]
        self._binding = session.io_binding()
        for tensor, array in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(tensor.name, runtime().OrtValue.ortvalue_from_numpy(array))

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        fed = batch
        if not self._feed.fits(batch):
            if self._staged is None:
                self._staged = np.empty(self._feed.shape, self._feed.dtype)
            fed = stage(self._staged, batch)
        self._binding.bind_cpu_input(self._feed.name, fed)
        self.session.run_with_iobinding(self._binding)
        return self._outputs


class FreeLane:
    """One batch size of a model whose outputs vary in size (NMS in the graph): a plain run, new arrays each time."""

    def __init__(self, session: Any, feed: Tensor) -> None:
        self.session, self._feed = session, feed

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        fed = batch if self._feed.fits(batch) else stage(np.empty(self._feed.shape, self._feed.dtype), batch)
        return list(self.session.run(None, {self._feed.name: fed}))


def stage(staged: NDArray[Any], batch: NDArray[Any]) -> NDArray[Any]:
    """Copy `batch` into the larger `staged`, in its dtype, with zeros behind; gives `staged` back."""
    np.copyto(staged[: len(batch)], batch, casting="same_kind")
    staged[len(batch) :] = 0
    return staged
