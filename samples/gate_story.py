"""What happens in the sample clip: where people, camera, gate and light are at each moment (seconds)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from gate_canvas import FOCAL, HEIGHT, WIDTH, project
from numpy.typing import NDArray

SECONDS, FPS = 14.4, 25
SHUTTER = 0.02  # seconds a frame is exposed

Affine = NDArray[np.float64]  # (3, 3)
Box = tuple[float, float, float, float]  # xyxy, pixels
Keys = NDArray[np.float64]  # (N, 2) second, value


def keys(text: str) -> Keys:
    """A track as "second value, second value, ..."."""
    return np.array([pair.split() for pair in text.split(",")], np.float64)


@dataclass(frozen=True)
class Walk:
    """A person's way through the scene: the eyes, in metres."""

    seen: tuple[float, float]  # seconds; outside of it the person is not there
    x: Keys
    z: Keys
    height: float
    pace: Keys  # 1 walking, 0 standing
    phase: float


# Grace Hopper comes up to the closed gate, looks, and goes away to the left; nobody has enrolled her.
# Eileen Collins follows, the gate opens for her, she looks into the camera and passes it on the right.
WALKS = {
    "Grace Hopper": Walk(
        seen=(1.2, 7.4),
        x=keys("1.2 -2.1, 2.0 -0.95, 3.0 -0.55, 4.4 -0.26, 5.3 -0.26, 6.0 -0.62, 7.4 -2.2"),
        z=keys("1.2 5.75, 2.0 5.55, 3.1 4.6, 4.5 2.78, 5.4 2.74, 7.4 2.62"),
        height=1.555,
        pace=keys("1.2 1.0, 4.2 1.0, 4.6 0.1, 5.2 0.1, 5.6 1.0"),
        phase=0.3,
    ),
    "Eileen Collins": Walk(
        seen=(4.0, 12.2),
        x=keys("4.0 2.25, 5.2 1.12, 6.0 0.75, 7.4 0.22, 8.6 0.02, 10.0 -0.05, 11.0 -0.03, 11.5 0.25, 12.2 1.6"),
        z=keys("4.0 5.8, 5.3 5.6, 6.0 5.0, 7.9 2.85, 8.5 2.72, 9.0 2.6, 10.1 1.25, 11.0 1.22, 12.2 0.98"),
        height=1.60,
        pace=keys("4.5 1.0, 7.9 1.0, 8.3 0.15, 8.6 0.15, 8.9 1.0, 9.9 1.0, 10.2 0.1, 11.0 0.1, 11.3 1.0"),
        phase=0.0,
    ),
}

PAN = keys("0.0 -135, 1.3 -40, 2.2 -30, 4.0 -45, 5.2 -40, 6.2 70, 7.6 25, 9.2 0, 11.2 0, 12.0 60, 13.0 20, 14.4 -60")
TILT = keys("0.0 0, 3.4 0, 4.5 -14, 5.4 -14, 6.2 0, 9.4 0, 10.3 -16, 11.2 -16, 12.2 0, 14.4 0")
ZOOM = keys("0.0 1.04, 3.4 1.04, 4.5 1.42, 5.2 1.42, 6.1 1.04, 9.3 1.06, 10.2 1.42, 11.1 1.42, 12.3 1.04, 14.4 1.04")
GATE_OPEN = keys("8.1 0.0, 9.0 1.0, 11.9 1.0, 12.9 0.0")
FOCUS_HUNT = keys("3.5 0.0, 3.9 2.2, 4.3 0.0, 9.5 0.0, 9.75 1.8, 10.1 0.0")  # sigma, pixels
DAYLIGHT = keys("0 1.02, 2.3 1.02, 3.3 0.66, 4.6 0.70, 5.8 1.04, 8.5 1, 8.75 1.22, 9.5 1, 12.4 1, 13.4 0.80, 14.4 0.86")
BACKLIGHT = keys("6.6 0.0, 7.3 1.0, 8.2 0.9, 8.6 0.0")  # the sun comes out behind the people


def value(track: Keys, t: float, smooth: float = 0.30) -> float:
    """The track at time t: linear between its keys, averaged over `smooth` seconds: nothing jerks."""
    window = t + np.linspace(-smooth / 2, smooth / 2, 15)
    return float(np.interp(window, track[:, 0], track[:, 1]).mean())


def camera(t: float) -> Affine:
    """View -> frame, pixels: pan, tilt and zoom, and the sway of a pole in the wind."""
    sway_x = 1.6 * np.sin(2.1 * t + 0.4) + 0.8 * np.sin(5.3 * t)
    sway_y = 1.0 * np.sin(2.9 * t + 1.0) + 0.5 * np.sin(7.1 * t)
    zoom = value(ZOOM, t)
    roll = np.deg2rad(0.18 * np.sin(1.3 * t))
    centre = (WIDTH / 2 + value(PAN, t, 0.6) + sway_x, HEIGHT / 2 + value(TILT, t, 0.6) + sway_y)
    return _similarity(centre, zoom, roll, (WIDTH / 2, HEIGHT / 2))


def place(walk: Walk, t: float, eyes: tuple[float, float], metre: float) -> Affine:
    """Portrait -> view, pixels, for a person who walks upright, with the bob and sway of steps."""
    step = 2 * np.pi * (0.95 * t + walk.phase)  # one stride, two steps
    pace = value(walk.pace, t, 0.5)
    x = value(walk.x, t) + 0.022 * pace * np.sin(step)
    y = walk.height + 0.018 * pace * np.cos(2 * step) + 0.003 * np.sin(1.7 * t)
    z = value(walk.z, t)
    roll = np.deg2rad(1.3 * pace * np.sin(step + 0.6) + 0.5 * np.sin(1.1 * t + walk.phase))
    return _similarity(eyes, FOCAL / z / metre, roll, project(x, y, z))


def turn(walk: Walk, t: float) -> tuple[float, float]:
    """How far the head is turned to the side and bent, radians."""
    yaw = 0.13 * np.sin(1.25 * t + 2 * walk.phase) + 0.05 * np.sin(2.9 * t)
    return float(yaw), float(0.06 * np.sin(1.9 * t + walk.phase))


def _similarity(source: tuple[float, float], scale: float, angle: float, target: tuple[float, float]) -> Affine:
    """Turn and scale about `source`, which lands on `target`."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array(
        [
            [cos, -sin, target[0] - cos * source[0] + sin * source[1]],
            [sin, cos, target[1] - sin * source[0] - cos * source[1]],
            [0, 0, 1],
        ]
    )


def corners(matrix: Affine, box: Box) -> Box:
    """The upright box around a transformed box, xyxy."""
    x1, y1, x2, y2 = box
    points = cv2.perspectiveTransform(np.array([[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]], np.float64), matrix)[0]
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return float(left), float(top), float(right), float(bottom)
