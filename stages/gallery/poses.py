"""The three pictures of an enrolment at a camera: each is judged, taken or not, and its face embedded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.gallery.enrol import Enrol
from stages.gallery.guidance import Guidance
from stages.gallery.people import Portrait


class Poses:
    """One person, of whom picture after picture is looked at. Nothing is kept but in what `faces` returns."""

    def __init__(self, enrol: Enrol) -> None:
        self._enrol, self._guidance = enrol, Guidance(enrol.threshold)
        self._faces: list[tuple[NDArray[np.float32], list[Portrait]]] = []

    @property
    def taken(self) -> int:
        """How many pictures."""
        return self._guidance.taken

    @property
    def done(self) -> bool:
        """Whether all are taken."""
        return self._guidance.done

    def see(self, pixels: NDArray[np.uint8]) -> str:
        """Take the picture (H, W, 3) BGR if it is a good one; what to do first, "" where it was taken."""
        words = self._guidance.advice(self._enrol.look(pixels))
        if words:
            return words
        embeddings, portraits = self._enrol.of([pixels], ["the picture"])
        words = self._guidance.take(embeddings[0])
        if not words:
            self._faces.append((embeddings, portraits))
        return words

    def faces(self) -> tuple[NDArray[np.float32], list[Portrait]]:
        """(N, D) of unit length, and the faces, of the pictures that were taken; at least one."""
        portraits = [portrait for _, one in self._faces for portrait in one]
        return np.concatenate([embedding for embedding, _ in self._faces]), portraits
