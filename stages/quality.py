"""How well can a face be told from this picture of it? Five factors from its box, five points and chip, and its pose.

They are what guidance at enrolment can be made of: too far, turn a little, blurred, too dark, too much light.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.crop import Template

# Pose. In units of the eyes' distance, and of the distance from eyes to mouth:
DEPTH = 0.44  # of the nose's tip before the plane of eyes and mouth; in a real clip of a turning head 0.36 to 0.44
HEIGHT = 0.56  # of the nose's tip below the eyes, seen from the front: CenterFace's median over 115 faces
TALL = 1.03  # the distance from eyes to mouth, in eye distances: median of 49 photos

# Quality. Where each factor is 0, and from where on it is 1.
GOOD_FACE = 112  # pixels, shorter side: with more the chip, 150 or 112 pixels, hardly gains
BLURRED, SHARP = 0.02, 0.10
DARK, LIT = 10.0, 40.0  # mean grey level
BLOWN, UNBLOWN = 0.5, 0.1  # share of pixels from WHITE on
WHITE = 250
SIDE = 64  # pixels that the face is brought to, at 36 from eye to eye, so that every alignment gives the same figures
REACH = 0.9  # eye distances from the face's middle to the sides of what is looked at: no background, little hair
_CURVE = np.array([[1, -2, 1]], np.float32)  # the second derivative along a row


class Pose(NamedTuple):
    """How heads are turned: estimates in degrees, 0 is straight into the camera."""

    yaw: NDArray[np.float32]  # (N,) above 0: to the person's left, the right of a picture that is not mirrored
    pitch: NDArray[np.float32]  # (N,) above 0: down
    roll: NDArray[np.float32]  # (N,) above 0: clockwise in the picture
    tall: NDArray[np.float32]  # (N,) from eyes to mouth, in eye distances: grows as eyes come together in a turn


class Quality(NamedTuple):
    """(M,) float32 each, 0 for useless to 1 for good."""

    size: NDArray[np.float32]  # too far
    frontal: NDArray[np.float32]  # turned away
    sharp: NDArray[np.float32]  # blurred: out of focus, moving, or enlarged
    lit: NDArray[np.float32]  # too dark
    unblown: NDArray[np.float32]  # too much light

    @property
    def total(self) -> NDArray[np.float32]:
        """(M,) float32 0..1: the product, so that no factor makes up for another."""
        product: NDArray[np.float32] = np.prod(self, axis=0)
        return product


def pose(keypoints: NDArray[np.float32]) -> Pose:
    """The pose of the heads with `keypoints` (N, 5, 2) xy, as in `Detections`; NaN where they are no face's.

    The nose's tip is written as eyes' middle + u * (from eye to eye) + v * (from eyes to mouth). Seen from afar (weak
    perspective, as Gee & Cipolla 1994 read faces) a tip that stands DEPTH before that plane moves with the turn of the
    head: u = DEPTH * tan(yaw), v = HEIGHT + DEPTH / TALL * tan(pitch). An affine map of the picture changes neither u
    nor v, so a flat photo keeps the yaw that it shows, however it is held; only perspective, from near, moves it.
    """
    left, right, nose, *mouth = np.moveaxis(keypoints.astype(np.float64), 1, 0)
    eyes, mouth_middle = (left + right) / 2, (mouth[0] + mouth[1]) / 2
    across, down, tip = right - left, mouth_middle - eyes, nose - eyes
    area = _cross(across, down)  # pixels^2; not above 0 for points that are mixed up or lie on a line
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = (np.where(area > 0, part / area, np.nan) for part in (_cross(tip, down), _cross(across, tip)))
        tall = np.where(area > 0, np.hypot(*down.T) / np.hypot(*across.T), np.nan)
    yaw, pitch = np.arctan(u / DEPTH), np.arctan((v - HEIGHT) * TALL / DEPTH)
    roll = np.arctan2(across[:, 1], across[:, 0])
    turns = [np.degrees(turn).astype(np.float32) for turn in (yaw, pitch, roll)]
    return Pose(turns[0], turns[1], turns[2], tall.astype(np.float32))


def rate(
    boxes: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    chips: NDArray[np.uint8],
    template: Template,
    min_face: int,
) -> Quality:
    """The quality of faces by `boxes` (M, 4) xyxy, `keypoints` (M, 5, 2) and `chips` (M, S, S, 3) RGB.

    `template` is what the chips were cut to; a face whose shorter side is below `min_face` pixels has size 0.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    looks = np.array([_look(chip, template) for chip in chips], np.float32).reshape(-1, 3)
    return Quality(
        size=np.where(sides >= min_face, np.minimum(sides / GOOD_FACE, 1), 0).astype(np.float32),
        frontal=_frontal(pose(keypoints)),
        sharp=_ramp(looks[:, 0], BLURRED, SHARP),
        lit=_ramp(looks[:, 1], DARK, LIT),
        unblown=_ramp(looks[:, 2], BLOWN, UNBLOWN),
    )


def _frontal(turned: Pose) -> NDArray[np.float32]:
    """cos^2 of yaw and of pitch; roll counts by halves, since alignment undoes it. 0.5 at 45 degrees of yaw."""
    yaw, pitch, roll = (np.cos(np.radians(angle)) for angle in (turned.yaw, turned.pitch, turned.roll / 2))
    frontal: NDArray[np.float32] = np.nan_to_num((yaw * pitch * roll) ** 2, nan=0)
    return frontal


def _look(chip: NDArray[np.uint8], template: Template) -> tuple[float, float, float]:
    """Sharpness, mean grey level and the share of blown pixels of a chip (S, S, 3) RGB.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000), normalized: of its two directions the weaker,
    which motion blur takes away, over the variance of the grey levels, so that it is no measure of light. Measured:
    real faces in focus 0.10 to 0.60 (median of 13: 0.17; in samples/gate.mp4, 200 pixels wide, 0.37 to 0.60), the same
    under motion blur 0.09, 40 pixels wide and out of focus 0.04. Blurred by a Gaussian of sigma 2, 3, 4 and 6 pixels of
    a 150 pixel chip the 13 have a median of 0.08, 0.05, 0.03 and 0.02, and dlib_face's cosine to their sharp selves is
    0.95, 0.86, 0.78 and 0.57.
    """
    middle = template.points.mean(axis=0)
    reach = REACH * float(np.hypot(*(template.points[1] - template.points[0])))
    (left, top), (right, bottom) = (np.rint(middle + way * reach).astype(int) for way in (-1, 1))
    face = cv2.resize(chip[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    curves = [float(cv2.filter2D(grey, -1, kernel).var()) for kernel in (_CURVE, _CURVE.T)]
    return 4 * min(curves) / max(1.0, float(grey.var())), float(grey.mean()), float((grey >= WHITE).mean())


def _ramp(value: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    share: NDArray[np.float32] = ((value - low) / (high - low)).clip(0, 1)
    return share


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) the signed area that two vectors (N, 2) span."""
    area: NDArray[np.float64] = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return area
