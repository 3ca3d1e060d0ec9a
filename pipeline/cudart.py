"""The CUDA runtime, as far as ONNX Runtime's Python API has no call for it: page-locked host arrays, and copies."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed
from pipeline.session import Tensor, runtime

DEFAULT_STREAM = None
MEMCPY_DEFAULT = 4  # cudaMemcpyDefault: the direction follows from the addresses


class Memory(Protocol):
    """Host memory for transfers, and the transfers."""

    def zeros(self, tensor: Tensor) -> NDArray[Any]:
        """An array of this shape and dtype, page-locked where there is a GPU to transfer to."""

    def copy(self, pairs: Sequence[tuple[int, int, int]]) -> None:
        """Copy each (to, from, bytes), addresses on either side, and return when all is there."""


class Cudart:
    """What ONNX Runtime's Python API has no call for: page-locked host arrays, and copies into them."""

    def __init__(self) -> None:
        major = runtime().cuda_version.partition(".")[0]
        library = ctypes.CDLL(f"libcudart.so.{major}")  # the one that the CUDA provider has loaded
        library.cudaHostAlloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
        library.cudaFreeHost.argtypes = (ctypes.c_void_p,)
        library.cudaMemcpyAsync.argtypes = (*(ctypes.c_void_p,) * 2, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
        library.cudaStreamSynchronize.argtypes = (ctypes.c_void_p,)
        self._library = library

    def zeros(self, tensor: Tensor) -> NDArray[Any]:
        array = np.asarray(_Locked(self._library, tensor))
        array[...] = 0
        return array

    def copy(self, pairs: Sequence[tuple[int, int, int]]) -> None:
        for target, source, size in pairs:
            check(self._library.cudaMemcpyAsync(target, source, size, MEMCPY_DEFAULT, DEFAULT_STREAM))
        check(self._library.cudaStreamSynchronize(DEFAULT_STREAM))


class _Locked:
    """Page-locked memory that NumPy can look at; freed when the last array that looks at it is gone."""

    def __init__(self, library: ctypes.CDLL, tensor: Tensor) -> None:
        dtype = np.dtype(tensor.dtype)
        address = ctypes.c_void_p()
        check(library.cudaHostAlloc(ctypes.byref(address), math.prod(tensor.shape) * dtype.itemsize, 0))
        self._library, self._address = library, address
        self.__array_interface__ = {
            "version": 3,
            "shape": tensor.shape,
            "typestr": dtype.str,
            "data": (address.value, False),
        }

    def __del__(self) -> None:
        if hasattr(self, "_address"):  # else the allocation failed
            self._library.cudaFreeHost(self._address)


def check(status: int) -> None:
    """Raise Failed where a call of the CUDA runtime did not succeed."""
    if status != 0:
        raise Failed(f"the CUDA runtime fails with error {status}: see with nvidia-smi whether the GPU is well")
