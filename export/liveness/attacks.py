"""Presentation attacks, simulated: a face on paper, on a screen and on a cut-out mask, as a camera would see them.

Each starts from a real photo and a real scene. What is drawn is what such media do to a picture: paper and ink have
less contrast and colour than the world (a gamut), halftone dots and fibres, a margin, a bend; a screen has a grid of
red, green and blue stripes, which beats with the camera's own grid (moire), a bezel, glare and bands of refresh; a mask
has a cut edge and a shadow. Everything, live faces too, then goes through one simulated camera, so that lens, noise and
JPEG tell nothing. It is a simulation: a network that is right about it is not thereby right about real attacks.
"""

from collections.abc import Callable

import cv2
import numpy as np

from export.chips import similarity_transform
from export.detector import Array, Image
from export.liveness.live_folders import Face
from export.liveness.sheet import Random, View, cover, fingers, framed, hold, laid, moved, picture, smooth_noise, tiny

SIZES = ((640, 480), (480, 640), (540, 540))  # px (height, width) of the pictures that are made


def printed(colour: Array, x: Array, y: Array, random: Random) -> Array:
    """Ink on paper: a smaller gamut, halftone dots (pitch in units of x and y) and the fibres of the paper."""
    grey = colour.mean(2, keepdims=True)
    colour = grey + random.uniform(0.5, 0.95) * (colour - grey)
    black, white = random.uniform(0.04, 0.2), random.uniform(0.78, 0.97)
    colour = black + (white - black) * colour ** random.uniform(0.8, 1.25)
    pitch, strength = random.uniform(2.2, 5), random.uniform(0, 0.12)
    for channel, angle in enumerate(
        np.deg2rad([0, 75, 15])
    ):  # yellow, magenta, cyan: screens turned against each other
        across = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch
        down = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / pitch
        ink = 1 - colour[..., channel]
        colour[..., channel] += strength * 4 * ink * (1 - ink) * np.cos(across) * np.cos(down)
    fibres = cv2.GaussianBlur(random.normal(0, 1, x.shape).astype(np.float32), (0, 0), 1.0)
    return np.asarray(colour + random.uniform(0, 0.05) * fibres[..., None], np.float32)


def spot(height: int, width: int, random: Random) -> Array:
    """(height, width, 1) float32 0..1: the soft reflection of a lamp or a window."""
    centre, radii = random.uniform(0.15, 0.85, 2) * (width, height), random.uniform(0.02, 0.2, 2) * width
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    angle = random.uniform(0, np.pi)
    dx, dy = columns - centre[0], rows - centre[1]
    across, down = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    power = random.choice([2, 6])  # a lamp, or a window with edges
    distance = np.abs(across / radii[0]) ** power + np.abs(down / radii[1]) ** power
    return np.asarray(np.exp(-distance), np.float32)[..., None]


def print_attack(face: Face, scene: Image, random: Random) -> tuple[Array, Array]:
    """A photo of the face on paper, held before a scene: (H, W, 3) float32 0..1 BGR, and the face's box in it."""
    size = SIZES[random.integers(len(SIZES))]
    view = hold(face, size, random, bend=0.35)
    ink = printed(picture(face, view), view.x, view.y, random)
    margin = random.choice([0, 1]) * random.uniform(0.02, 0.25) * (face.box[2] - face.box[0])
    inked = cover(view, face, np.zeros(4, np.float32), 0)
    paper = random.uniform(0.8, 0.98) * (1 + 0.02 * random.normal(0, 1, 3).astype(np.float32))
    sheet = (ink * inked + paper * (1 - inked)) * view.light
    if random.random() < 0.4:  # glossy
        sheet = sheet + random.uniform(0.1, 0.6) * spot(*size, random)
    whole = cover(view, face, np.full(4, margin, np.float32), 0)
    canvas = laid(tiny(scene, *size), sheet, whole, random)
    return (fingers(canvas, whole, random) if random.random() < 0.6 else canvas), view.box


