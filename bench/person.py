"""How well the person detector that ships finds people, beside YOLOX-nano, on labelled COCO photos.

`python -m bench.person YOLOX.onnx PHOTOS`: yolox_nano.onnx, and a folder in YOLO's format whose class 0 is a person.
Both by the pipeline's own stages, on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bench.plain import Picture
from bench.table import Row, report
from export.detection.detection_data import from_folder
from export.detection.matching import Boxes, average_precisions, hits, match
from pipeline.model import set_thread_budget
from pipeline.types import Candidates, Frame
from stages.detect import Detect, DetectConfig
from stages.highlight.people import DetectPeopleConfig
from stages.nms import Nms, NmsConfig

LEAST = 0.01  # score of what counts for AP
SURE = (DetectPeopleConfig().threshold, 0.5)  # what recall and precision are told at
Pixels = NDArray[np.uint8]
Found = tuple[NDArray[np.float32], NDArray[np.float32]]  # (N, 4) xyxy px of the picture, (N,) scores


def finder(config: DetectConfig, nms: NmsConfig) -> Callable[[Pixels], Found]:
    """The pipeline's stages: a picture in, people out, best first."""
    picture = Picture()
    detect, suppress = Detect(replace(config, threshold=LEAST, provider="cpu"), picture), Nms(nms)

    def find(pixels: Pixels) -> Found:
        picture.pixels = pixels
        height, width = pixels.shape[:2]
        (candidates,) = detect([Frame("photo", 0, 0, 0, 0, 0, 0, width, height)])
        assert isinstance(candidates, Candidates)
        found = suppress(candidates)
        person = found.classes == 0
        return found.boxes[person], found.scores[person]

    return find


def rows(name: str, find: Callable[[Pixels], Found], photos: Path) -> list[Row]:
    """What one network makes of the photos."""
    matched, took = [], []
    for _, sample in from_folder(photos):
        people = sample.rows(sample.classes == 0)
        start = time.process_time()
        boxes, scores = find(sample.pixels)
        took.append(1000 * (time.process_time() - start))
        found = Boxes(boxes, np.zeros(len(boxes), np.int64), scores)
        truth = Boxes(people.boxes, people.classes, np.ones(len(people.boxes), np.float32))
        matched.append(match(found, truth, people.ignored, 1, 0))
    there = sum(len(photo.hit) for photo in matched)
    told = [Row(f"{name}: AP50 of people", average_precisions(matched, ["person"])["person"][0], "")]
    for sure in SURE:
        right = sum(int(hits(photo, sure).sum()) for photo in matched)
        said = sum(int((photo.found.scores >= sure).sum()) for photo in matched)
        told.append(Row(f"{name}: recall at score {sure}", right / there, ""))
        told.append(Row(f"{name}: precision at score {sure}", right / said if said else float("nan"), ""))
    return [*told, Row(f"{name}: a picture, median of a core's time", float(np.median(took)), "ms")]


def main() -> int:
    """Measure both, and report."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m bench.person YOLOX.onnx PHOTOS")
    yolox, photos = map(Path, sys.argv[1:])
    set_thread_budget(1)
    cv2.setNumThreads(1)
    of_yolox = NmsConfig(iou=0.65)  # of its own evaluation
    found = rows("yolox_nano", finder(DetectConfig(model=str(yolox)), of_yolox), photos)
    found += rows("person_ssdlite", finder(DetectPeopleConfig(), NmsConfig()), photos)
    return report("person", found, versions=("onnxruntime-gpu",))


if __name__ == "__main__":
    sys.exit(main())
