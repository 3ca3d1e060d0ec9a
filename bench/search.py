"""Who is it, among very many: the exact index beside FAISS's. `python -m bench.search`

Both search on one thread, in turns, over the same vectors.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.table import Row, report
from stages.embed import Embedder, EmbedderConfig
from stages.gallery.index import Gallery
from stages.gallery.people import Access, Person, Template

T = TypeVar("T")
MANY, SOME, SIZE = 1_000_000, 10_000, 128
SEARCHES = 40


def main() -> int:
    """Search a million, then ten thousand from a chip on; 1 when a gate fails."""
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(0)
    vectors = _unit(random.normal(size=(MANY, SIZE)).astype(np.float32))
    queries = _unit(random.normal(size=(SEARCHES, SIZE)).astype(np.float32))
    gallery, flat = _gallery(vectors), faiss.IndexFlatIP(SIZE)
    flat.add(vectors)
    ours, theirs = [], []
    for query in queries[:, None]:
        (ids, _, _), taken = _timed(partial(gallery.nearest, query))
        (_, places), faiss_taken = _timed(partial(flat.search, query, 1))
        assert ids[0] == _id(int(places[0, 0])).hex(), "they do not find the same"
        ours.append(taken)
        theirs.append(faiss_taken)
    ratio = float(np.median(ours) / np.median(theirs))
    over = _over_the_embedding(_gallery(vectors[:SOME]), random)
    rows = [
        Row(f"top-1 of {MANY:,}, framewire", float(np.median(ours)) * 1e3, "ms"),
        Row(f"top-1 of {MANY:,}, FAISS flat", float(np.median(theirs)) * 1e3, "ms"),
        Row("share of FAISS's time", ratio, "", gate="<= 1.2"),
        Row(f"from chip to name among {SOME:,}, over the embedding", over * 1e3, "ms", gate="<= 2"),
    ]
    notes = [
        f"Medians of {SEARCHES} searches, each of one query, {SIZE} float32; one thread each, in turns, one process.",
        "The same person is found by both, each time. FAISS is IndexFlatIP, exact as well.",
    ]
    return report("search", rows, versions=("faiss-cpu", "numpy"), notes=notes)


def _over_the_embedding(gallery: Gallery, random: np.random.Generator) -> float:
    """What naming a chip takes beside embedding it, seconds."""
    embed = Embedder(EmbedderConfig(provider="cpu"))
    chips = random.integers(0, 256, (1, 150, 150, 3), dtype=np.uint8)
    whole, alone = [], []
    for _ in range(SEARCHES):
        whole.append(_timed(lambda: gallery.nearest(embed(chips)))[1])
        alone.append(_timed(lambda: embed(chips))[1])
    return float(np.median(whole) - np.median(alone))


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def _gallery(vectors: NDArray[np.float32]) -> Gallery:
    now = datetime.now(UTC)
    people = [
        Person(_id(place), f"person {place}", Access(), (Template("m", now, vector),), ())
        for place, vector in enumerate(vectors)
    ]
    return Gallery(people, "m")


def _id(place: int) -> bytes:
    return place.to_bytes(16, "big")


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    sys.exit(main())
