"""Names and rules in the rows of a gallery, sealed. What does not open raises Unreadable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stages.gallery import faces
from stages.gallery.database import Connection
from stages.gallery.faces import Owner
from stages.gallery.people import Access, Person, Profile
from stages.gallery.sealing import seal, unseal


def person(owner: Owner, sealed: bytes, templates: Sequence[Sequence[Any]]) -> Person:
    """Out of what a row of people has, and `templates` (id, model, sealed)."""
    profile, kept = opened(owner, sealed), faces.opened(owner, templates)
    own, others = (tuple(one.template(of) for of, one in kept if one.negative is kind) for kind in (False, True))
    return Person(owner[0], profile.name, profile.access, own, others)


def opened(owner: Owner, sealed: bytes) -> Profile:
    """The profile in a row of people."""
    id_, key = owner
    return msgspec.json.decode(unseal(key, sealed, b"people", id_), type=Profile)


def packed(owner: Owner, name: str, access: Access) -> bytes:
    """What a row of people keeps of somebody's name and rules."""
    id_, key = owner
    return seal(key, Profile(name, access).pack(), b"people", id_)


def set_access(rows: Connection, owner: Owner, name: str, access: Access) -> None:
    """Replace the rules of somebody called `name`."""
    rows.execute("UPDATE people SET sealed = ? WHERE id = ?", (packed(owner, name, access), owner[0]))
