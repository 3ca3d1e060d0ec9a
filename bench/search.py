"""Who is it, among very many: the exact index beside FAISS's, and `match.index = "faiss"`. `python -m bench.search`

All search on one thread, in turns, over the same vectors: random ones, which vary in all directions alike. Real faces
vary in fewer; then strangers have nearer neighbours, and more of them.
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
from stages.gallery.candidates import Candidates
from stages.gallery.index import Gallery
from stages.gallery.people import Access, Person, Template

T = TypeVar("T")
MANY, SOME, SIZE = 1_000_000, 10_000, 128
SEARCHES = 40
FACES = 400  # for recall
COSINE = 0.6  # of a face to its person's template: the threshold of dlib_face, so the hardest that is to be found


def main() -> int:
    """Search a million, then ten thousand from a chip on; 1 when a gate fails."""
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(0)
    vectors = _unit(random.normal(size=(MANY, SIZE)).astype(np.float32))
    queries = _unit(random.normal(size=(SEARCHES, SIZE)).astype(np.float32))
    people, flat = _people(vectors), faiss.IndexFlatIP(SIZE)
    gallery, made = _timed(lambda: Gallery(people, "m"))
    flat.add(vectors)
    ours, theirs = [], []
    for query in queries[:, None]:
        (ids, _, _), taken = _timed(partial(gallery.nearest, query))
        (_, places), faiss_taken = _timed(partial(flat.search, query, 1))
        assert ids[0] == _id(int(places[0, 0])).hex(), "they do not find the same"
        ours.append(taken)
        theirs.append(faiss_taken)
    ratio = float(np.median(ours) / np.median(theirs))
    fast, built, grown = _built(people, vectors)
    quick = [_timed(partial(fast.nearest, query))[1] for query in queries[:, None]]
    known, strangers = _recall(gallery, fast, vectors, random)
    _, small = _timed(lambda: Candidates(vectors[: MANY // 10]))
    over = _over_the_embedding(Gallery(people[:SOME], "m"), random)
    rows = [
        Row(f"top-1 of {MANY:,}, framewire", float(np.median(ours)) * 1e3, "ms"),
        Row(f"top-1 of {MANY:,}, FAISS flat", float(np.median(theirs)) * 1e3, "ms"),
        Row("share of FAISS's time", ratio, "", gate="<= 1.2"),
        Row(f'top-1 of {MANY:,}, match.index = "faiss"', float(np.median(quick)) * 1e3, "ms"),
        Row("share of the exact index's time", float(np.median(quick) / np.median(ours)), "", gate="<= 0.5"),
        Row(f"its recall@1, faces at {COSINE} to their template", known, "", gate=">= 0.99"),
        Row("its recall@1, strangers", strangers, "", gate=">= 0.99"),
        Row("its memory, beside the templates", grown / 1e6, "MB"),
        Row(f"to make it of {MANY:,}", built, "s"),
        Row(f"to make it of {MANY // 10:,}", small, "s"),
        Row(f"to make a gallery of {MANY:,} people, exact", made, "s"),
        Row(f"from chip to name among {SOME:,}, over the embedding", over * 1e3, "ms", gate="<= 2"),
    ]
    notes = [
        f"Medians of {SEARCHES} searches, each of one query, {SIZE} float32; one thread each, in turns, one process.",
        "The same person is found by both, each time. FAISS is IndexFlatIP, exact as well.",
        f"Recall: of {FACES} faces each, of 1 nearest person, against the exact index; similarities are the same.",
        "A gallery is made anew after each change; reading and decrypting it comes on top.",
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


def _built(people: list[Person], vectors: NDArray[np.float32]) -> tuple[Gallery, float, int]:
    """The gallery with FAISS's index, how long that index alone takes, seconds, and its bytes."""
    index, taken = _timed(lambda: Candidates(vectors))
    grown = faiss.serialize_index(index._index).nbytes
    return Gallery(people, "m", "faiss"), taken, grown


def _recall(
    exact: Gallery, fast: Gallery, vectors: NDArray[np.float32], random: np.random.Generator
) -> tuple[float, float]:
    """The share of faces for which both find the same, at COSINE to a template, and of strangers."""
    noise = random.normal(size=(2, FACES, SIZE)).astype(np.float32)
    templates, strangers = vectors[:: len(vectors) // FACES][:FACES], _unit(noise[1])
    aside = _unit(noise[0] - (noise[0] * templates).sum(axis=1, keepdims=True) * templates)
    known = COSINE * templates + np.float32(np.sqrt(1 - COSINE**2)) * aside
    same = [np.array(exact.nearest(faces)[0]) == np.array(fast.nearest(faces)[0]) for faces in (known, strangers)]
    return float(same[0].mean()), float(same[1].mean())


def _people(vectors: NDArray[np.float32]) -> list[Person]:
    now = datetime.now(UTC)
    return [
        Person(_id(place), f"person {place}", Access(), (Template("m", now, vector),), ())
        for place, vector in enumerate(vectors)
    ]


def _id(place: int) -> bytes:
    return place.to_bytes(16, "big")


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    sys.exit(main())
