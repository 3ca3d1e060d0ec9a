"""Training pictures for detectors: scale jitter, mosaic, pasted faces, colour, blur, flips that swap landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.detector import Array, Image
from export.packages import Failed

Random = np.random.Generator
Matrix = NDArray[np.float64]  # (2, 3), from the picture's xy to the canvas's

SMALLEST, LARGEST = 8.0, 1.1  # px, and share of the picture's side: the range of a face's height
LARGE_AWAY = 0.4  # a face's middle is at least this share of its height from the picture's edge
ENLARGED = 2.5  # a picture is not enlarged further
SWAP = (1, 0, 2, 4, 3)  # the five points of a mirrored face


@dataclass
class Sample:
    """A picture and what is on it."""

    pixels: Image  # (H, W, 3) uint8 BGR
    boxes: Array  # (N, 4) xyxy px
    keypoints: Array  # (N, 5, 2) xy px; NaN where not known
    classes: NDArray[np.int64]  # (N,)
    ignored: NDArray[np.bool_]  # (N,)

    def rows(self, which: NDArray[Any]) -> "Sample":
        """The same picture with some of its boxes: a mask, or indices."""
        return Sample(self.pixels, self.boxes[which], self.keypoints[which], self.classes[which], self.ignored[which])


@dataclass
class Batch:
    """What one step of training sees."""

    images: Tensor  # (B, 3, H, W) uint8 RGB
    boxes: list[Tensor]  # each (N, 4) float32 xyxy px
    keypoints: list[Tensor]  # each (N, 5, 2)
    classes: list[Tensor]  # each (N,) int64
    ignored: list[Tensor]  # each (N,) bool
    scores: list[Tensor]  # each (N,) 0..1, what a detector should say of it; NaN: as much as its box is right


def joined(pixels: Image, parts: Sequence[Sample]) -> Sample:
    """What is on the parts, on one picture."""
    return Sample(
        pixels,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.ignored for part in parts]),
    )


def view(sample: Sample, canvas: Image, random: Random) -> Sample:
    """A part of the picture on a canvas (H, W, 3); one of its boxes gets a height drawn evenly by its logarithm."""
    height, width = canvas.shape[:2]
    rows, columns = sample.pixels.shape[:2]
    wanted = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST * min(height, width))))
    sure = np.flatnonzero(~sample.ignored)
    if len(sure):
        box = sample.boxes[random.choice(sure)]
        scale = min(wanted / max(box[3] - box[1], 1), ENLARGED)
        middle = (box[:2] + box[2:]) / 2
        edge = np.clip(LARGE_AWAY * wanted / np.array([width, height]), 0.1, 0.5)
        target = np.array([width, height]) * random.uniform(edge, 1 - edge)
    else:
        scale = max(height / rows, width / columns) * np.exp(random.uniform(-0.7, 0.9))
        middle = random.uniform(0, 1, 2) * [columns, rows]
        target = np.array([width, height]) / 2
    angle = np.deg2rad(random.normal(0, 6) if random.random() < 0.9 else random.uniform(-35, 35))
    stretch = np.exp(random.normal(0, 0.06))
    turn = scale * np.array([[np.cos(angle) * stretch, -np.sin(angle)], [np.sin(angle) * stretch, np.cos(angle)]])
    shift = target - turn @ middle
    return warped(sample, np.column_stack([turn, shift]), canvas)


def warped(sample: Sample, matrix: Matrix, canvas: Image) -> Sample:
    """The picture through an affine matrix, onto a canvas (H, W, 3) that shows where it does not reach."""
    pixels, moved = sample.pixels, matrix.copy()
    shrink = int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 1:  # a warp reads four pixels for one: average the picture down first
        pixels = np.asarray(
            cv2.resize(pixels, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA), np.uint8
        )
        moved[:, :2] *= shrink
    moved[:, 2] += moved[:, :2] @ np.full(2, 0.5) - 0.5  # OpenCV counts from a pixel's middle, labels from its corner
    out = cv2.warpAffine(
        pixels, moved, canvas.shape[1::-1], canvas.copy(), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    sides = sample.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    middles = (sides + sides[:, [1, 2, 3, 0]]) / 2  # of the four edges' middles: corners of a turned face hold no face
    edges = middles @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([edges.min(1), edges.max(1)], 1).astype(np.float32) if len(edges) else sample.boxes
    keypoints = (sample.keypoints @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return clipped(Sample(np.asarray(out, np.uint8), boxes, keypoints, sample.classes, sample.ignored))


def clipped(sample: Sample) -> Sample:
    """Boxes cut to the picture: less than a third of one left is gone, less than two thirds is to be ignored."""
    height, width = sample.pixels.shape[:2]
    inside = sample.boxes.clip(0, [width, height, width, height])
    area = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1)
    share = (inside[:, 2:] - inside[:, :2]).clip(0).prod(1) / np.maximum(area, 1e-6)
    cut = Sample(sample.pixels, inside, sample.keypoints, sample.classes, sample.ignored | (share < 0.66))
    tiny = inside[:, 3] - inside[:, 1] < 0.6 * SMALLEST
    cut.ignored = cut.ignored | tiny
    left: NDArray[np.bool_] = np.logical_or(share > 0.33, (share > 0) & sample.ignored)
    return cut.rows(left)


def mosaic(parts: Sequence[Sample], canvas: Image, random: Random) -> Sample:
    """Four pictures around a point of the canvas (Bochkovskiy et al., arXiv:2004.10934)."""
    height, width = canvas.shape[:2]
    y, x = (int(side * random.uniform(0.3, 0.7)) for side in (height, width))
    canvas = canvas.copy()
    placed = []
    for part, (top, left, bottom, right) in zip(
        parts, ((0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)), strict=True
    ):
        seen = view(part, canvas[top:bottom, left:right], random)
        canvas[top:bottom, left:right] = seen.pixels
        shift = np.array([left, top], np.float32)
        placed.append(
            Sample(canvas, seen.boxes + np.tile(shift, 2), seen.keypoints + shift, seen.classes, seen.ignored)
        )
    return joined(canvas, placed)


def pasted(onto: Sample, source: Sample, random: Random) -> Sample:
    """One of the source's faces, with what is around it, at another place and size; what it covers is gone."""
    sure = np.flatnonzero(~source.ignored)
    if not len(sure):
        return onto
    height, width = onto.pixels.shape[:2]
    chosen = int(random.choice(sure))
    face = source.rows(np.arange(len(source.boxes)))
    face.ignored = np.arange(len(source.boxes)) != chosen  # its neighbours come along, but half of them at most
    box = source.boxes[chosen]
    most = min(height, width)
    side = int(min(np.exp(random.uniform(np.log(14), np.log(0.5 * most))) * 1.7, most))
    scale = side / 1.7 / max(box[3] - box[1], 1)
    if scale > ENLARGED:
        return onto
    matrix = np.array([[scale, 0, side / 2], [0, scale, side / 2]])
    matrix[:, 2] -= scale * (box[:2] + box[2:]) / 2
    patch = warped(face, matrix, np.zeros((side, side, 3), np.uint8))
    left, top = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
    grid = np.linspace(-1, 1, side)
    mask = ((1.15 - np.hypot(grid[:, None] * 0.9, grid * 1.1)) / 0.25).clip(0, 1)[..., None]
    pixels = onto.pixels.copy()
    place = pixels[top : top + side, left : left + side]
    place[:] = (patch.pixels * mask + place * (1 - mask)).astype(np.uint8)
    shift = np.array([left, top], np.float32)
    new = Sample(pixels, patch.boxes + np.tile(shift, 2), patch.keypoints + shift, patch.classes, patch.ignored)
    centre = (onto.boxes[:, :2] + onto.boxes[:, 2:]) / 2
    covered = (np.abs(centre - shift - side / 2) < side * 0.55).all(1)
    larger = (onto.boxes[:, 2:] - onto.boxes[:, :2]).max(1, initial=0) > side  # still to be seen around the new one
    kept: NDArray[np.bool_] = np.logical_or(np.logical_not(covered), larger)
    below = onto.rows(kept)
    below.ignored = np.logical_or(below.ignored, np.asarray(covered)[kept])
    return joined(pixels, [below, new])


