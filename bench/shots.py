"""Shots, found by TransNet V2 and by PySceneDetect, in one film of which every transition is known.

`python -m bench.shots VIDEOS`: pieces of the folder's clips, in an order of chance, joined by hard cuts and by
dissolves in turn, and encoded. What is told within 2 frames of a cut, or within a dissolve, is right, once each.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import NamedTuple

import av
import cv2
import numpy as np
import scenedetect
from numpy.typing import NDArray

from bench.table import Row, report
from pipeline.model import set_thread_budget
from pipeline.types import Frame
from stages.highlight.shots import Shots, ShotsConfig, cuts
from stages.highlight.store import Store

WIDTH, HEIGHT, RATE = 640, 360, 25
PIECE, PIECES = 90, 5  # frames of a piece at most, pieces of a clip at most
DISSOLVE = 12  # frames: half a second
NEAR = 2  # frames
SEED = 5
# Seen with one's own eyes: the first frames of the shots within clips, and where a clip is damaged and told no shot.
OWN_CUTS = {"short_hamilton_clip.mp4": (20, 82, 211)}
SOUND = {"demo.mp4": 229}  # frames

Image = NDArray[np.uint8]
Span = tuple[int, int]  # the first and the last frame that may be told
Find = Callable[[Path], list[int]]  # film -> the first frames of its shots


class Piece(NamedTuple):
    """Frames of a clip that follow each other."""

    clip: Path
    frames: list[Image]  # (HEIGHT, WIDTH, 3) uint8 BGR
    cuts: tuple[int, ...]  # its own, in frames from its first one


class Film(NamedTuple):
    """What was joined, and the transitions in it."""

    file: Path
    frames: int
    cuts: list[Span]
    dissolves: list[Span]


class Held:
    """The one frame that is looked at, in the place of a ring."""

    pixels: Image

    @contextmanager
    def view(self, _: Frame) -> Iterator[Image]:
        """Its pixels."""
        yield self.pixels


def read(file: Path) -> Iterator[Image]:
    """The frames of a video."""
    video = cv2.VideoCapture(str(file))
    while (found := video.read())[0]:
        yield np.asarray(found[1], np.uint8)


def pieces(clip: Path) -> list[Piece]:
    """What is taken of a clip: all of a short one or one with cuts of its own, pieces spread over a long one."""
    images = list(read(clip))[: SOUND.get(clip.name)]
    frames = [
        np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8) for image in images
    ]
    if clip.name in OWN_CUTS:  # whole, so that no cut comes to lie in a dissolve
        return [Piece(clip, frames, OWN_CUTS[clip.name])]
    count = min(PIECES, -(-len(frames) // PIECE))
    length = min(PIECE, len(frames) // count)
    starts = np.linspace(0, len(frames) - length, count).astype(int).tolist()
    return [Piece(clip, frames[start : start + length], ()) for start in starts]


def shuffled(found: list[Piece]) -> list[Piece]:
    """In an order of chance, in which no two neighbours are of the same clip."""
    chance = random.Random(SEED)
    while any(a.clip == b.clip for a, b in pairwise(found)):
        chance.shuffle(found)
    return found


def join(found: list[Piece], file: Path) -> Film:
    """Write the film: each second join is a dissolve, DISSOLVE frames long, in which both pieces go on."""
    frames: list[Image] = []
    film = Film(file, sum(len(piece.frames) for piece in found) - DISSOLVE * ((len(found) - 1) // 2), [], [])
    for number, piece in enumerate(found):
        begin = len(frames)
        if number and number % 2 == 0:
            begin -= DISSOLVE
            for place in range(DISSOLVE):
                weight = (place + 1) / (DISSOLVE + 1)
                old, new = frames[begin + place], piece.frames[place]
                frames[begin + place] = np.asarray(cv2.addWeighted(old, 1 - weight, new, weight, 0), np.uint8)
            film.dissolves.append((begin, begin + DISSOLVE))
        elif number:
            film.cuts.append((begin - NEAR, begin + NEAR))
        frames += piece.frames[len(frames) - begin :]
        film.cuts.extend((begin + cut - NEAR, begin + cut + NEAR) for cut in piece.cuts)
    with av.open(file, "w") as mp4:
        stream = mp4.add_stream("libx264", RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        for image in frames:
            mp4.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        mp4.mux(stream.encode(None))
    return film


def framewire(film: Path, model: str) -> list[int]:
    """The stage as it is, frame by frame, with its track."""
    held = Held()
    config = ShotsConfig(model=model, provider="cpu", store=str(film.with_suffix(f".{model}.sqlite")))
    stage = Shots(config, held)
    for number, held.pixels in enumerate(read(film)):
        stage(Frame("film", number, 0, number, 0, 0, 0, WIDTH, HEIGHT))
    stage.close()
    times, probability = Store(Path(config.store)).track("shots", config.key).read(1)
    return [int(frame) for frame in cuts(times, probability[:, 0])]


def theirs(kind: type[scenedetect.SceneDetector]) -> Find:
    """One of PySceneDetect's detectors, with its own thresholds, as its documentation runs it."""
    return lambda film: [int(begin.frame_num) for begin, _ in scenedetect.detect(str(film), kind())[1:]]


