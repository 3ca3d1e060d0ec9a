"""Name each face: embed its chip, find its nearest neighbour in the gallery."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.config import PATH
from pipeline.home import home
from pipeline.types import Crops, Matches
from stages.embed import Embedder, EmbedderConfig
from stages.gallery.index import Gallery

log = logging.getLogger(__name__)


class MatchConfig(EmbedderConfig, frozen=True):
    """`[match]`: the embedder and how near is near enough."""

    threshold: Annotated[float, Meta(ge=-1, le=1)] | None = None  # cosine similarity; None: the embedder's own
    gallery: Annotated[str, Meta(pattern=PATH)] = ""  # the folder of who is enrolled; "": the user's data folder


class Match:
    """Crops -> Matches; the faces of all the messages go through the network together."""

    batch = 8

    def __init__(self, config: MatchConfig) -> None:
        self._embed = Embedder(config)
        self._gallery = Gallery.open(Path(config.gallery) if config.gallery else home(), self._embed.identity)
        if self._gallery.note:
            log.warning(self._gallery.note)
        self._threshold = self._embed.threshold if config.threshold is None else config.threshold

    def __call__(self, messages: list[Crops]) -> list[Matches]:
        embeddings = self._embed(np.concatenate([crops.chips for crops in messages]))
        names, similarity = self._gallery.nearest(embeddings)
        known = np.where(similarity >= self._threshold, np.array(names, dtype=object), "")
        ends = np.cumsum([len(crops.rows) for crops in messages])[:-1]
        parts = zip(messages, np.split(known, ends), np.split(similarity, ends), strict=True)
        return [_matches(crops, *part) for crops, *part in parts]


def _matches(crops: Crops, names: NDArray[Any], similarity: NDArray[np.float32]) -> Matches:
    """Names and similarities of the chips, put back in the rows of their detections."""
    count = len(crops.found.boxes)
    all_names = np.full(count, "", dtype=object)
    all_similarity = np.full(count, np.nan, np.float32)
    all_names[crops.rows], all_similarity[crops.rows] = names, similarity
    return Matches(found=crops.found, names=tuple(all_names), similarity=all_similarity)