def flipped(sample: Sample) -> Sample:
    """Mirrored left to right."""
    width = sample.pixels.shape[1]
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
    keypoints = sample.keypoints[:, list(SWAP)].copy()
    keypoints[..., 0] = width - keypoints[..., 0]
    return Sample(np.ascontiguousarray(sample.pixels[:, ::-1]), boxes, keypoints, sample.classes, sample.ignored)


def coloured(pixels: Image, random: Random) -> Image:
    """Another light, lens and camera: gain, contrast, gamma, tint, grey, blur, noise, JPEG."""
    values: NDArray[Any] = pixels.astype(np.float32)
    if random.random() < 0.8:
        values = (values - 128) * random.uniform(0.6, 1.4) + 128 + random.uniform(-35, 35)
        values *= np.exp(random.normal(0, 0.08, 3)).astype(np.float32)
    if random.random() < 0.3:
        values = 255 * (values.clip(0, 255) / 255) ** np.exp(random.normal(0, 0.35))
    if random.random() < 0.12:
        values = np.repeat(values.mean(2, keepdims=True), 3, 2)
    if random.random() < 0.25:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), random.uniform(0.4, 2.0)), np.float32)
    if random.random() < 0.25:
        values += random.normal(0, random.uniform(2, 12), values.shape).astype(np.float32)
    out = values.clip(0, 255).astype(np.uint8)
    if random.random() < 0.25:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 90))])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out


