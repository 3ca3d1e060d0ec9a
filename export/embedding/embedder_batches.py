"""What an embedder learns from: P people, K photos of each, as other cameras might have taken them."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.detector import Image
from export.embedding.face_folders import People
from export.packages import Failed

MEAN = (122.782, 117.001, 104.298)  # dlib's, of R, G, B
SCALE = 1 / 256
SMALL = (12, 60)  # px: the side of chips as cameras see them from afar, before they are enlarged


@dataclass(frozen=True)
class Batch:
    """Faces, whose they are, and lots that are drawn with them, so that a run that is resumed draws the same."""

    images: Tensor  # (B, 3, 150, 150) float32
    people: Tensor  # (B,) int64
    lots: Tensor  # (B, B) float32 0..1


def scaled(chips: Image) -> Tensor:
    """(N, 3, 150, 150) float32 for the network out of (N, 150, 150, 3) uint8 RGB."""
    pixels = (chips.astype(np.float32) - np.array(MEAN, np.float32)) * np.float32(SCALE)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def small(chip: Image, side: int) -> Image:
    """A (S, S, 3) chip as it would be if the face were so small that the chip had `side` pixels."""
    shrunk = cv2.resize(chip, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, chip.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def varied(chip: Image, random: np.random.Generator) -> Image:
    """A (150, 150, 3) uint8 chip mirrored, turned, moved, in other light and colour, and half of the time small."""
    side = chip.shape[0]
    if random.random() < 0.5:
        chip = chip[:, ::-1]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), random.normal(0, 4), random.uniform(0.94, 1.06))
    matrix = matrix + np.array([[0, 0, 1], [0, 0, 1]]) * random.normal(0, side / 60, (2, 1))
    chip = np.asarray(cv2.warpAffine(chip, matrix, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)
    if random.random() < 0.5:
        chip = small(chip, int(random.integers(*SMALL)))
    pixels: NDArray[np.floating] = chip.astype(np.float32) / 255
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + random.uniform(0.5, 1.2) * (pixels - grey)
    gains = random.uniform(0.7, 1.3) * (1 + random.normal(0, 0.05, 3))
    pixels = (pixels * gains).clip(0, 1) ** random.uniform(0.75, 1.35)
    pixels = pixels + random.normal(0, random.uniform(0, 0.03), pixels.shape)
    return np.asarray(pixels.clip(0, 1) * 255, np.uint8)


def check_size(loss: str, p: int, k: int) -> None:
    """Failed where a batch of P people and K photos has no pair of strangers, or none of one person and needs it."""
    least = 1 if loss == "arcface" else 2
    if p < 2 or k < least:
        raise Failed(
            f"--people {p} --photos {k} makes no pairs; --loss {loss} needs --people 2 --photos {least} or more"
        )


class Batches:
    """P people and K photos of each (Hermans et al., arXiv:1703.07737): what `fit` calls with a generator.

    P is at most the number of people. Who has fewer than K photos is seen in copies that vary.
    """

    def __init__(self, people: People, p: int, k: int) -> None:
        self.chips = people.chips
        self.rows = [np.flatnonzero(people.names == name) for name in sorted(set(people.names.tolist()))]
        self.p, self.k = min(p, len(self.rows)), k

    def __call__(self, random: np.random.Generator) -> Batch:
        drawn = random.choice(len(self.rows), self.p, replace=False)
        rows = [random.choice(self.rows[who], self.k, replace=len(self.rows[who]) < self.k) for who in drawn]
        chips = np.stack([varied(self.chips[row], random) for row in np.concatenate(rows)])
        size = self.p * self.k
        lots = torch.from_numpy(random.random((size, size), np.float32))
        return Batch(scaled(chips), torch.from_numpy(np.repeat(drawn, self.k).astype(np.int64)), lots)
