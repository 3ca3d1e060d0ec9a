"""AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce in front, bound to where the ciphertext stands."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
SEAL_BYTES = NONCE_BYTES + 16  # what a ciphertext is longer than its text


class Unreadable(Exception):
    """A ciphertext that was not made with this key for this place: damaged, moved, or of another."""


def new_key() -> bytes:
    """A random data key, 32 bytes."""
    return AESGCM.generate_key(8 * KEY_BYTES)


def seal(key: bytes, plain: bytes, *bound: bytes) -> bytes:
    """Encrypt `plain`; it opens only with the same `bound`: the table, the row, the person, the model."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, _joined(bound))


def unseal(key: bytes, sealed: bytes, *bound: bytes) -> bytes:
    """What was sealed. Raises Unreadable."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _joined(bound))
    except (InvalidTag, ValueError) as error:
        raise Unreadable("it does not decrypt") from error


def _joined(bound: tuple[bytes, ...]) -> bytes:
    """Each part behind its length, so that no two lists of parts are the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in bound)
