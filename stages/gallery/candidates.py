"""Which few of very many templates may be the nearest: FAISS over shortened ones. What is exact comes after it.

Not a graph and no cells: of 1,000,000 random templates, and faces at a cosine of 0.55 to 0.9 to theirs, an HNSW
(M = 32, efSearch = 1024, 104 s to build) finds 95 % in 3.9 ms, cells (4096, a fifth of them searched, 26 s) 98 % in
4.9 ms; all templates shortened to half a byte for two numbers, scanned with SIMD, 100 % in 1.0 ms after 2.5 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failed

FEW = 10_000  # templates; the exact search of fewer takes less than half a millisecond
KEPT = 500  # candidates; what of the nearest are among them, and how long it takes: bench/search.py
SAMPLE = 65_536  # templates that the shortening is learned from
BITS = 4  # for two numbers each, as FAISS's fast scan wants it


def faiss() -> Any:
    """The package. Raises Failed where it is not installed."""
    try:
        import faiss as package
    except ImportError as error:
        raise Failed('match.index = "faiss" needs FAISS: pip install framewire[faiss]') from error
    return package


class Candidates:
    """The rows of `templates` (T, D) of unit length, at least FEW, that are likely the nearest to a face.

    It copies nothing of them but T * D / 4 bytes, and is made anew when anybody comes or goes.
    """

    def __init__(self, templates: NDArray[np.float32]) -> None:
        package, size = faiss(), templates.shape[1]
        even = size + size % 2
        short = package.IndexPQFastScan(even, even // 2, BITS, package.METRIC_INNER_PRODUCT)
        # Rotated at random, so that no two numbers that are shortened together say more than others.
        self._index = package.IndexPreTransform(package.RandomRotationMatrix(size, even), short)
        rows = np.random.default_rng(0).permutation(len(templates))[:SAMPLE]
        self._index.train(templates[rows])
        self._index.add(templates)

    def __call__(self, embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        """(KEPT,) rows, for `embedding` (D,) of unit length."""
        _, rows = self._index.search(embedding[None], KEPT)
        found: NDArray[np.int64] = rows[0]
        return found
