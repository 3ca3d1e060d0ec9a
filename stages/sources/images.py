"""A folder of images, or one image, as a recording."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import Failed
from pipeline.frames import Mark
from stages.sources.address import check_file
from stages.sources.picture import SECOND, Picture, State

SUFFIXES = (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PERIOD_NS = SECOND // 25  # images have no times: ffmpeg's rate for image sequences


class Images:
    """The images of a folder in natural order (2 before 10); other files in it are left alone.

    `every` promises every frame, so an image that cannot be read fails the run: those that are empty or no images
    before the first one is given, those that do not decode when it is their turn.
    """

    def __init__(self, path: Path, after: Mark | None) -> None:
        check_file(path)
        self.state: State = "running"
        found = [path] if path.is_file() else [file for file in path.iterdir() if is_image(file)]
        self._files = sorted(found, key=lambda file: _natural(file.name))
        self._first = after.seq + 1 if after else 0
        if not self._files:
            raise Failed(f"the folder {path} holds no images ({', '.join(SUFFIXES)})")
        if self._first > len(self._files):
            raise Failed(f"{path} has changed while it was read: start again")
        for file in self._files:
            check_file(file)  # the name, too: OpenCV crashes over one that is not UTF-8
            if not cv2.haveImageReader(str(file)):
                raise Failed(f"{file} is not an image that can be read: replace it or take it out of the folder")
            if (count := cv2.imcount(str(file))) > 1:
                raise Failed(f"{file} holds {count} images: make a video of it, or a file of each")

    def __iter__(self) -> Iterator[Picture]:
        for seq, file in enumerate(self._files[self._first :], start=self._first):
            pixels = _read(file)
            pts_ns = seq * PERIOD_NS
            yield Picture(seq, time.monotonic_ns(), pts_ns, seq, pts_ns, pixels)
        self.state = "ended"

    def close(self) -> None:
        """Nothing is open between two images."""


def is_image(path: Path) -> bool:
    """Whether the name of the file `path` says that it is an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _read(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(H, W, 3) uint8 BGR, turned upright as its EXIF data says; gray, alpha and 16 bits are converted."""
    try:
        pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise Failed(f"{file} cannot be read any more ({error.strerror}): leave the folder as it is") from error
    except cv2.error:  # larger than OpenCV's limit
        pixels = None
    if pixels is None:
        raise Failed(f"{file} is a damaged image: replace it or take it out of the folder")
    return pixels.astype(np.uint8, copy=False)


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
