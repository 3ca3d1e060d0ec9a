"""The hash chain: each row is bound to the one before it, and signed.

A row holds when, where, what, and the SHA-256 of what else there is to it (a ciphertext, or a public note), so that
this can be erased and the chain stays whole. Signatures are Ed25519 (RFC 8032).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VERSION = b"framewire chain 1"
ORDER = b"framewire order 1"
FIRST = bytes(32)  # what the first row follows


class Row(NamedTuple):
    """One row, in the order of the table's columns."""

    seq: int  # from 1, without gaps
    at_ns: int  # wall clock
    camera: str
    kind: str
    digest: bytes  # SHA-256 of the ciphertext or the note
    hash: bytes
    signature: bytes


def row_hash(previous: bytes, seq: int, at_ns: int, camera: str, kind: str, digest: bytes) -> bytes:
    """SHA-256 over all of a row and the hash of the one before; lengths keep the parts apart."""
    texts = [text.encode() for text in (camera, kind)]
    parts = [
        VERSION,
        previous,
        seq.to_bytes(8, "big"),
        at_ns.to_bytes(8, "big", signed=True),
        *(len(text).to_bytes(4, "big") + text for text in texts),
        digest,
    ]
    return hashlib.sha256(b"".join(parts)).digest()


def link(signer: Ed25519PrivateKey, previous: Row | None, at_ns: int, camera: str, kind: str, digest: bytes) -> Row:
    """The row that follows `previous`."""
    seq = previous.seq + 1 if previous else 1
    hashed = row_hash(previous.hash if previous else FIRST, seq, at_ns, camera, kind, digest)
    return Row(seq, at_ns, camera, kind, digest, hashed, signer.sign(hashed))


def order_bytes(decided: bytes, id_: str, door: str, boot: str, expires_ns: int, seconds: float) -> bytes:
    """What is signed of a door's order: all that counts of it, with the hash of the decision's row."""
    return ORDER + msgspec.json.encode((decided.hex(), id_, door, boot, expires_ns, seconds))


def signed(public: bytes, content: bytes, signature: bytes) -> bool:
    """Whether `signature` is of `content`, by the owner of the public key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True