class Augmented:
    """Batches out of samples; a sample's chance is its weight."""

    def __init__(self, samples: Sequence[Sample], weights: Array, sides: Sequence[int], size: int) -> None:
        """`sides`: heights and widths, multiples of 32, that a batch may have; `size`: pictures a batch."""
        if not any((~sample.ignored).any() for sample in samples):
            raise Failed("no picture has a box to learn from; give labelled ones")
        self.samples, self.chances = samples, weights / weights.sum()
        self.sides, self.size = sides, size
        self.empty = [sample for sample in samples if not len(sample.boxes)]

    def __call__(self, random: Random) -> Batch:
        height, width = (int(random.choice(self.sides)) for _ in range(2))
        made = [self.one(height, width, random) for _ in range(self.size)]
        images = np.stack([one.pixels[..., ::-1].transpose(2, 0, 1) for one in made])
        return Batch(
            torch.from_numpy(np.ascontiguousarray(images)),
            [torch.from_numpy(one.boxes.astype(np.float32)) for one in made],
            [torch.from_numpy(one.keypoints.astype(np.float32)) for one in made],
            [torch.from_numpy(one.classes) for one in made],
            [torch.from_numpy(one.ignored) for one in made],
            [torch.full((len(one.boxes),), torch.nan) for one in made],
        )

    def one(self, height: int, width: int, random: Random) -> Sample:
        """One picture of a batch."""
        canvas = self.canvas(height, width, random)
        if random.random() < 0.4:
            sample = mosaic([self.drawn(random) for _ in range(4)], canvas, random)
        else:
            sample = view(self.drawn(random), canvas, random)
        while random.random() < 0.45:
            sample = pasted(sample, self.drawn(random), random)
        sample = clipped(flipped(sample) if random.random() < 0.5 else sample)
        sample.pixels = coloured(sample.pixels, random)
        return sample

    def canvas(self, height: int, width: int, random: Random) -> Image:
        """What lies behind a picture that does not fill its place: black, a colour, or a picture with nothing on it."""
        plain = np.zeros((height, width, 3), np.uint8)
        if random.random() < 0.3:
            return plain
        plain[:] = random.integers(0, 255, 3)
        if self.empty and random.random() < 0.8:
            return view(self.empty[int(random.integers(len(self.empty)))], plain, random).pixels
        return plain

    def drawn(self, random: Random) -> Sample:
        """A sample by its chance."""
        return self.samples[int(random.choice(len(self.samples), p=self.chances))]
