"""What is kept of a person, and how it lies in the database."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Usage

NAME_LENGTH = 100  # characters
AROUND, LONGEST = 0.4, 400  # of a portrait: what of a side is around the face; pixels a side
TAGS = b"tags of names..."  # the owner whose key makes names and badges findable; 16 bytes, as all owners
FOLDED = (".", "..")  # no names: browsers take them out of the path of an address
PADDED_TO = 1024  # bytes: how long a name is, or how many windows somebody has, does not show


Aware = Annotated[datetime, msgspec.Meta(tz=True)]


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When somebody may come in; what it means is in stages/gate/rules.py."""

    groups: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()  # of their own, like "Mon-Fri 07:00-19:00"
    valid_from: Aware | None = None
    valid_until: Aware | None = None
    watch: bool = False  # raises an alarm in place of opening
    badges: tuple[str, ...] = ()  # HMACs, hexadecimal; see Store.badge


class Template(msgspec.Struct, frozen=True):
    """One photo of a person, as an embedder saw it."""

    model: str  # identity of the embedder: templates of two models cannot be compared
    enrolled_at: datetime  # UTC
    embedding: NDArray[np.float32]  # (D,) of unit length


class Portrait(msgspec.Struct, frozen=True):
    """A face as it was enrolled, or taken for somebody else's, kept so that another model can embed it, too."""

    image: bytes  # PNG of the face and what is around it
    points: tuple[tuple[float, float], ...]  # 5 x 2, xy pixels of it, as in Detections.keypoints

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], box: NDArray[np.float32], points: NDArray[np.float32]) -> Portrait:
        """Cut out of `pixels` (H, W, 3) BGR: the face's `box` (4,) xyxy, `AROUND` of each side more around it."""
        more = AROUND * (box[2:] - box[:2])
        left, top = np.maximum(box[:2] - more, 0).astype(int)
        right, bottom = np.ceil(box[2:] + more).astype(int)
        part = pixels[top:bottom, left:right]
        ratio = min(1.0, LONGEST / max(part.shape[:2]))
        if ratio < 1:
            part = np.asarray(cv2.resize(part, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8)
        _, image = cv2.imencode(".png", part)
        shifted = (points - [left, top]) * ratio
        return cls(image.tobytes(), tuple((float(x), float(y)) for x, y in shifted))

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) BGR."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.image, np.uint8), cv2.IMREAD_COLOR), np.uint8)


class Person(msgspec.Struct, frozen=True):
    """Somebody who is enrolled."""

    id: bytes  # 16, random
    name: str
    access: Access
    templates: tuple[Template, ...]
    negatives: tuple[Template, ...]  # faces that were taken for this person and are not


class Profile(msgspec.Struct, frozen=True):
    """What of a person is sealed in one piece."""

    name: str
    access: Access

    def pack(self) -> bytes:
        """As bytes, padded."""
        text = msgspec.json.encode(self)
        return text.ljust(-(-len(text) // PADDED_TO) * PADDED_TO)


class Sealed(msgspec.Struct, frozen=True):
    """What of a template is sealed."""

    enrolled_at: datetime
    embedding: bytes  # (D,) little-endian float32
    negative: bool = False
    portrait: bytes = b""  # id of the one that it was made of

    def template(self, model: str) -> Template:
        """With the model that stands beside it."""
        return Template(model, self.enrolled_at, np.frombuffer(self.embedding, "<f4").astype(np.float32))


def checked_name(name: str) -> str:
    """`name` in its composed form (Unicode NFC), found again however it is typed; raises Usage if it is no name."""
    name = unicodedata.normalize("NFC", name).strip()
    if not (0 < len(name) <= NAME_LENGTH and name.isprintable()) or name in FOLDED:
        raise Usage(
            f"{name[:NAME_LENGTH]!r} is no name: a name has 1 to {NAME_LENGTH} printable characters, "
            'and is not "." or ".."'
        )
    return name
