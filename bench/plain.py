"""The main job as a plain program does it: one process, one loop, OpenCV and ONNX Runtime as they come out of the box.

`python -m bench.plain CLIP OUT PIECE`. cv2.VideoCapture, both libraries' own choice of threads, cv2's resize and NMS;
where there is no such thing in a library, the stages' own functions: to cut chips, to draw. x264 with the recording's
options, on as many threads as it likes. For each line on standard input it does PIECE frames and prints their number,
the seconds and the names as JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.turns import say_in_turn
from pipeline import registry
from pipeline.home import home, keys
from pipeline.types import Detections, Frame, Matches
from run_pipeline import Settings
from stages.crop import TEMPLATES, cut
from stages.draw import Draw
from stages.embed import KINDS
from stages.gallery.store import Store
from stages.show.results import Result
from stages.show.video import BT601, BT709, STUDIO_RANGE, TIME_BASE

MODELS = Path(__file__).resolve().parents[1] / "models"
Pixels = NDArray[np.uint8]


class Plain(msgspec.Struct, frozen=True):
    """What was measured of a piece: from its first frame's reading to its last one's writing."""

    frames: int
    seconds: float
    named: int  # faces that were given a name


class Picture:
    """The one picture that the loop works on, for `Draw`."""

    pixels: Pixels

    @contextmanager
    def view(self, _: Frame) -> Iterator[Pixels]:
        """Its pixels."""
        yield self.pixels


class Detector:
    """Picture -> Detections."""

    def __init__(self, settings: Settings) -> None:
        file = registry.resolve(registry.DETECTORS["cpu"])
        self.session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
        size = self.session.get_modelmeta().custom_metadata_map["framewire.size"]
        self.height, self.width = map(int, size.split("x"))
        self.settings = settings

    def __call__(self, pixels: Pixels, frame: Frame) -> Detections:
        ratio = min(self.height / frame.height, self.width / frame.width)
        inner = cv2.resize(pixels, (round(frame.width * ratio), round(frame.height * ratio)))
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[: inner.shape[0], : inner.shape[1]] = inner
        boxes, scores, classes, points = (output[0] for output in self.session.run(None, {"images": canvas[None]}))
        boxes, points = boxes / ratio, points / ratio
        boxes = boxes.clip(0, [frame.width, frame.height] * 2).astype(np.float32)
        sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        least, iou = self.settings.detect.threshold, self.settings.nms.iou
        rows = np.array(cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), least, iou), int)
        kept = (boxes[rows], scores[rows], classes[rows], points[rows].astype(np.float32))
        return Detections(frame, *kept, labels=("face",))


class Matcher:
    """Picture and Detections -> Matches."""

    def __init__(self, settings: Settings) -> None:
        self.session = ort.InferenceSession(MODELS / "dlib_face.onnx", providers=["CPUExecutionProvider"])
        said = self.session.get_modelmeta().custom_metadata_map
        self.mean, self.scale = (
            np.array(said[f"framewire.{key}"].split(","), np.float32)[:, None, None] for key in ("mean", "scale")
        )
        people = Store(home(), keys()).people()
        rows = [(person.name, template.embedding) for person in people for template in person.templates]
        self.names = [name for name, _ in rows]
        self.templates = np.array([embedding for _, embedding in rows], np.float32)
        self.min_face = settings.crop.min_face
        self.template = TEMPLATES["dlib"]
        self.threshold = (
            KINDS[self.template.side].threshold if settings.match.threshold is None else settings.match.threshold
        )

    def __call__(self, pixels: Pixels, found: Detections) -> Matches:
        names, similarity = [""] * len(found.boxes), np.full(len(found.boxes), np.nan, np.float32)
        rows = np.flatnonzero((found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1, initial=1e9) >= self.min_face)
        if len(rows) and found.keypoints is not None:
            chips = np.empty((len(rows), self.template.side, self.template.side, 3), np.uint8)
            cut(pixels, found.keypoints[rows], self.template, chips)
            planes = (chips.transpose(0, 3, 1, 2).astype(np.float32) - self.mean) * self.scale
            mirrored = np.concatenate([planes, planes[..., ::-1]])
            (both,) = self.session.run(None, {"images": mirrored})
            both /= np.linalg.norm(both, axis=1, keepdims=True)
            embeddings = both[: len(rows)] + both[len(rows) :]
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            cosines = embeddings @ self.templates.T
            similarity[rows] = cosines.max(axis=1)
            for row, nearest in zip(rows, cosines.argmax(axis=1), strict=True):
                names[row] = self.names[nearest] if similarity[row] >= self.threshold else ""
        return Matches(found, tuple(names), similarity)


def measure(clip: Path, out: Path, piece: int) -> Iterator[Plain]:
    """Read, detect, match, draw and write one more piece of the clip."""
    settings = Settings()
    detect, match, picture = Detector(settings), Matcher(settings), Picture()
    draw = Draw(settings.draw, picture)
    video = cv2.VideoCapture(str(clip))
    with (out / "plain.jsonl").open("wb") as lines, av.open(out / "plain.mp4", "w") as mp4:
        stream: Any = None
        seq = -1
        began, count, named = time.perf_counter(), 0, 0
        while (read := video.read()) and read[0]:
            seq += 1
            captured = time.monotonic_ns()
            picture.pixels = np.asarray(read[1], np.uint8)
            height, width = picture.pixels.shape[:2]
            pts_ns = round(video.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            frame = Frame(clip.stem, seq, captured, pts_ns, 0, 0, 0, width, height)
            matches = match(picture.pixels, detect(picture.pixels, frame))
            drawn = draw(matches)
            stream = stream or _stream(mp4, width, height)
            yuv = cv2.cvtColor(drawn.picture, cv2.COLOR_BGR2YUV_I420)
            image = av.VideoFrame.from_numpy_buffer(np.asarray(yuv, np.uint8), format="yuv420p")
            image.pts, image.time_base = round(pts_ns / 1e9 / TIME_BASE), TIME_BASE
            mp4.mux(stream.encode(image))
            lines.write(msgspec.json.encode(Result.of(matches, time.monotonic_ns())) + b"\n")
            count += 1
            named += sum(map(bool, matches.names))
            if count == piece:
                yield Plain(count, time.perf_counter() - began, named)
                began, count, named = time.perf_counter(), 0, 0
        if count:
            yield Plain(count, time.perf_counter() - began, named)
        mp4.mux(stream.encode())


def _stream(mp4: Any, width: int, height: int) -> Any:
    """The recording's codec settings."""
    stream = mp4.add_stream("libx264", rate=Fraction(30))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    codec = stream.codec_context
    codec.time_base, codec.gop_size = TIME_BASE, 60
    codec.colorspace, codec.color_range = BT601, STUDIO_RANGE
    codec.color_primaries = codec.color_trc = BT709
    codec.options = {"preset": "superfast", "tune": "zerolatency", "crf": "23"}
    return stream


if __name__ == "__main__":
    say_in_turn(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
