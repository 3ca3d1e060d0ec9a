"""Templates and portraits of one person in the rows of a gallery. What does not open raises Unreadable."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.gallery.database import Connection
from stages.gallery.keyfile import ID_BYTES
from stages.gallery.people import Portrait, Sealed
from stages.gallery.sealing import seal, unseal

Owner = tuple[bytes, bytes]  # a person's id and key


def keep_portrait(rows: Connection, owner: Owner, portrait: Portrait) -> bytes:
    """Its id."""
    (person, key), row = owner, secrets.token_bytes(ID_BYTES)
    sealed = seal(key, msgspec.msgpack.encode(portrait), b"portraits", row, person)
    rows.execute("INSERT INTO portraits VALUES (?, ?, ?)", (row, person, sealed))
    return row


def keep_template(
    rows: Connection,
    owner: Owner,
    model: str,
    embedding: NDArray[np.float32],
    *,
    portrait: bytes = b"",
    negative: bool = False,
) -> None:
    """An `embedding` (D,) of unit length, and the id of the portrait that it was made of."""
    (person, key), row = owner, secrets.token_bytes(ID_BYTES)
    now = datetime.now(UTC).replace(microsecond=0)
    kept = msgspec.msgpack.encode(Sealed(now, embedding.astype("<f4").tobytes(), negative, portrait))
    sealed = seal(key, kept, b"templates", row, person, model.encode())
    rows.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", (row, person, model, sealed))


def keep_negative(
    rows: Connection, owner: Owner, model: str, embedding: NDArray[np.float32], portrait: Portrait
) -> None:
    """The face (D,) of somebody else, and its portrait."""
    keep_template(rows, owner, model, embedding, portrait=keep_portrait(rows, owner, portrait), negative=True)


def templates(rows: Connection, owner: Owner) -> list[tuple[str, Sealed]]:
    """Model and content of each, the oldest first."""
    query = "SELECT id, model, sealed FROM templates WHERE person = ? ORDER BY rowid"
    return opened(owner, rows.execute(query, (owner[0],)).fetchall())


def opened(owner: Owner, found: Sequence[Sequence[Any]]) -> list[tuple[str, Sealed]]:
    """The same, out of rows that were `found` already: id, model, sealed."""
    person, key = owner
    return [
        (model, msgspec.msgpack.decode(unseal(key, raw, b"templates", row, person, model.encode()), type=Sealed))
        for row, model, raw in found
    ]


def portraits(rows: Connection, owner: Owner) -> dict[bytes, Portrait]:
    """All of them by their id, those of others who were taken for this person, too."""
    person, key = owner
    found = rows.execute("SELECT id, sealed FROM portraits WHERE person = ?", (person,)).fetchall()
    return {
        row: msgspec.msgpack.decode(unseal(key, sealed, b"portraits", row, person), type=Portrait)
        for row, sealed in found
    }
