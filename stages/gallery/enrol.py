"""A photo of one person -> the embedding to keep, by the same stages that a camera's frames go through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Config
from pipeline.errors import Failed, Usage
from pipeline.frames import Overwritten
from pipeline.types import Crops, Detections, Frame
from stages.crop import TEMPLATES, Crop, CropConfig, cut
from stages.detect import Detect, DetectConfig
from stages.embed import Embedder
from stages.gallery.guidance import Seen
from stages.gallery.index import Gallery
from stages.gallery.people import Person, Portrait
from stages.match import MatchConfig
from stages.nms import Nms, NmsConfig
from stages.quality import pose, rate

LONGEST = 1600  # pixels; a longer photo is shrunk, since chips are cut without smoothing
# Detectors miss a face that fills its picture: with this much of each side around, CenterFace found 21 of 21 faces
# whose photos were cut to nine tenths of their boxes, and 20 without.
BORDER = 0.25
GREY = (114, 114, 114)
# Pixels, shorter side of the box. Cosine similarity to another photo of the person, mean of 13 people with dlib_face:
# 0.79 from 96 pixels, 0.75 from 40, 0.68 from 24, 0.60 from 20.
SMALLEST = 40
SAME = 0.9999  # cosine of a photo to itself, but for rounding; no two photos are that near
MOST_PIXELS = 51_000_000  # a phone's "50 megapixels"; few bytes of a PNG or a GIF can hold billions of pixels
ANIMATED = (b"GIF8", b"RIFF", b"\x89PNG")  # how files begin that may hold several pictures


class EnrolConfig(Config, frozen=True):
    """The stages that a photo goes through."""

    detect: DetectConfig = DetectConfig()
    nms: NmsConfig = NmsConfig()
    match: MatchConfig = MatchConfig()


class Enrol:
    """Photos -> embeddings. `identity` is the embedder's: the model that the templates belong to.

    `threshold` is its cosine similarity, -1..1, from which on two faces are one person's.
    """

    def __init__(self, config: EnrolConfig) -> None:
        self._photo = _Photo()
        self._detect = Detect(config.detect, self._photo)
        self._nms = Nms(config.nms)
        self._embed = Embedder(config.match)
        self._template = TEMPLATES[self._embed.align]
        self._crop = Crop(msgspec.convert({"align": self._embed.align, "min_face": 1}, CropConfig), self._photo)
        self.identity, self.threshold = self._embed.identity, self._embed.threshold

    def __call__(self, photos: Sequence[Path]) -> tuple[NDArray[np.float32], list[Portrait]]:
        """(N, D) of unit length, and the faces; Failed at the first photo that does not show one face, large enough."""
        return self.of([read(path) for path in photos], [str(path) for path in photos])

    def of(
        self, pictures: Sequence[NDArray[np.uint8]], names: Sequence[str]
    ) -> tuple[NDArray[np.float32], list[Portrait]]:
        """The same of pictures (H, W, 3) BGR, as `read`, `decoded` and `shrunk` give them, with what to call each."""
        found = [self._face(pixels, name) for pixels, name in zip(pictures, names, strict=True)]
        return self._embed(np.concatenate([chips for chips, _ in found])), [portrait for _, portrait in found]

    def look(self, pixels: NDArray[np.uint8]) -> Seen:
        """What guidance needs to know of a picture (H, W, 3) BGR, as `of` takes it."""
        found = self._faces(pixels)
        high, wide = (side // 6 for side in pixels.shape[:2])  # a photo's border, of which nothing is to be told
        light = float(pixels[high : pixels.shape[0] - high, wide : pixels.shape[1] - wide].mean())
        if len(found.boxes) != 1:
            return Seen(len(found.boxes), light)
        chips = self._crop(found).chips
        if found.keypoints is None or not len(chips):
            return Seen(1, light)
        quality = rate(found.boxes, found.keypoints, chips, self._template, SMALLEST)
        return Seen(1, light, float(pose(found.keypoints).yaw[0]), quality)

    def embed(self, portraits: Sequence[Portrait]) -> NDArray[np.float32]:
        """(N, D) of unit length, of faces that are kept from an enrolment."""
        chips = np.empty((len(portraits), self._template.side, self._template.side, 3), np.uint8)
        for portrait, chip in zip(portraits, chips, strict=True):
            cut(portrait.pixels(), np.array([portrait.points], np.float32), self._template, chip[None])
        return self._embed(chips)

    def _face(self, pixels: NDArray[np.uint8], name: str) -> tuple[NDArray[np.uint8], Portrait]:
        found = self._faces(pixels)
        points = _points(found)
        if len(found.boxes) == 0:
            raise Failed(f"{name} shows no face that can be found: take a photo of the face from the front")
        if len(found.boxes) > 1:
            raise Failed(f"{name} shows {len(found.boxes)} faces: cut it down to the one to enroll")
        side = float((found.boxes[0, 2:] - found.boxes[0, :2]).min())
        if side < SMALLEST:
            raise Failed(f"the face in {name} is {side:.0f} pixels wide: take a photo where it has at least {SMALLEST}")
        crops: Crops = self._crop(found)
        if not len(crops.chips):
            raise Failed(f"eyes, nose and mouth cannot be told in {name}: take a photo of the face from the front")
        return crops.chips, Portrait.of(pixels, found.boxes[0], points[0])

    def doubt(self, people: Sequence[Person], name: str, faces: Mapping[str, NDArray[np.float32]]) -> str:
        """Why these may not be `name`, a question; "" where there is no reason. `faces` (D,) are by their photo.

        One looks like somebody else of `people`, who are enrolled; or unlike all photos of `name` that are enrolled or
        come before it.
        """
        others = Gallery([person for person in people if person.name != name], self.identity)
        _, names, near = others.nearest(np.stack([*faces.values()]))
        best = int(np.nan_to_num(near, nan=-1).argmax())
        if near[best] >= self.threshold:
            return f"{[*faces][best]} looks like {names[best]} ({near[best]:.2f}): is it the same person?"
        known = self._known(people, name)
        first = f"the photos of {name}" if known else next(iter(faces))
        for photo, face in faces.items():
            like = max((float(face @ one) for one in known), default=1.0)
            if like < self.threshold:
                return f"{photo} does not look like {first} ({like:.2f}): is it {name}?"
            known.append(face)
        return ""

    def has(self, people: Sequence[Person], name: str, face: NDArray[np.float32]) -> bool:
        """Whether the photo of `face` (D,) is one of those of `name` among `people`."""
        return any(float(one @ face) > SAME for one in self._known(people, name))

    def everybody(self, photo: Path) -> NDArray[np.float32]:
        """(K, D) of unit length: all faces of a photo that are large enough. Raises Failed for what is no photo."""
        return self.faces(read(photo))[2]

    def faces(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """All faces of a picture (H, W, 3) BGR that are large enough.

        Their boxes (K, 4), xyxy, and landmarks (K, 5, 2), in its pixels, and embeddings (K, D) of unit length.
        """
        found = self._faces(pixels)
        large = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1, initial=np.inf) >= SMALLEST
        crops: Crops = self._crop(found)
        taken = large[crops.rows]
        rows = crops.rows[taken]
        return found.boxes[rows], _points(found)[rows], self._embed(crops.chips[taken])

    def _known(self, people: Sequence[Person], name: str) -> list[NDArray[np.float32]]:
        """(D,) each: the embeddings of `name` among `people`."""
        templates = [template for person in people if person.name == name for template in person.templates]
        return [template.embedding for template in templates if template.model == self.identity]

    def _faces(self, pixels: NDArray[np.uint8]) -> Detections:
        (candidates,) = self._detect([self._photo.show(pixels)])
        if isinstance(candidates, Overwritten):
            raise candidates
        return self._nms(candidates)


def _points(found: Detections) -> NDArray[np.float32]:
    """(N, 5, 2) of each face. Raises Usage."""
    if found.keypoints is None:
        raise Usage("the detector marks no eyes, nose and mouth: set detect.model to a detector of faces")
    return found.keypoints


def read(path: Path) -> NDArray[np.uint8]:
    """The photo (H, W, 3) uint8 BGR, upright as its EXIF says, at most `LONGEST` a side, with a border around it."""
    try:
        if not path.is_file():
            raise Failed(f"there is no photo {path}: check the path")
        content = path.read_bytes()
    except OSError as error:
        raise Failed(f"cannot read the photo {path}: {error.strerror}") from error
    return decoded(content, str(path))


def decoded(content: bytes, name: str) -> NDArray[np.uint8]:
    """The same of a file's content. Raises Failed for what is no photo, moves, or has more than `MOST_PIXELS`."""
    if not content:
        raise Failed(f"{name} is empty (0 bytes): copy it again")
    wide, high = _size(content, name)
    if wide * high > MOST_PIXELS:
        most = MOST_PIXELS // 10**6
        raise Failed(f"{name} has {wide} x {high} pixels: save it smaller, with {most} million at most")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise Failed(f"{name} cannot be decoded ({error.err}): save it again as a JPEG") from error
    if pixels is None:
        raise Failed(f"{name} is no photo, or a damaged one: save it again as a JPEG")
    if content.startswith(ANIMATED):
        read, animation = cv2.imdecodeanimation(np.frombuffer(content, np.uint8), start=0, count=2)
        if not read:
            raise Failed(f"{name} is no photo, or a damaged one: save it again as a JPEG")
        if len(animation.frames) > 1:
            raise Failed(f"{name} moves: take a picture that stands still")
    pixels = shrunk(pixels.astype(np.uint8, copy=False))
    high, wide = (round(BORDER * side) for side in pixels.shape[:2])
    return cv2.copyMakeBorder(pixels, high, high, wide, wide, cv2.BORDER_CONSTANT, value=GREY).astype(np.uint8)


def _size(content: bytes, name: str) -> tuple[int, int]:
    """Width and height, of which nothing is decoded. Raises Failed for what is no photo."""
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours: Pillow's warns on standard error
    try:
        with Image.open(BytesIO(content)) as image:
            return image.size
    except (OSError, ValueError) as error:
        raise Failed(f"{name} is no photo, or a damaged one: save it again as a JPEG") from error


def shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`pixels` (H, W, 3) at most `LONGEST` a side."""
    ratio = LONGEST / max(pixels.shape)
    if ratio >= 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8)


class _Photo:
    """The one picture that is being looked at, where the stages expect frames."""

    def show(self, pixels: NDArray[np.uint8]) -> Frame:
        self._pixels = pixels
        height, width = pixels.shape[:2]
        return Frame("photo", 0, 0, 0, 0, 0, 0, width, height)

    @contextmanager
    def view(self, frame: Frame) -> Iterator[NDArray[np.uint8]]:
        yield self._pixels
