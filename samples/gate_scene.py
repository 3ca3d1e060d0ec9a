"""The place of the sample clip: a courtyard behind a gate, drawn from CC0 textures and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gate_canvas import (
    EYE,
    FOCAL,
    SCALE,
    Colour,
    Image,
    Layer,
    Plane,
    at,
    box,
    fill,
    mix,
    noise,
    rays,
    shape_of_drawing,
    soften,
    texture,
    tile,
    tint,
)

WALL, GATE = 5.3, 2.34  # z of the brick wall with the opening, and of the gate
OPENING = 1.45  # half the width of the opening in the wall
POST = 1.02  # x of the inner edge of the gate's posts
LEAF = 1.2  # height of the gate's leaves

STEEL = (0.235, 0.215, 0.19)
IRON = (0.11, 0.11, 0.12)


@dataclass(frozen=True)
class Scene:
    """The layers of the place, far to near; people walk between them."""

    yard: Layer
    wall: Layer
    leaf: Layer  # the left one, closed; the right one is its mirror image
    posts: Layer


def build(seed: int) -> Scene:
    """Draw the place; the same seed gives the same place."""
    rng = np.random.default_rng(seed)
    return Scene(soften(_yard(rng), 1.9), soften(_wall(rng), 0.9), soften(_leaf(rng), 1.3), soften(_posts(rng), 1.2))


def _yard(rng: np.random.Generator) -> Layer:
    """Sky, a house, trees, a lawn and the path."""
    shape, (ray_x, ray_y) = shape_of_drawing(), rays()
    up = np.clip(ray_y / 0.42, 0, 1)
    clouds = np.clip(0.6 + 0.35 * noise(rng, (shape[0], shape[1]), 300 * SCALE, 7), 0, 1)
    sky = mix(
        tint(1 - 0.14 * up, (0.96, 0.92, 0.88)), tint(np.ones(shape, np.float32), (0.98, 0.97, 0.96)), clouds * 0.7
    )
    sky *= (1 - 0.22 * up[..., None] * np.asarray((0.2, 0.55, 1.0), np.float32)).astype(np.float32)
    image = _trees(rng, _house(rng, sky), ray_x, ray_y)
    depth = EYE / np.maximum(-ray_y, 1e-3)
    near = np.clip(9 / depth, 0, 1)
    ground_x, ground_z = ray_x * depth, depth
    lawn = 1 + near * (tile(texture("grass"), ground_x, ground_z, 180) - 1) * 0.8
    gravel = 1 + near * (tile(texture("gravel"), ground_x, ground_z, 230) - 1) * 0.7
    edge = OPENING - 0.1 + 0.05 * np.sin(ground_z * 2.1)
    path = np.clip((edge - np.abs(ground_x)) * np.clip(400 / depth, 1, 60) / 3, 0, 1).astype(np.float32)
    patch = 1 + 0.10 * noise(rng, shape, 260 * SCALE)
    ground = mix(tint(lawn * patch, (0.20, 0.40, 0.33)), tint(gravel * patch, (0.55, 0.62, 0.66)), path)
    ground = mix(ground, np.full_like(ground, 0.72), np.clip((depth - 12) / 60, 0, 0.5).astype(np.float32))
    return Layer(mix(image, ground, (ray_y < 0).astype(np.float32)), np.ones(shape, np.float32))


def _house(rng: np.random.Generator, image: Image) -> Image:
    """A rendered house 32 m away, half behind the trees."""
    image, z = image.copy(), 32.0
    box(image, (-14.5, 0), (3.2, 6.6), z, (0.66, 0.73, 0.78))
    fill(image, [at(-15.1, 6.5, z), at(3.8, 6.5, z), at(1.0, 9.4, z), at(-12.4, 9.4, z)], (0.36, 0.38, 0.48))
    for floor in (0.9, 3.9):
        for x in np.arange(-13.2, 3.0, 2.35):
            box(image, (x - 0.1, floor - 0.1), (x + 1.3, floor + 1.75), z, (0.85, 0.88, 0.89))
            glass = 0.30 + 0.22 * float(rng.random())
            box(image, (x, floor), (x + 1.2, floor + 1.65), z, (glass * 1.08, glass, glass * 0.92))
            box(image, (x + 0.57, floor), (x + 0.63, floor + 1.65), z, (0.85, 0.88, 0.89))
    return image


def _trees(rng: np.random.Generator, image: Image, ray_x: Plane, ray_y: Plane) -> Image:
    """Rows of foliage: the nearer, the darker and the larger its leaves."""
    shape = ray_x.shape
    for z, height, dip, gap, fade in (
        (48.0, 8.0, 0.0, -1.0, 0.50),
        (26.0, 6.5, 4.0, -1.0, 0.25),
        (17.0, 1.5, 0.0, 1.3, 0.08),
    ):
        crown = height * (1 + 0.16 * noise(rng, (1, shape[1]), 190 * SCALE * 20 / z)[0])
        crown -= dip * np.exp(-((ray_x[0] * z / 9.6) ** 4))  # lower along the path
        ragged = noise(rng, shape, 46 * SCALE * 20 / z) * 0.10 * height
        cover = np.clip((crown[None] + ragged - (ray_y * z + EYE)) * FOCAL / z / 4, 0, 1).astype(np.float32)
        cover *= np.clip((np.abs(ray_x) * z - gap) * 20, 0, 1)
        leaves = np.clip(
            0.95 + 0.26 * noise(rng, shape, 26 * SCALE * 20 / z, 4) + 0.05 * (ray_y * z - height / 2), 0.3, 2
        )
        green = tint(leaves.astype(np.float32), (0.17, 0.33, 0.24)) * (1 - fade) + fade * np.float32(0.74)
        image = mix(image, green, cover)
    return image


def _bricks(x: Plane, y: Plane, rng: np.random.Generator) -> Image:
    """Running bond of 225 x 75 mm with joints of 10 mm; each brick has a tone of its own."""
    row = np.floor(y / 0.075)
    column = x / 0.225 + 0.5 * np.mod(row, 2)
    tone = rng.normal(1, 0.11, (64, 64)).astype(np.float32)[row.astype(int) % 64, np.floor(column).astype(int) % 64]
    joint = np.maximum(np.mod(column, 1) < 0.045, np.mod(y / 0.075, 1) < 0.13).astype(np.float32)
    grain = (0.7 + 0.3 * tile(texture("gravel"), x, y, 420)) * (
        1 + 0.07 * noise(rng, (x.shape[0], x.shape[1]), 90 * SCALE)
    )
    return mix(tint(tone * grain, (0.29, 0.36, 0.53)), tint(grain, (0.50, 0.55, 0.58)), joint)


def _wall(rng: np.random.Generator) -> Layer:
    """A brick wall with an opening; its inner faces are in the shade, ivy grows over it."""
    shape, (ray_x, ray_y) = shape_of_drawing(), rays()
    image = _bricks(ray_x * WALL, ray_y * WALL, rng)
    height = ray_y * WALL + EYE
    image *= (0.80 + 0.2 * np.clip(height / 0.5, 0, 1))[..., None].astype(np.float32)
    alpha = np.zeros((*shape, 3), np.float32)
    depth = WALL + 0.45
    for side in (-1.0, 1.0):
        inner = [at(side * OPENING, h, z) for h, z in ((0, WALL), (2.32, WALL), (2.32, depth), (0, depth))]
        fill(alpha, inner, (1, 1, 1))
        box(alpha, (side * OPENING, -0.5), (side * 9, 2.32), WALL, (1, 1, 1))
        face = np.zeros((*shape, 3), np.float32)
        fill(face, inner, (1, 1, 1))
        image *= 1 - 0.45 * face
        for x1, x2, h in ((OPENING - 0.07, 9.0, 2.32), (OPENING - 0.09, OPENING + 0.55, 2.40)):
            box(image, (side * x1, h), (side * x2, h + 0.10), WALL - 0.05, (0.66, 0.69, 0.70))
            box(image, (side * x1, h), (side * x2, h + 0.025), WALL - 0.05, (0.40, 0.42, 0.43))
            box(alpha, (side * x1, h), (side * x2, h + 0.10), WALL - 0.05, (1, 1, 1))
    ivy, leaves = _ivy(rng, ray_x * WALL, height)
    return Layer(mix(image, leaves, ivy), np.maximum(alpha[..., 0], ivy))


def _ivy(rng: np.random.Generator, x: Plane, height: Plane) -> tuple[Plane, Image]:
    """Ivy over the right part of the wall: its cover and its colour."""
    shape = (x.shape[0], x.shape[1])
    hang = 1.55 - 0.75 * np.clip((x - 1.7) / 1.6, 0, 1) + 0.30 * noise(rng, shape, 120 * SCALE)
    ivy = np.clip((height - hang - 0.35) * 9, 0, 1) * np.clip((x - 1.95) * 6, 0, 1)
    leaves = np.clip(0.9 + 0.34 * noise(rng, shape, 16 * SCALE, 3), 0.3, 2).astype(np.float32)
    ivy = (ivy * (noise(rng, shape, 14 * SCALE, 3) > -0.75)).astype(np.float32)
    top = height < 2.52 + 0.05 * noise(rng, shape, 30 * SCALE)
    return ivy * top, tint(leaves, (0.13, 0.29, 0.17))


def _leaf(rng: np.random.Generator) -> Layer:
    """The left leaf of the sliding gate: ribbed sheet steel under a rail."""
    shape = shape_of_drawing()
    image, alpha = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    box(alpha, (-POST - 0.05, -0.3), (-0.004, LEAF), GATE, (1, 1, 1))
    image[:] = STEEL
    for x in np.arange(-POST, 0, 0.085):
        box(image, (x, -0.3), (x + 0.045, LEAF - 0.08), GATE, _shade(1.18))
        box(image, (x + 0.045, -0.3), (x + 0.055, LEAF - 0.08), GATE, _shade(0.55))
    for low, high, shade in ((0.075, 0.085, 0.5), (0.0, 0.075, 1.25), (0.012, 0.03, 1.9), (0.0, 0.008, 0.9)):
        box(image, (-POST - 0.05, LEAF - high), (0, LEAF - low), GATE, _shade(shade))
    box(image, (-0.055, -0.3), (0, LEAF - 0.08), GATE, _shade(1.45))
    image *= (1 + 0.03 * noise(rng, shape, 120 * SCALE))[..., None]
    return Layer(image, alpha[..., 0])


def _posts(rng: np.random.Generator) -> Layer:
    """Two brick posts with capstones and lamps; the right one carries the card reader."""
    shape, (ray_x, ray_y) = shape_of_drawing(), rays()
    image = _bricks(ray_x * GATE + 0.11, ray_y * GATE + 0.03, rng) * np.float32(0.93)
    alpha = np.zeros((*shape, 3), np.float32)
    for side in (-1.0, 1.0):
        box(alpha, (side * POST, -0.5), (side * (POST + 0.40), 1.98), GATE, (1, 1, 1))
        lit = np.clip((ray_x * GATE - side * (POST + 0.2)) / -0.4 + 0.5, 0, 1)  # from the left
        image *= np.where(ray_x * side > 0, 0.86 + 0.2 * lit, 1)[..., None].astype(np.float32)
        for grow, low, high, shade in ((0.05, 1.98, 2.03, 0.56), (0.03, 2.03, 2.08, 0.68)):
            for picture, bgr in ((image, (shade, shade * 1.03, shade * 1.05)), (alpha, (1.0, 1.0, 1.0))):
                box(picture, (side * (POST - grow), low), (side * (POST + 0.40 + grow), high), GATE, bgr)
        _lantern(image, alpha, side * (POST + 0.2))
    _card_reader(image, POST + 0.11)
    return Layer(image, alpha[..., 0])


def _card_reader(image: Image, x: float) -> None:
    """A box with a display and nine keys; its light is the renderer's."""
    box(image, (x - 0.012, 1.28), (x + 0.172, 1.612), GATE, (0.10, 0.10, 0.10))
    box(image, (x, 1.29), (x + 0.16, 1.60), GATE, (0.30, 0.29, 0.28))
    box(image, (x + 0.03, 1.50), (x + 0.13, 1.575), GATE, (0.12, 0.11, 0.10))
    for row in range(3):
        for column in range(3):
            u, v = x + 0.035 + 0.036 * column, 1.325 + 0.045 * row
            box(image, (u, v), (u + 0.022, v + 0.03), GATE, (0.62, 0.62, 0.62))


def _lantern(image: Image, alpha: Image, x: float) -> None:
    """A lantern on a post: opal glass in a dark frame."""
    for low, high, half, bgr in (
        (2.08, 2.11, 0.035, IRON),
        (2.11, 2.13, 0.075, IRON),
        (2.13, 2.30, 0.070, (0.76, 0.84, 0.88)),
        (2.30, 2.32, 0.090, IRON),
        (2.32, 2.35, 0.045, IRON),
    ):
        for picture, paint in ((image, bgr), (alpha, (1.0, 1.0, 1.0))):
            box(picture, (x - half, low), (x + half, high), GATE, paint)
    for bar in (-0.07, -0.006, 0.058):
        box(image, (x + bar, 2.13), (x + bar + 0.012, 2.30), GATE, IRON)


def _shade(brightness: float) -> Colour:
    return STEEL[0] * brightness, STEEL[1] * brightness, STEEL[2] * brightness
