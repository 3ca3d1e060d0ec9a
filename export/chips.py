"""Aligned faces out of photos: the detector that ships, its five points, and a 150x150 chip for each face."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from export.decode import decode
from export.packages import Failed

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Where CenterFace's five points lie in dlib's 150x150 chips, in pixels: eyes, tip of the nose, corners of the
# mouth, the picture's left first. The median over 115 faces that dlib aligned by its own five points, made symmetric.
TEMPLATE = np.array([[45.8, 46.2], [102.3, 46.2], [74.0, 78.4], [50.0, 103.3], [98.1, 103.3]], np.float32)
SMALLEST = 36  # px; narrower faces of strangers are left out


@dataclass(frozen=True)
class Faces:
    """What a detector found in one image, best first, after NMS."""

    boxes: Array  # (N, 4) xyxy px
    scores: Array  # (N,)
    keypoints: Array  # (N, 5, 2) xy px


def read_image(file: Path) -> Image:
    """(H, W, 3) uint8 BGR; Failed where OpenCV cannot read the file."""
    image = cv2.imread(str(file))
    if image is None:
        raise Failed(f"{file} is not an image that OpenCV can read")
    return np.asarray(image, np.uint8)


def squeezed(image: Image, height: int, width: int) -> Image:
    """(height, width, 3) uint8 RGB of a BGR image, whatever its proportions were."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1], np.uint8)


def overlap(box: Array, others: Array) -> Array:
    """IoU of one xyxy box (4,) with others (N, 4)."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = size.clip(0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    return np.asarray(common / union, np.float32)


def greedy_nms(boxes: Array, limit: float) -> list[int]:
    """The textbook algorithm over boxes (N, 4) that are sorted best first: the indices that stay."""
    keep: list[int] = []
    for index, box in enumerate(boxes):
        if not keep or overlap(box, boxes[keep]).max() <= limit:
            keep.append(index)
    return keep


class Detector:
    """A CenterFace file, run on one image at a time: fitted into the input with its proportions, the rest black."""

    def __init__(self, file: Path, height: int, width: int) -> None:
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        layout = self.session.get_modelmeta().custom_metadata_map.get("framewire.layout", "nothing")
        if layout != "centerface":
            raise Failed(f"{file} has the layout {layout!r}; only 'centerface' can be evaluated as a detector")
        self.height, self.width = height, width

    def __call__(self, image: Image, score: float = 0.02, limit: float = 0.3) -> Faces:
        """The faces in a (H, W, 3) uint8 BGR image with at least `score`, in its pixels."""
        shrink = min(self.height / image.shape[0], self.width / image.shape[1])
        size = round(image.shape[1] * shrink), round(image.shape[0] * shrink)
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        how = cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR
        canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=how)
        pixels = np.ascontiguousarray(canvas[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
        maps = (torch.from_numpy(np.asarray(output)) for output in self.session.run(None, {"images": pixels}))
        boxes, scores, _, keypoints = (tensor.numpy()[0] for tensor in decode(*maps))
        boxes, scores, keypoints = boxes[scores >= score], scores[scores >= score], keypoints[scores >= score]
        keep = greedy_nms(boxes, limit)
        to_image = np.array([image.shape[1], image.shape[0]], np.float32) / size
        return Faces(boxes[keep] * np.tile(to_image, 2), scores[keep], keypoints[keep] * to_image)


def similarity_transform(source: Array, target: Array) -> NDArray[np.float64]:
    """The (2, 3) matrix of the least-squares rotation, scale and shift from source to target (N, 2) (Umeyama, 1991)."""
    s, t = source - source.mean(0), target - target.mean(0)
    u, d, v = np.linalg.svd(t.T.astype(np.float64) @ s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ v))])
    rotation = (u * sign) @ v * ((d * sign).sum() / (s**2).sum())
    return np.column_stack([rotation, target.mean(0) - rotation @ source.mean(0)])


def cut(image: Image, keypoints: Array) -> Image:
    """The (150, 150, 3) uint8 RGB chip of the face with these five points in a BGR image."""
    matrix = similarity_transform(keypoints, TEMPLATE)
    shrink = int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 1:  # a warp reads four pixels for one: average the image down first
        image = np.asarray(
            cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA), np.uint8
        )
        matrix[:, 2] += matrix[:, :2] @ np.full(2, (shrink - 1) / 2)
        matrix[:, :2] *= shrink
    return np.ascontiguousarray(cv2.warpAffine(image, matrix, (150, 150), flags=cv2.INTER_LINEAR)[..., ::-1], np.uint8)


Align = Callable[[Image, Array, Array], Image]  # BGR image, box (4,), five points (5, 2) -> (150, 150, 3) RGB


def by_points(image: Image, _: Array, keypoints: Array) -> Image:
    """Align a face by the detector's own five points, as the pipeline does."""
    return cut(image, keypoints)


def by_dlib(shapes: Path) -> Align:
    """Align faces as dlib does, with its detector's rectangle and the landmarks of a shape predictor's file."""
    import dlib  # only to compare with: nothing else needs it

    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(shapes))

    def align(image: Image, box: Array, _: Array) -> Image:
        rgb = np.ascontiguousarray(image[..., ::-1])
        found = detect(rgb, int(max(image.shape) <= 1000))
        places = np.array([[r.left(), r.top(), r.right(), r.bottom()] for r in found], np.float32).reshape(-1, 4)
        overlaps = overlap(box, places)
        if len(places) and overlaps.max() > 0.3:
            rectangle = found[int(overlaps.argmax())]
        else:  # dlib missed it: the square that it would have put there
            x, y, half = (box[0] + box[2]) / 2, 0.45 * box[1] + 0.55 * box[3], 0.525 * (box[2] - box[0])
            rectangle = dlib.rectangle(*(int(v) for v in (x - half, y - half, x + half, y + half)))
        return np.asarray(dlib.get_face_chip(rgb, predict(rgb, rectangle), 150, 0.25), np.uint8)

    return align


def chips(listing: Path, photos: Path, detector: Path, align: Align = by_points) -> tuple[list[str], Array]:
    """Names and (N, 150, 150, 3) RGB chips for a list of `name<TAB>photo` lines.

    A named photo gives its largest face; strangers, named "-", give every face that is at least SMALLEST px wide, each
    under a name of its own.
    """
    find = Detector(detector, 384, 640)
    names, cuts = [], []
    for line in listing.read_text().splitlines():
        name, photo = line.split("\t")
        image = read_image(photos / photo)
        faces = find(image, score=0.5)
        widths = faces.boxes[:, 2] - faces.boxes[:, 0]
        wanted = np.flatnonzero(widths >= SMALLEST) if name == "-" else widths.argsort()[::-1][:1]
        for index in wanted:
            names.append(f"- {photo} {index}" if name == "-" else name)
            cuts.append(align(image, faces.boxes[index], faces.keypoints[index]))
    return names, np.stack(cuts).astype(np.float32)
