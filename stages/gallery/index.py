"""The nearest enrolled person to a face: an exact search in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.home import keys
from stages.gallery.people import Access, Person
from stages.gallery.readers import Reader
from stages.gallery.store import Store


class Gallery:
    """Everybody enrolled with one embedder.

    `note` is one sentence on whom this gallery cannot match, or "".
    """

    def __init__(self, people: Sequence[Person], model: str) -> None:
        known = [(person, _embeddings(person, model)) for person in people]
        known = [(person, rows) for person, rows in known if len(rows)]
        counts = [len(rows) for _, rows in known]
        self.people = tuple(person for person, _ in known)
        self._places = {person.id.hex(): place for place, person in enumerate(self.people)}
        self._ids = np.array([person.id.hex() for person in self.people], dtype=object)  # (P,)
        self._names = np.array([person.name for person in self.people], dtype=object)  # (P,)
        self._first = np.cumsum([0, *counts[:-1]])  # (P,) row of each person's first template
        self._one_each = all(count == 1 for count in counts)
        self._templates = np.concatenate([rows for _, rows in known]) if known else np.empty((0, 0), np.float32)
        negatives = [[t.embedding for t in person.negatives if t.model == model] for person in self.people]
        # Place of a person -> (K, D) faces that are not theirs.
        self._negatives = {place: np.stack(rows) for place, rows in enumerate(negatives) if rows}
        left_out = len(people) - len(known)
        self.note = (
            f"{left_out} of {len(people)} people are enrolled with another model and are not matched: "
            "run `gallery re-embed`, or enroll their photos again with this one"
            if left_out
            else ""
        )

    def __len__(self) -> int:
        return len(self._names)

    def nearest(self, embeddings: NDArray[np.float32]) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float32]]:
        """Id, name and cosine similarity (N,) of the person nearest to each of `embeddings` (N, D), of unit length.

        A person is as near as the nearest of their templates, less by how much nearer than that the face is to one
        that was marked as not theirs. Where nobody is enrolled: "", "" and NaN.
        """
        if not len(self._names):
            nobody = ("",) * len(embeddings)
            return nobody, nobody, np.full(len(embeddings), np.nan, np.float32)
        nearest = np.empty(len(embeddings), np.intp)
        similarity = np.empty(len(embeddings), np.float32)
        for row, embedding in enumerate(embeddings):  # one at a time: a face or two a frame, and memory stays small
            near = self._near(embedding)
            nearest[row] = near.argmax()
            similarity[row] = near[nearest[row]]
        return tuple(self._ids[nearest].tolist()), tuple(self._names[nearest].tolist()), similarity

    def similarity(self, person: str, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) cosine similarity of `embeddings` (N, D) to one person, by id; NaN where nobody has it."""
        place = self._places.get(person)
        if place is None:
            return np.full(len(embeddings), np.nan, np.float32)
        return np.array([self._near(embedding)[place] for embedding in embeddings], np.float32)

    def _near(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P,) how near `embedding` (D,) is to each person."""
        near = self._templates @ embedding
        if not self._one_each:
            near = np.maximum.reduceat(near, self._first)
        for place, rows in self._negatives.items():
            near[place] -= max(0.0, float((rows @ embedding).max() - near[place]))
        return near


class LiveGallery:
    """The gallery on disk for one embedder, followed while it changes; `forget` waits until it has been followed."""

    def __init__(self, home: Path, model: str, who: str) -> None:
        """`who` is what `forget` calls this process where it does not follow."""
        self._store, self._model, self._who = Store(home, keys()), model, who
        self._reader: Reader | None = None  # until there is a gallery: where there is none, nothing is written
        self._generation = -1
        self.refresh()

    def refresh(self) -> bool:
        """Read the gallery again if it has changed, and say so; whether it has."""
        generation = self._store.generation()
        if generation == self._generation:
            return False
        if self._reader is None and generation:
            self._reader = Reader(self._store.home, self._who)  # before reading: from now on `forget` waits
        self._generation = generation
        people = self._store.people()
        self.now = Gallery(people, self._model)
        self.rules: dict[str, tuple[str, Access]] = {person.id.hex(): (person.name, person.access) for person in people}
        if self._reader:
            self._reader.hold(generation)
        return True

    def close(self) -> None:
        """Follow it no longer."""
        if self._reader:
            self._reader.close()


def _embeddings(person: Person, model: str) -> NDArray[np.float32]:
    """(T, D) of one model."""
    rows = [template.embedding for template in person.templates if template.model == model]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