FINDERS: dict[str, Find] = {
    "framewire, int8": partial(framewire, model="transnetv2_int8"),
    "framewire, float": partial(framewire, model="transnetv2"),
    "PySceneDetect, ContentDetector": theirs(scenedetect.ContentDetector),
    "PySceneDetect, AdaptiveDetector": theirs(scenedetect.AdaptiveDetector),
}


def told(found: list[int], spans: list[Span]) -> set[Span]:
    """The spans that hold something of what was found; one each, as nothing is told of two."""
    free, right = sorted(found), set()
    for begin, end in sorted(spans, key=lambda span: span[1]):
        frame = next((frame for frame in free if begin <= frame <= end), None)
        if frame is not None:
            free.remove(frame)
            right.add((begin, end))
    return right


class Measured(NamedTuple):
    """What one of them told, and how good that is; the first row is F1."""

    right: set[Span]
    rows: list[Row]


def measure(title: str, find: Find, film: Film, decoding: float) -> Measured:
    """How good it is, and what it costs beside decoding."""
    began = process_time()
    found = find(film.file)
    spent = process_time() - began
    transitions = film.cuts + film.dissolves
    right = told(found, transitions)
    cut, dissolved = (len(right.intersection(spans)) / len(spans) for spans in (film.cuts, film.dissolves))
    rows = [
        Row(f"{title}: F1", 2 * len(right) / (len(found) + len(transitions)), ""),
        Row(f"{title}: precision, of {len(found)} told", len(right) / max(len(found), 1), ""),
        Row(f"{title}: recall, {len(film.cuts)} cuts", cut, ""),
        Row(f"{title}: recall, {len(film.dissolves)} dissolves", dissolved, ""),
        Row(f"{title}: over decoding", (spent - decoding) / film.frames * 1e3, "ms/frame"),
    ]
    return Measured(right, rows)


def main() -> int:
    """Join, find, compare."""
    cv2.setNumThreads(1)
    set_thread_budget(1)
    clips = sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix in (".mp4", ".avi", ".gif"))
    with TemporaryDirectory() as folder:
        film = join(shuffled([piece for clip in clips for piece in pieces(clip)]), Path(folder) / "film.mp4")
        began = process_time()
        count = sum(1 for _ in read(film.file))
        decoding = process_time() - began
        if count != film.frames:
            raise SystemExit(
                f"the film has {count} frames where {film.frames} were joined: read it with another OpenCV"
            )
        found = [measure(title, find, film, decoding) for title, find in FINDERS.items()]
    ours, whole = (each.right for each in found[:2])
    f1, f1_whole, *f1_others = (each.rows[0].figure for each in found)
    lost = len((whole - ours).intersection(film.cuts))
    rows = [row for each in found for row in each.rows]
    rows += [
        Row("F1, over the better one of PySceneDetect's", f1 - max(f1_others), "", ">= 0"),
        Row("F1, int8 below float", f1_whole - f1, "", "<= 0.01"),
        Row("cuts that float tells and int8 does not", lost, "", "<= 0"),
    ]
    notes = [
        f"{film.frames} frames of {WIDTH}x{HEIGHT}, H.264: {len(clips)} clips in pieces of {PIECE} frames at most.",
        f"Right: within {NEAR} frames of a cut, within a dissolve of {DISSOLVE} frames, once each; all else is wrong.",
        "Thresholds as they come: 0.5, 27 and 3. The cuts within clips are known from looking at them.",
        "Time is that of the processor, all threads, less that of reading the film with OpenCV.",
    ]
    versions = ("onnxruntime-gpu", "scenedetect", "opencv-python", "av")
    return report("shots", rows, versions=versions, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
