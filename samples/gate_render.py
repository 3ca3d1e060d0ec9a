"""Renders the sample clip frame by frame: the scene, the people in it, the lens and the sensor."""

from __future__ import annotations

import cv2
import gate_scene
import gate_story as story
import numpy as np
from gate_canvas import FOCAL, HEIGHT, MARGIN_X, MARGIN_Y, SCALE, WIDTH, Image, Layer, Plane, project, tint
from gate_people import Portrait, collins, hopper
from numpy.typing import NDArray

SEED = 2
SUN = (790.0, 205.0)  # in the view, pixels

Faces = dict[str, tuple[story.Box, float]]  # name -> box (xyxy pixels), visible share


class Clip:
    """Renders any frame of the clip; the same frame is always the same pixels."""

    def __init__(self) -> None:
        self.scene = gate_scene.build(SEED)
        self.people = [hopper(), collins()]
        y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
        self.vignette = (1.02 - 0.22 * (((x / WIDTH - 0.5) ** 2 + (y / HEIGHT - 0.5) ** 2) / 0.5))[..., None]
        self.grid = (x, y)

    def frame(self, index: int) -> tuple[NDArray[np.uint8], Faces]:
        """Frame `index` as (HEIGHT, WIDTH, 3) uint8 BGR, and the face of each person."""
        t = index / story.FPS
        exposures = self._exposures(t)
        image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        faces: Faces = {}
        for offset in (np.arange(exposures) + 0.5) / exposures - 0.5:
            part, seen = self._compose(t + float(offset) * story.SHUTTER)
            image += part / np.float32(exposures)
            faces = seen if abs(offset) < 1e-6 else faces
        image = self._glare(self._reader(image, t), t) * np.float32(story.value(story.DAYLIGHT, t))
        return self._sensor(image, index), faces

    def _exposures(self, t: float) -> int:
        """How many moments to average so that motion blur has no steps: one for every two pixels of motion; odd."""
        motion = 0.0
        for person in self.people:
            walk = story.WALKS[person.name]
            if walk.seen[0] <= t <= walk.seen[1]:
                ends = [
                    story.corners(story.camera(u) @ story.place(walk, u, person.eyes, person.metre), person.face)
                    for u in (t - story.SHUTTER / 2, t + story.SHUTTER / 2)
                ]
                motion = max(motion, float(np.abs(np.subtract(ends[0], ends[1])).max()))
        return 2 * int(np.clip(motion / 4, 0, 5)) + 1

    def _compose(self, t: float) -> tuple[Image, Faces]:
        """One moment, without the sensor: the layers from far to near, and the faces with what hides them."""
        camera, backlight = story.camera(t), story.value(story.BACKLIGHT, t)
        image = _warp(self.scene.yard, camera)[0] * np.float32(1 + 0.35 * backlight)
        faces: dict[str, tuple[story.Box, Plane, float]] = {}
        for _, colour, alpha, person in sorted(self._layers(t, camera), key=lambda layer: -layer[0]):
            gain = np.float32(1 - (0.48 if person else 0.40) * backlight)
            image += alpha[..., None] * (colour * gain - image)
            faces = {name: (box, face * (1 - alpha), area) for name, (box, face, area) in faces.items()}
            if person:
                matrix = camera @ story.place(story.WALKS[person.name], t, person.eyes, person.metre)
                faces[person.name] = self._face(matrix, person.face)
        visible = {name: (box, min(1.0, float(face.sum()) / area)) for name, (box, face, area) in faces.items()}
        return image, visible

    def _layers(self, t: float, camera: story.Affine) -> list[tuple[float, Image, Plane, Portrait | None]]:
        """(distance, colour, alpha, who) of all that stands in front of the yard."""
        slide = 0.96 * gate_scene.POST * story.value(story.GATE_OPEN, t) * FOCAL / gate_scene.GATE
        leaf = self.scene.leaf
        other = Layer(leaf.colour[:, ::-1], leaf.alpha[:, ::-1])
        layers: list[tuple[float, Image, Plane, Portrait | None]] = [
            (gate_scene.WALL, *_warp(self.scene.wall, camera), None),
            (gate_scene.GATE + 0.02, *_warp(leaf, camera @ _shift(-slide)), None),
            (gate_scene.GATE + 0.01, *_warp(other, camera @ _shift(slide)), None),
            (gate_scene.GATE, *_warp(self.scene.posts, camera), None),
        ]
        for person in self.people:
            walk = story.WALKS[person.name]
            if walk.seen[0] <= t <= walk.seen[1]:
                z = story.value(walk.z, t)
                matrix = camera @ story.place(walk, t, person.eyes, person.metre)
                colour, alpha = _turned(person, *story.turn(walk, t), matrix)
                haze = np.float32(0.035 * (z - 1))
                layers.append((z, colour * (np.float32(0.94) - haze) + haze * np.float32(0.8), alpha, person))
        return layers

    def _face(self, matrix: story.Affine, box: story.Box) -> tuple[story.Box, Plane, float]:
        """The face's box in the frame, its oval as a mask, and the oval's whole area in pixels."""
        x1, y1, x2, y2 = frame_box = story.corners(matrix, box)
        x, y = self.grid
        r2 = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2
        return frame_box, (r2 < 1).astype(np.float32), float(np.pi / 4 * (x2 - x1) * (y2 - y1))

    def _reader(self, image: Image, t: float) -> Image:
        """The light of the card reader: red, and green while the gate is open."""
        u, v = project(gate_scene.POST + 0.19, 1.538, gate_scene.GATE - 0.01)
        x, y, _ = story.camera(t) @ (u, v, 1.0)
        green = story.value(story.GATE_OPEN, t - 0.1, 0.1) > 0.02
        far2 = (self.grid[0] - x) ** 2 + (self.grid[1] - y) ** 2
        spot = 0.9 * np.exp(-far2 / 26) + 0.16 * np.exp(-far2 / 700)
        return np.asarray(image + tint(spot, (0.25, 0.9, 0.2) if green else (0.12, 0.12, 1.0)))

    def _glare(self, image: Image, t: float) -> Image:
        """The sun behind the people: a burst, and a veil over everything."""
        amount = story.value(story.BACKLIGHT, t)
        if amount <= 0:
            return image
        x, y, _ = story.camera(t) @ (*SUN, 1.0)
        far = np.sqrt((self.grid[0] - x) ** 2 + (self.grid[1] - y) ** 2)
        burst = 1.3 * np.exp(-far / 55) + 0.40 * np.exp(-far / 240) + 0.05
        return np.asarray(image + tint(amount * burst, (0.80, 0.93, 1.0)))

    def _sensor(self, image: Image, index: int) -> NDArray[np.uint8]:
        """Lens and sensor: focus, vignette, highlights that roll off, noise, the camera's own sharpening."""
        sigma = story.value(story.FOCUS_HUNT, index / story.FPS)
        if sigma > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        image = image * self.vignette
        image += 0.25 * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
        image = np.where(image > 0.8, 0.8 + 0.2 * np.tanh((image - 0.8) / 0.2), image)
        rng = np.random.default_rng((SEED, index))
        grain = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.6)
        image = image + (grain * np.float32(0.010))[..., None]
        return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def _shift(x: float) -> story.Affine:
    return np.array([[1, 0, x], [0, 1, 0], [0, 0, 1.0]])


