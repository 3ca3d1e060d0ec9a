"""Real clips and photos as the stages behind a detector get them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.registry import SHIPPED
from pipeline.types import Candidates, Detections, Frame
from stages.detect import Detect, DetectConfig
from stages.nms import Nms, NmsConfig

SAMPLES = Path(__file__).parents[2] / "samples"
SECOND = 1_000_000_000


class OneFrame:
    """A fake of the ring that holds the frame shown last."""

    def __init__(self) -> None:
        self.views = 0
        self._detect = Detect(DetectConfig(model=str(SHIPPED / "centerface_int8.onnx"), provider="cpu"), self)
        self._nms = Nms(NmsConfig())

    def faces(self, pixels: NDArray[np.uint8], seq: int = 0, pts_ns: int = 0, source: str = "cam") -> Detections:
        """What the detector finds in `pixels` (H, W, 3) BGR."""
        self.pixels = pixels
        height, width = pixels.shape[:2]
        (candidates,) = self._detect([Frame(source, seq, 1, pts_ns, 1, 0, 2, width, height)])
        assert isinstance(candidates, Candidates)
        return self._nms(candidates)

    def play(self, clip: Path, step: int = 1) -> Iterator[Detections]:
        """What the detector finds in every `step`-th frame of a clip."""
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            for seq, frame in enumerate(container.decode(stream)):
                if seq % step == 0:
                    assert frame.pts is not None
                    pixels = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
                    yield self.faces(pixels, seq, int(frame.pts * stream.time_base * SECOND))

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        self.views += 1
        yield self.pixels


def later(found: Detections, pts_ns: int) -> Detections:
    """The same faces at another time."""
    return replace(found, frame=replace(found.frame, seq=found.frame.seq + 1, pts_ns=pts_ns))


def overlap(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """IoU of two boxes (4,) xyxy."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    both = float(np.prod(sides.clip(0)))
    return both / (float(np.prod(box[2:] - box[:2])) + float(np.prod(other[2:] - other[:2])) - both)