def pixels(view: View, random: Random) -> Array:
    """(H, W, 3) float32 about 1: a screen's stripes and rows, as a camera's own grid samples them.

    Near one, or one half, screen pixel to a camera pixel the samples beat: that is the moire. Each colour's stripe is
    shifted by a third, so that the beat is coloured; how strong it is depends on the lens.
    """
    cycles = random.choice([0.5, 1.0, 1.0, 2.0]) * random.uniform(0.9, 1.1)  # screen pixels to a camera pixel
    width = view.x.shape[1]
    step = np.abs(np.diff(view.x[view.x.shape[0] // 2])).mean()  # of the photo, a camera pixel
    u, v = view.x * cycles / step, view.y * cycles / step
    bulge = random.uniform(-0.004, 0.004) * width  # the lens's own distortion curves the fringes
    u = u + bulge * ((view.x / view.x.max()) ** 2 + (view.y / max(1.0, view.y.max())) ** 2)
    strength = random.uniform(0, 0.18)
    stripes = np.stack([np.cos(2 * np.pi * (u - phase / 3)) for phase in (2, 1, 0)], -1)
    rows = np.cos(2 * np.pi * v)[..., None]
    return np.asarray(1 + strength * (stripes + 0.5 * rows), np.float32)


def refresh(height: int, random: Random) -> Array:
    """(height, 1, 1) float32 of at most 1: dark bands where the backlight was off while the shutter was open."""
    rows = np.arange(height) / height
    wave = np.cos(2 * np.pi * (rows * random.uniform(0.5, 4) + random.uniform(0, 1)))
    bands = 1 - random.uniform(0.05, 0.3) * (0.5 + 0.5 * wave) ** 2
    return np.asarray(bands, np.float32)[:, None, None]


def replay_attack(face: Face, scene: Image, random: Random) -> tuple[Array, Array]:
    """The face on a telephone or a monitor before a scene: (H, W, 3) float32 0..1 BGR, and the face's box in it."""
    size = SIZES[random.integers(len(SIZES))]
    view = hold(face, size, random, bend=0)
    shown = picture(face, view) ** random.uniform(0.8, 1.5) * random.uniform(0.8, 1.25)
    shown = shown * np.array([1 + random.uniform(-0.03, 0.2), 1, 1 - random.uniform(-0.03, 0.15)], np.float32)
    lifted = random.uniform(0, 0.1)  # the backlight, and the room in the glass
    shown = lifted + (1 - lifted) * shown * pixels(view, random)
    if random.random() < 0.3:
        shown = shown * refresh(size[0], random)
    side = face.box[2] - face.box[0]
    bezel = random.uniform(0.05, 0.35) * side * random.uniform(0.6, 1.4, 4).astype(np.float32)
    screen = cover(view, face, np.zeros(4, np.float32), random.uniform(0, 0.1) * side)
    body = random.choice([0.03, 0.06, 0.85]) * np.ones(3, np.float32)
    device = shown * screen + body * (1 - screen)
    room = tiny(scene, *size)
    device = device + random.uniform(0, 0.1) * cv2.GaussianBlur(room[:, ::-1], (0, 0), 8)  # mirrored in the glass
    for _ in range(random.integers(0, 3)):
        device = device + random.uniform(0.2, 1.0) * spot(*size, random)
    whole = cover(view, face, bezel, random.uniform(0.05, 0.25) * side)
    canvas = laid(room * random.uniform(0.4, 1.0), device, whole, random)  # exposed for the screen, the room is dark
    return (fingers(canvas, whole, random) if random.random() < 0.6 else canvas), view.box


def outline(points: Array, random: Random) -> Array:
    """(N, 2) float32: a head's outline around five points, cut by hand."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    across = np.array([down[1], -down[0]])
    if np.dot(across, points[1] - points[0]) < 0:
        across = -across
    centre = eyes + 0.35 * down
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = 1 + smooth_noise(random, 1, 40, 12)[0, :, 0] * 0.08
    wide, high = random.uniform(1.15, 1.5), random.uniform(1.45, 1.9)
    ring = np.cos(angles)[:, None] * across * wide + np.sin(angles)[:, None] * down * high
    return np.asarray(centre + ring * reach[:, None], np.float32)


def mask(points: Array, size: tuple[int, int], random: Random) -> tuple[Array, Array]:
    """(H, W, 1) float32 0..1: a cut-out face on five points (5, 2), and the inked part of it, inside of a white rim.

    Half of them have holes for the eyes.
    """
    side = float(np.hypot(*(points[1] - points[0])))
    whole = np.zeros(size, np.float32)
    cv2.fillPoly(whole, [(16 * outline(points, random)).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    inked = np.asarray(cv2.erode(whole, np.ones((3, 3)), iterations=int(random.integers(0, 3))), np.float32)
    if random.random() < 0.5:
        for eye in points[:2]:
            for layer, more in ((whole, 0), (inked, 1)):
                axes = (int(side * 0.26) + more, int(side * 0.15) + more)
                cv2.ellipse(layer, eye.astype(int).tolist(), axes, 0, 0, 360, 0.0, -1, cv2.LINE_AA)
    return whole[..., None], inked[..., None]


def cutout_attack(face: Face, wearer: Face, random: Random) -> tuple[Array, Array]:
    """A printed face, cut out and worn by somebody else; as print_attack."""
    canvas, matrix = framed(wearer, SIZES[random.integers(len(SIZES))], random)
    height, width = canvas.shape[:2]
    points = moved(wearer.keypoints, matrix)
    back = cv2.invertAffineTransform(similarity_transform(face.keypoints, points))
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = (np.asarray(columns * row[0] + rows * row[1] + row[2], np.float32) for row in back)
    box = moved(wearer.box.reshape(2, 2), matrix).reshape(4)
    view = View(x, y, np.ones((height, width, 1), np.float32), box)
    whole, inked = mask(points, (height, width), random)
    ink = printed(picture(face, view), columns, rows, random)
    side = max(1.0, float(np.hypot(*(points[1] - points[0]))))
    light = 1 + random.uniform(-0.25, 0.25) * (columns - points[:, 0].mean())[..., None] / side / 2
    sheet = (ink * inked + random.uniform(0.8, 0.98) * (1 - inked)) * light.clip(0.6, 1.4)
    return laid(canvas, np.asarray(sheet, np.float32), whole, random), box


def live(face: Face, random: Random) -> tuple[Array, Array]:
    """The face itself; as print_attack."""
    canvas, matrix = framed(face, SIZES[random.integers(len(SIZES))], random)
    return canvas, moved(face.box.reshape(2, 2), matrix).reshape(4)


def camera(scene: Array, random: Random) -> Image:
    """(H, W, 3) uint8 BGR of a (H, W, 3) float32 0..1 scene: lens, exposure, white balance, noise and JPEG."""
    seen = cv2.GaussianBlur(scene, (0, 0), random.uniform(0.3, 1.2))
    gains = random.uniform(0.8, 1.2) * (1 + random.normal(0, 0.04, 3))
    seen = (seen * gains).clip(0, 1) ** random.uniform(0.85, 1.2)
    seen = seen + random.normal(0, random.uniform(0.003, 0.02), seen.shape)
    quality = int(random.uniform(55, 96))
    _, coded = cv2.imencode(".jpg", (seen.clip(0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


Attack = Callable[[Face, Image, Random], tuple[Array, Array]]
HELD: dict[str, Attack] = {"print": print_attack, "replay": replay_attack}  # before a scene
