"""Name each face: embed its chip, find its nearest neighbour in the gallery."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import PATH
from pipeline.home import home
from pipeline.types import Crops, Faces, Matches, Picked
from stages.embed import Embedder, EmbedderConfig
from stages.gallery.index import Index, LiveGallery, Remembers

LOOK_S = 1.0  # how often it is looked whether the gallery has changed

log = logging.getLogger(__name__)


class MatchConfig(EmbedderConfig, frozen=True):
    """`[match]`: the embedder and how near is near enough."""

    threshold: Annotated[float, Meta(ge=-1, le=1)] | None = None  # cosine similarity; None: the embedder's own
    index: Index = "exact"  # "faiss": faster among very many people, see stages/gallery/index.py
    gallery: Annotated[str, Meta(pattern=PATH)] = ""  # the folder of who is enrolled; "": the user's data folder


class Match:
    """Crops -> Matches, and Picked -> Faces; the faces of all the messages go through the network together."""

    batch = 8

    def __init__(self, config: MatchConfig, remembers: Remembers | None = None) -> None:
        """`remembers`: what this process keeps of people beside the gallery."""
        self._embed = Embedder(config)
        folder = Path(config.gallery) if config.gallery else home()
        self._gallery = LiveGallery(folder, self._embed.identity, "a pipeline's match", config.index, remembers)
        self._looked = time.monotonic()
        for note in filter(None, (self._gallery.now.note, self._gallery.unread)):
            log.warning(note)
        self._threshold = self._embed.threshold if config.threshold is None else config.threshold

    def __call__(self, messages: list[Crops]) -> list[Matches]:
        embeddings = self._embed(np.concatenate([crops.chips for crops in messages]))
        people, names, similarity = self._gallery.now.nearest(embeddings)
        known = np.where(similarity >= self._threshold, np.array(names, dtype=object), "")
        ends = np.cumsum([len(crops.rows) for crops in messages])[:-1]
        parts = (np.split(column, ends) for column in (np.array(people, dtype=object), known, similarity, embeddings))
        return [self._matches(*part) for part in zip(messages, *parts, strict=True)]

    def tick(self, now: float) -> None:
        """Follow the gallery as it changes."""
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._gallery.refresh()

    def close(self) -> None:
        """Follow it no longer."""
        self._gallery.close()

    def _matches(
        self,
        crops: Crops,
        people: NDArray[Any],
        names: NDArray[Any],
        similarity: NDArray[np.float32],
        embeddings: NDArray[np.float32],
    ) -> Matches:
        """What is known of the chips, put back in the rows of their detections."""
        count = len(crops.found.boxes)
        all_people, all_names = np.full((2, count), "", dtype=object)
        all_similarity = np.full(count, np.nan, np.float32)
        all_people[crops.rows], all_names[crops.rows], all_similarity[crops.rows] = people, names, similarity
        who = Matches(found=crops.found, names=tuple(all_names), similarity=all_similarity)
        if not isinstance(crops, Picked):
            return who
        return Faces(
            found=who.found,
            names=who.names,
            similarity=who.similarity,
            people=tuple(all_people),
            rows=crops.rows,
            embeddings=embeddings,
            model=self._embed.identity,
            threshold=self._threshold,
            quality=crops.quality,
            live=crops.live,
            live_threshold=crops.live_threshold,
            snapshot=crops.snapshot,
        )
