"""The page of a reel: one HTML file that needs nothing else, in which people see why each moment was taken."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import cv2
import msgspec

from pipeline.files import OUTPUT, replace_file
from stages.highlight.document import document
from stages.highlight.score import PRESETS
from stages.highlight.thumbs import Thumb
from stages.highlight.timeline import SIGNALS, Reel

FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("timeline.js", "draw.js", "page.js")
QUALITY = 80  # of a thumb's JPEG


def write_page(reel: Reel, path: Path, thumbs: Sequence[Thumb]) -> None:
    """Write the page. `thumbs` has one of each moment. Raises OSError."""
    replace_file(path, page(reel, thumbs).encode(), synced=True, mode=OUTPUT)


def page(reel: Reel, thumbs: Sequence[Thumb]) -> str:
    """The page, HTML. Its policy lets nothing run and nothing load but what is in it."""
    style, script = _part("page.css"), "".join(map(_part, SCRIPTS))
    names = {Path(timeline.video.path).name: None for timeline in reel.timelines}
    return Template(_part("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        title=escape(f"Highlights of {', '.join(names)}"),
        style=style,
        data=_data(reel, thumbs),
        script=script,
    )


def _part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _data(reel: Reel, thumbs: Sequence[Thumb]) -> str:
    """What the page shows, as JSON in which no tag can begin or end."""
    signals = [
        {"name": name, "unit": signal.unit, "half": signal.half, "says": signal.says}
        for name, signal in SIGNALS.items()
    ]
    data = {
        "reel": msgspec.Raw(document(reel)),
        "changed": reel.weights != PRESETS.get(reel.preset),
        "signals": signals,
        "thumbs": [_address(thumb) for thumb in thumbs],
    }
    return msgspec.json.encode(data).decode().replace("<", "\\u003c")


def _address(thumb: Thumb) -> str:
    """The picture as a data: address."""
    _, jpeg = cv2.imencode(".jpg", thumb, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what may be inline (CSP Level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
