"""Make gate.mp4, gate.json and the enrolment photo: `python samples/make_clip.py` (`dev` extra; some minutes).

The people are public-domain portraits, the place is drawn; samples/README.md says where each comes from.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import av
import cv2
import gate_story as story
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from gate_canvas import HEIGHT, WIDTH, Image
from gate_people import astronaut
from gate_render import Clip, Faces
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
FRAMES = round(story.SECONDS * story.FPS)
ENROLLED = "Eileen Collins"


def enrolment_photo() -> NDArray[np.uint8]:
    """The portrait of the enrolled person as another camera might have taken it: (600, 480, 3) uint8 BGR."""
    photo: Image = astronaut().astype(np.float32) / 255
    matrix = cv2.getRotationMatrix2D((222.0, 125.0), -6.0, 2.15)
    matrix[:, 2] += np.array([232.0 - 222.0, 285.0 - 125.0])
    photo = cv2.warpAffine(photo, matrix, (480, 600), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    photo = np.clip(photo, 0, 1)  # cubic interpolation overshoots
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)[..., None]
    photo = (0.25 * photo + 0.75 * grey) * np.asarray((0.78, 0.93, 1.04), np.float32)
    photo = 0.5 + 1.18 * (cv2.GaussianBlur(photo, (0, 0), 0.8) ** 1.2 - 0.47)
    return np.asarray(np.clip(photo * 255, 0, 255), np.uint8)


def encode(path: Path) -> list[Faces]:
    """Render and encode the clip beside `path`, then rename it; returns each frame's faces."""
    clip, part, truth = Clip(), path.with_name(path.name + ".part"), []
    options = {"crf": "22", "preset": "slow", "profile": "high", "threads": "2"}
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream("libx264", rate=story.FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 2 * story.FPS
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        for index in range(FRAMES):
            image, faces = clip.frame(index)
            truth.append(faces)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    _settle(part, path)
    return truth


def describe(truth: list[Faces]) -> dict[str, Any]:
    """Ground truth: who is in view in which frames, each with the face's box and how much of it is visible."""
    people = []
    for name in story.WALKS:
        rows = [(i, *faces[name]) for i, faces in enumerate(truth) if name in faces and faces[name][1] >= 0.05]
        people.append(
            {
                "name": name,
                "enrolled": name == ENROLLED,
                "frames": [rows[0][0], rows[-1][0]],
                "faces": [[i, *(round(v) for v in box), round(visible, 2)] for i, box, visible in rows],
            }
        )
    return {
        "clip": "gate.mp4",
        "fps": story.FPS,
        "count": FRAMES,
        "size": [WIDTH, HEIGHT],
        "columns": ["frame", "x1", "y1", "x2", "y2", "visible"],
        "people": people,
    }


def _settle(part: Path, path: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    _settle(part, path)
    print(f"{path.relative_to(HERE.parent)}: {len(content):,} bytes")


def main() -> None:
    """Write the clip, its ground truth and the enrolment photo into this folder."""
    photo = cv2.imencode(".jpg", enrolment_photo(), [cv2.IMWRITE_JPEG_QUALITY, 86])[1].tobytes()
    _write(HERE / "enrol" / f"{ENROLLED}.jpg", photo)
    truth = encode(HERE / "gate.mp4")
    print(f"samples/gate.mp4: {(HERE / 'gate.mp4').stat().st_size:,} bytes, {FRAMES} frames")
    text = re.sub(
        r"\[\s+([^\[\]]*?)\s+\]",
        lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]",
        json.dumps(describe(truth), indent=1),
    )
    _write(HERE / "gate.json", (text + "\n").encode())  # a row a line


if __name__ == "__main__":
    main()