def _warp(layer: Layer, camera: story.Affine) -> tuple[Image, Plane]:
    """A drawing as the camera sees it."""
    matrix = camera @ np.array([[1 / SCALE, 0, -MARGIN_X], [0, 1 / SCALE, -MARGIN_Y], [0, 0, 1]])
    colour = cv2.warpAffine(
        layer.colour, matrix[:2], (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return colour, cv2.warpAffine(layer.alpha, matrix[:2], (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def _turned(person: Portrait, yaw: float, pitch: float, matrix: story.Affine) -> tuple[Image, Plane]:
    """The portrait in the frame, its head turned by shifting each pixel by its depth."""
    y, x = np.mgrid[: person.alpha.shape[0], : person.alpha.shape[1]].astype(np.float32)
    radius = np.float32(0.75 * (person.face[2] - person.face[0])) * person.depth
    source = (x - np.float32(yaw) * radius, y - np.float32(pitch) * radius)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    planes = []
    for plane in (person.colour, person.alpha):
        moved = cv2.remap(plane, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if scale < 0.8:  # no aliasing of a portrait finer than the frame
            moved = cv2.GaussianBlur(moved, (0, 0), 0.45 / scale)
        flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
        planes.append(cv2.warpAffine(moved, matrix[:2], (WIDTH, HEIGHT), flags=flags))
    return planes[0], np.clip(planes[1], 0, 1)
