"""How good is a model file? `python -m export evaluate`, and the two figures that others compare models by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.cli import Commands
from export.detection import evaluate_detector
from export.detection.detector_rating import labelled, look_through, opened
from export.detection.matching import average_precisions
from export.embedding import evaluate_embedder
from export.embedding.evaluate_embedder import embed
from export.embedding.verification import verification
from export.liveness import evaluate_liveness

__all__ = ["add", "average_precision", "embed", "verification"]


def average_precision(model: Path, files: Sequence[Path], height: int, width: int) -> dict[str, float]:
    """COCO's AP at IoU 0.5 of a detector over dlib XML files, the mean over classes; counts of photos and boxes."""
    rated = opened(model, height, width)
    names, _ = look_through([rated], labelled(files, None, None))
    ap50 = np.mean([ap50 for ap50, _ in average_precisions(rated.photos, names).values()])
    boxes = sum(int(photo.asked.sum()) for photo in rated.photos)
    return {"AP50": round(float(ap50), 4), "photos": len(rated.photos), "boxes": boxes}


def add(commands: Commands) -> None:
    """The command `evaluate` and what is under it."""
    kinds = commands.add_parser("evaluate", help="how good a model file is").add_subparsers(required=True)
    for module in (evaluate_detector, evaluate_embedder, evaluate_liveness):
        module.add(kinds)
