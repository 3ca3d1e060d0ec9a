"""AP50 of a network while it learns, on labelled pictures that it does not learn from."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from export.decode import DecodedYolo
from export.detection import matching
from export.detection.augment import Sample
from export.detection.detector_rating import SMALLEST, against
from export.detection.matching import Boxes
from export.detector import LEAST, chosen, letterbox, scaled
from export.models.yolo import Yolo
from export.packages import Failed
from export.run import Figures

HEIGHT, WIDTH = 384, 640  # px of the input


class HeldOut:
    """What `fit` asks at each checkpoint: the mean of the classes' AP50, as `evaluate detector` has it."""

    def __init__(self, samples: Sequence[Sample], labels: Sequence[str]) -> None:
        """Failed where no box is large enough to be asked for."""
        self.samples, self.labels = samples, labels
        nothing = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
        if not any(against(sample, nothing, HEIGHT, WIDTH, SMALLEST).asked.any() for sample in samples):
            raise Failed(f"the held-out pictures have no box of {SMALLEST:g} px or more in {HEIGHT}x{WIDTH}; give more")

    def __call__(self, module: nn.Module) -> Figures:
        """The figure of a `Yolo`."""
        assert isinstance(module, Yolo)
        decoded = DecodedYolo(module)
        photos = [against(sample, found(decoded, sample), HEIGHT, WIDTH, SMALLEST) for sample in self.samples]
        classes = matching.average_precisions(photos, self.labels)
        return {"held-out AP50": float(np.mean([ap50 for ap50, _ in classes.values()]))}


@torch.inference_mode()
def found(decoded: DecodedYolo, sample: Sample) -> Boxes:
    """What a network finds in a picture, after NMS."""
    picture, back = letterbox(sample.pixels, HEIGHT, WIDTH)
    device = next(decoded.parameters()).device
    outputs: tuple[Tensor, ...] = decoded(torch.from_numpy(scaled(picture, {"order": "RGB"})).to(device))
    boxes, scores, classes = (output[0].cpu().numpy() for output in outputs[:3])
    keep = chosen(boxes, scores, classes, LEAST)
    return Boxes(boxes[keep] * np.tile(back, 2), classes[keep].astype(np.int64), scores[keep])
