"""Made-up people for trying out how embedders learn: smooth patterns in families whose members look alike.

Nothing here is a face. A person is a pattern; a family's members share most of theirs. A photo adds what photos add:
light of any colour, which is stronger than the pattern, and noise. So people of two families are told apart early, and
people of one family by looking closely only, as it is with strangers and siblings.
"""

import cv2
import numpy as np

from export.detector import Array
from export.embedding.face_folders import People

SIDE = 48  # px; the network takes any size, and this is fast
OWN = 0.5  # of a member's pattern, beside 1 of the family's
CONTRAST, LIGHT, NOISE = 35.0, 45.0, 8.0  # of 255: standard deviations


def pattern(random: np.random.Generator) -> Array:
    """(SIDE, SIDE, 3) float32, smooth, mean 0 and standard deviation about 1."""
    coarse = random.normal(0, 1, (5, 5, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def lookalikes(families: int, members: int, photos: int, seed: int = 0) -> People:
    """`photos` chips (SIDE, SIDE, 3) of each member of each family."""
    random = np.random.default_rng(seed)
    chips, names = [], []
    for family in range(families):
        shared = pattern(random)
        for member in range(members):
            own = CONTRAST * (shared + OWN * pattern(random))
            for _ in range(photos):
                light = random.normal(128, LIGHT, 3)
                chips.append((light + own + random.normal(0, NOISE, own.shape)).clip(0, 255).astype(np.uint8))
                names.append(f"{family:03}-{member}")
    return People(np.stack(chips), np.array(names))
