"""Photos of the size that a model wants: letterboxed, or cut to faces."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx

from export.chips import PHOTOS, SMALLEST, cut, read_image
from export.detector import Detector, Image, letterbox
from export.files import MODELS
from export.liveness import live_folders
from export.liveness.live_folders import LAYOUTS as LIVENESS
from export.liveness.live_folders import Face, contexts
from export.model_file import properties
from export.packages import Failed

FINDER = MODELS / "centerface.onnx"  # finds the faces that are cut out


def photos_in(places: Sequence[Path]) -> list[Path]:
    """The photos among files and in folders, at any depth; Failed where a place has none or is not there."""
    photos: list[Path] = []
    for place in places:
        found = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix.lower() in PHOTOS)
        if not found:
            raise Failed(f"{place} has no photos ({', '.join(PHOTOS)}); give a folder that has some")
        photos += found
    return photos


def resized(picture: Image, height: int, width: int) -> Image:
    """(height, width, 3) uint8 of a chip of another size."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def faces(photos: Sequence[Path], shown: Callable[[Face], Image]) -> list[Image]:
    """What is `shown` of each face of at least SMALLEST px in the photos; Failed where there is none."""
    find = Detector(FINDER, 384, 640)
    found = [shown(face) for photo in photos for face in live_folders.faces(read_image(photo), find)]
    if not found:
        raise Failed(f"there is no face of {SMALLEST} px or more in these photos; give photos of faces")
    return found


def pictures(model: onnx.ModelProto, photos: Sequence[Path], height: int, width: int) -> list[Image]:
    """(height, width, 3) uint8 BGR: what the model is for.

    Faces of the photos, aligned, where it embeds faces; with what is around them where it tells live ones; else each
    photo letterboxed.
    """
    said = properties(model)
    if said.get("layout") in LIVENESS:
        times = contexts(said["align"])
        return faces(photos, lambda face: live_folders.stacked(face.image, face.box, times))
    if said.get("layout") != "embedder":
        return [letterbox(read_image(photo), height, width)[0] for photo in photos]
    if said.get("align") != "dlib":
        raise Failed(f"faces are aligned as dlib does here, and this model wants {said.get('align') or 'no'} alignment")
    return faces(photos, lambda face: resized(cut(face.image, face.keypoints)[..., ::-1], height, width))
