"""Photos of the size that a model wants, letterboxed or cut to faces; for one of shots, windows of clips."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx

from export import shot_windows
from export.chips import PHOTOS, SMALLEST, VIDEOS, cut, read_image
from export.detector import Detector, Image, letterbox
from export.files import MODELS
from export.liveness import live_folders
from export.liveness.live_folders import LAYOUTS as LIVENESS
from export.liveness.live_folders import Face, contexts
from export.model_file import properties
from export.packages import Failed

FINDER = MODELS / "centerface.onnx"  # finds the faces that are cut out


def takes_windows(model: onnx.ModelProto) -> bool:
    """Whether frames that follow each other go in together, to find the shots in them."""
    return properties(model).get("layout") == "shots"


def files_in(model: onnx.ModelProto, places: Sequence[Path]) -> list[Path]:
    """The photos, or for shots the clips, among files and in folders, at any depth.

    Failed where a place has none or is not there.
    """
    kind, suffixes = ("clips", VIDEOS) if takes_windows(model) else ("photos", PHOTOS)
    files: list[Path] = []
    for place in places:
        found = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix.lower() in suffixes)
        if not found:
            raise Failed(f"{place} has no {kind} ({', '.join(suffixes)}); give a folder that has some")
        files += found
    return files


def blank(model: onnx.ModelProto, height: int, width: int) -> Image:
    """A black one of what `pictures` makes."""
    window = (shot_windows.WINDOW,) if takes_windows(model) else ()
    return np.zeros((*window, height, width, 3), np.uint8)


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


def pictures(model: onnx.ModelProto, files: Sequence[Path], height: int, width: int) -> list[Image]:
    """(height, width, 3) uint8 BGR, of shots (T, height, width, 3): what the model is for.

    Faces of the photos, aligned, where it embeds faces; with what is around them where it tells live ones; windows of
    the joined clips where it finds shots; else each photo letterboxed.
    """
    said = properties(model)
    if takes_windows(model):
        return shot_windows.join(files, height, width).windows()
    if said.get("layout") in LIVENESS:
        times = contexts(said["align"])
        return faces(files, lambda face: live_folders.stacked(face.image, face.box, times))
    if said.get("layout") != "embedder":
        return [letterbox(read_image(photo), height, width)[0] for photo in files]
    if said.get("align") != "dlib":
        raise Failed(f"faces are aligned as dlib does here, and this model wants {said.get('align') or 'no'} alignment")
    return faces(files, lambda face: resized(cut(face.image, face.keypoints)[..., ::-1], height, width))
