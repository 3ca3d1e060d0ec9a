"""A sheet held before a camera: where its pixels end up in the picture, its edges, its shadow, the hand at it."""

from dataclasses import dataclass

import cv2
import numpy as np

from export.detector import Array, Image
from export.liveness.live_folders import Face

Random = np.random.Generator
SKIN = np.array([(110, 140, 190), (80, 110, 160), (60, 80, 115), (140, 170, 215)], np.float32) / 255  # BGR


@dataclass(frozen=True)
class View:
    """Where each pixel of a picture lies on the sheet that is held into it, in pixels of the photo on the sheet."""

    x: Array  # (H, W)
    y: Array  # (H, W)
    light: Array  # (H, W, 1): how bright the sheet is there, about 1
    box: Array  # (4,) xyxy px of the picture: about where the photo's face lies


def tiny(image: Image, height: int, width: int) -> Array:
    """(height, width, 3) float32 0..1 of a BGR picture."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255), np.float32)


def smooth_noise(random: Random, height: int, width: int, cells: int) -> Array:
    """(height, width, 1) float32: noise about 0 of at most about 1, in `cells` lumps across."""
    coarse = random.normal(0, 0.4, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)[..., None]


def framed(face: Face, size: tuple[int, int], random: Random) -> tuple[Array, Array]:
    """A live face before the camera: the part of its photo around it, (H, W, 3) float32 0..1 BGR.

    Also the (2, 3) matrix from the photo's pixels to the result's. The part has the wanted size (height, width), or
    less where the photo ends.
    """
    height, width = size
    side = face.box[2] - face.box[0]
    zoom = min(1.6, random.uniform(0.2, 0.5) * width / side)
    whole = np.array(face.image.shape[1::-1])
    window = np.minimum(np.array([width, height]) / zoom, whole)
    centre = (face.box[:2] + face.box[2:]) / 2 + random.uniform(-0.4, 0.4, 2) * side
    corner = (centre - window / 2).clip(0, whole - window).astype(int)
    part = face.image[corner[1] : corner[1] + int(window[1]), corner[0] : corner[0] + int(window[0])]
    shape = np.round(np.array(part.shape[1::-1]) * zoom).astype(int).clip(8)
    scale = shape / part.shape[1::-1]
    matrix = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
    return tiny(part, shape[1], shape[0]), matrix.astype(np.float32)


def moved(points: Array, matrix: Array) -> Array:
    """(N, 2) points through a (2, 3) matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def hold(face: Face, size: tuple[int, int], random: Random, bend: float) -> View:
    """A sheet with the face's photo on it, held before the camera: turned, tilted and, by up to `bend`, curled."""
    height, width = size
    middle, side = (face.box[:2] + face.box[2:]) / 2, face.box[2] - face.box[0]
    zoom = random.uniform(0.2, 0.55) * width / side
    place = np.array([width, height]) * (0.5 + random.uniform(-0.12, 0.12, 2))
    angle = np.deg2rad(random.normal(0, 5))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 1.5 * side  # around the face, on the photo
    seen = corners @ turn.T + place + random.normal(0, 0.05, (4, 2)) * side * zoom
    homography = cv2.getPerspectiveTransform(seen.astype(np.float32), (corners + middle).astype(np.float32))
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.stack([columns, rows], -1).reshape(1, -1, 2)
    x, y = np.moveaxis(cv2.perspectiveTransform(grid, homography).reshape(height, width, 2), 2, 0)
    curl, lean = random.uniform(-bend, bend), random.uniform(-0.15, 0.15)
    u, v = (x - middle[0]) / (2 * side), (y - middle[1]) / (2 * side)  # about -1..1 around the face
    y = y + curl * u**2 * side  # a sheet that bows towards the camera shows arcs
    light = 1 + curl * 0.5 * u + lean * v
    half = np.array([side, face.box[3] - face.box[1]]) * zoom / 2
    box = np.concatenate([place - half, place + half]).astype(np.float32)
    return View(x.astype(np.float32), y.astype(np.float32), light.clip(0.5, 1.5).astype(np.float32)[..., None], box)


