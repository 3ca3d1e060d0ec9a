"""The nearest enrolled person to a face: a search in memory, exact or, for very many people, by FAISS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.home import keys
from stages.gallery.candidates import FEW, Candidates, faiss
from stages.gallery.database import Reader
from stages.gallery.people import Access, Person
from stages.gallery.store import Store

Index = Literal["exact", "faiss"]


class Gallery:
    """Everybody enrolled with one embedder.

    `note` is one sentence on whom this gallery cannot match, or ""; `counts` (P,) the templates of each person.

    With the index "faiss", and from FEW templates on, `nearest` looks only at the KEPT most likely ones, exactly and
    with all templates and negatives of whose they are; so a similarity is what the exact index says of that person.
    Its recall is the share of faces for which the nearest person is among them. Who is missed there is not recognized
    although they are enrolled, or taken for the next nearest where that one, too, is above the threshold. A calibration
    assumes that the nearest is found: add up to 1 - recall to its false reject rate. A stranger is accepted no more
    often, as they are compared with fewer people.
    """

    def __init__(self, people: Sequence[Person], model: str, index: Index = "exact") -> None:
        """Raises Failed where the index's package is not installed."""
        known = [(person, _embeddings(person, model)) for person in people]
        known = [(person, rows) for person, rows in known if len(rows)]
        counts = [len(rows) for _, rows in known]
        self.people = tuple(person for person, _ in known)
        self._places = {person.id.hex(): place for place, person in enumerate(self.people)}
        self._ids = np.array([person.id.hex() for person in self.people], dtype=object)  # (P,)
        self._names = np.array([person.name for person in self.people], dtype=object)  # (P,)
        self.counts = np.array(counts, np.intp)
        self._first = np.cumsum([0, *counts[:-1]])  # (P,) row of each person's first template
        self._one_each = all(count == 1 for count in counts)
        self._templates = np.concatenate([rows for _, rows in known]) if known else np.empty((0, 0), np.float32)
        negatives = [[t.embedding for t in person.negatives if t.model == model] for person in self.people]
        # Place of a person -> (K, D) faces that are not theirs.
        self._negatives = {place: np.stack(rows) for place, rows in enumerate(negatives) if rows}
        if index == "faiss":
            faiss()  # missed at the start, not when the gallery has grown
        many = index == "faiss" and len(self._templates) >= FEW
        self._candidates = Candidates(self._templates) if many else None
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
            places = self._likely(embedding)
            near = self._near(embedding) if places is None else self._near_to(places, embedding)
            best = int(near.argmax())
            nearest[row], similarity[row] = best if places is None else places[best], near[best]
        return tuple(self._ids[nearest].tolist()), tuple(self._names[nearest].tolist()), similarity

    def similarity(self, person: str, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) cosine similarity of `embeddings` (N, D) to one person, by id; NaN where nobody has it."""
        place = self._places.get(person)
        if place is None:
            return np.full(len(embeddings), np.nan, np.float32)
        places = np.array([place])
        return np.array([self._near_to(places, embedding)[0] for embedding in embeddings], np.float32)

    def _near(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P,) how near `embedding` (D,) is to each person."""
        near = self._templates @ embedding
        if not self._one_each:
            near = np.maximum.reduceat(near, self._first)
        for place, rows in self._negatives.items():
            near[place] -= max(0.0, float((rows @ embedding).max() - near[place]))
        return near

    def _near_to(self, places: NDArray[np.intp], embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(K,) the same of the people at `places` (K,) alone."""
        counts = self.counts[places]
        starts = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(self._first[places] - starts, counts)
        near: NDArray[np.float32] = np.maximum.reduceat(self._templates[rows] @ embedding, starts)
        for at, place in enumerate(places.tolist()):
            if place in self._negatives:
                near[at] -= max(0.0, float((self._negatives[place] @ embedding).max() - near[at]))
        return near

    def _likely(self, embedding: NDArray[np.float32]) -> NDArray[np.intp] | None:
        """(K,) places of the people one of whom is the nearest; None for everybody."""
        if self._candidates is None:
            return None
        return np.unique(np.searchsorted(self._first, self._candidates(embedding), side="right") - 1)


class Remembers(Protocol):
    """What a process keeps of people beside the gallery."""

    def owners(self) -> set[bytes]:
        """The ids of those of whom something is kept."""

    def erase(self, *owners: bytes) -> object:
        """Keep nothing of some of them."""


class LiveGallery:
    """The gallery on disk for one embedder, followed while it changes; `forget` waits until it has been followed.

    It is read and indexed anew after each change, and nothing is matched meanwhile: README.md has how long that takes.
    """

    def __init__(
        self, home: Path, model: str, who: str, index: Index = "exact", remembers: Remembers | None = None
    ) -> None:
        """`who` is what `forget` calls this process where it does not follow.

        From what this process `remembers` those are erased who are forgotten, before it is said to have followed; those
        forgotten while it did not run, now.
        """
        self._store, self._model, self._who, self._remembers = Store(home, keys()), model, who, remembers
        self.exchange = self._store.exchange
        self._index: Index = index
        self._reader: Reader | None = None  # until there is a gallery: where there is none, nothing is written
        self._generation = -1
        self.refresh()

    def refresh(self) -> bool:
        """Read the gallery again if it has changed, and say so; whether it has."""
        generation = self._store.generation()
        if generation == self._generation:
            return False
        if self._reader is None and generation:
            self._reader = self._store.reader(self._who)  # before reading: from now on `forget` waits
        people = self._store.people()
        self.now = Gallery(people, self._model, self._index)
        self.rules: dict[str, tuple[str, Access]] = {person.id.hex(): (person.name, person.access) for person in people}
        self.holders = {badge: person.id.hex() for person in reversed(people) for badge in person.access.badges}
        if self._remembers and (gone := self._store.forgotten(self._generation, self._remembers.owners())):
            self._remembers.erase(*gone)
        if self._reader:
            self._reader.hold(generation)
        self._generation = generation  # now that all of it is done
        return True

    @property
    def unread(self) -> str:
        """One sentence on who is enrolled and has no key here, or ""."""
        return self._store.unread

    def close(self) -> None:
        """Follow it no longer."""
        if self._reader:
            self._reader.close()


def _embeddings(person: Person, model: str) -> NDArray[np.float32]:
    """(T, D) of one model."""
    rows = [template.embedding for template in person.templates if template.model == model]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
