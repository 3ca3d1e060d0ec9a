"""The nearest enrolled person to a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.home import keys
from stages.gallery.store import Person, Store


class Gallery:
    """Everybody enrolled with one embedder, in memory; who is enrolled later is known after the next start.

    `note` is one sentence on whom this gallery cannot match, or "".
    """

    def __init__(self, people: list[Person], model: str) -> None:
        known = [(person.name, [t.embedding for t in person.templates if t.model == model]) for person in people]
        known = [(name, embeddings) for name, embeddings in known if embeddings]
        counts = [len(embeddings) for _, embeddings in known]
        self._names = np.array([name for name, _ in known], dtype=object)  # (P,)
        self._first = np.cumsum([0, *counts[:-1]])  # (P,) row of each person's first template
        self._templates = np.array([row for _, rows in known for row in rows], dtype=np.float32)  # (T, D)
        left_out = len(people) - len(known)
        self.note = (
            f"{left_out} of {len(people)} people are enrolled with another model and are not matched: "
            "enroll their photos again with this one"
            if left_out
            else ""
        )

    @classmethod
    def open(cls, home: Path, model: str) -> Gallery:
        """Read the gallery under `home`, without changing it, for the embedder whose identity is `model`."""
        return cls(Store(home, keys()).people(), model)

    def __len__(self) -> int:
        return len(self._names)

    def nearest(self, embeddings: NDArray[np.float32]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Name and cosine similarity (N,) of the person nearest to each of `embeddings` (N, D), rows of unit length.

        A person is as near as the nearest of their templates. Where nobody is enrolled: "" and NaN.
        """
        if not len(self._names):
            return ("",) * len(embeddings), np.full(len(embeddings), np.nan, np.float32)
        similarity = np.maximum.reduceat(embeddings @ self._templates.T, self._first, axis=1)  # (N, P)
        nearest = similarity.argmax(axis=1)  # (N,)
        return tuple(self._names[nearest].tolist()), similarity[np.arange(len(nearest)), nearest]