def picture(face: Face, view: View) -> Array:
    """(H, W, 3) float32 0..1 BGR: the face's photo where it is seen in the view, its border drawn out beyond it."""
    zoom = (view.box[2] - view.box[0]) / (face.box[2] - face.box[0])
    image = face.image
    if zoom < 1:  # cv2.remap reads four pixels for one: average the photo down first
        image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    scale = image.shape[1] / face.image.shape[1]
    seen = cv2.remap(image, view.x * scale, view.y * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen / np.float32(255), np.float32)


def cover(view: View, face: Face, margins: Array, radius: float) -> Array:
    """(H, W, 1) float32 0..1: how much of each pixel is the photo and `margins` (left, top, right, bottom) around it.

    Margins and the corners' radius are in pixels of the photo.
    """
    zoom = (view.box[2] - view.box[0]) / (face.box[2] - face.box[0])
    height, width = face.image.shape[:2]
    across = np.maximum(-margins[0] - view.x, view.x - width - margins[2]) + radius
    down = np.maximum(-margins[1] - view.y, view.y - height - margins[3]) + radius
    outside = np.hypot(across.clip(0), down.clip(0)) + np.minimum(np.maximum(across, down), 0) - radius
    return np.asarray((0.5 - outside * zoom).clip(0, 1), np.float32)[..., None]


def fingers(canvas: Array, sheet: Array, random: Random) -> Array:
    """Fingertips over an edge of the sheet (H, W, 1), where one is in the picture (H, W, 3)."""
    outlines, _ = cv2.findContours((sheet[..., 0] > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    height, width = canvas.shape[:2]
    edge = np.concatenate([line[:, 0] for line in outlines]) if outlines else np.zeros((0, 2), np.int32)
    inside = (edge > 3).all(1) & (edge[:, 0] < width - 4) & (edge[:, 1] < height - 4)
    edge = edge[inside & (edge[:, 1] > height * 0.4)]
    if not len(edge):
        return canvas
    tip = edge[random.integers(len(edge))]
    outward = tip - np.array([width, height]) / 2
    outward = outward / max(1.0, float(np.hypot(*outward)))
    beside, thick = np.array([-outward[1], outward[0]]), random.uniform(0.06, 0.1) * width
    skin, count = random.choice(SKIN) * random.uniform(0.7, 1.1), int(random.integers(1, 4))
    knuckle = tip + outward * 2 * thick + beside * (count - 1) * thick / 2
    lines = [(knuckle + outward * thick, knuckle + outward * height, (1.2 + 0.6 * count) * thick)]  # the hand
    for finger in range(count):
        start = tip + beside * finger * thick * 1.05 - outward * thick * random.uniform(0.3, 1.2)
        lines.append((start, start + outward * 4 * thick, thick * random.uniform(0.85, 1.0)))
    for start, end, wide in lines:
        mask = np.zeros((height, width), np.float32)
        cv2.line(mask, start.astype(int).tolist(), end.astype(int).tolist(), 1.0, int(wide), cv2.LINE_AA)
        solid = cv2.GaussianBlur(mask, (0, 0), wide / 3)[..., None]  # darker to the rim
        canvas = canvas * (1 - mask[..., None]) + mask[..., None] * skin * (0.45 + 0.6 * solid)
    return np.asarray(canvas, np.float32)


def laid(scene: Array, sheet: Array, cover_: Array, random: Random) -> Array:
    """A sheet (H, W, 3) over a scene where `cover_` (H, W, 1) says, with its shadow on the scene."""
    reach = random.uniform(2, 20)
    shift = np.array([[1, 0, random.uniform(-reach, reach)], [0, 1, random.uniform(0, reach)]], np.float32)
    shadow = cv2.warpAffine(cover_, shift, cover_.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    shadow = cv2.GaussianBlur(shadow, (0, 0), reach / 2)[..., None]
    scene = scene * (1 - random.uniform(0, 0.5) * shadow)
    return np.asarray(scene * (1 - cover_) + sheet * cover_, np.float32)
