"""Sealing bytes with AES-256-GCM: the record stream, the spool, per-person keys, personal parts of records.

Sealed form: version 1 (1 byte) ‖ nonce (12) ‖ ciphertext and tag. The nonce is random; a key may seal 2^32 messages
before the chance of a repeat reaches 2^-32 (NIST SP 800-38D §8.3), so keys are rotated well before that.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from base.errors import LatebindError

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


class Unsealable(LatebindError):
    """Sealed bytes that this key and purpose do not open: another key, another purpose, or tampered with.

    `place` is the column that they are from, where that is known.
    """

    def __init__(self, place: str = "") -> None:
        self.place = place
        where = f" of {place}" if place else ""
        super().__init__(f"The sealed bytes{where} cannot be opened with this key for this purpose.")


class Sealer:
    """Seals and opens with one 32-byte key; keeps the prepared cipher, for many threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("the key must have 32 bytes")
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, purpose: bytes) -> bytes:
        """The sealed content; `purpose` is authenticated, not stored, and must be given again to open."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, content, purpose)

    def open(self, sealed: bytes, purpose: bytes) -> bytes:
        """The content. Raises Unsealable."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_BYTES + 16:
            raise Unsealable
        try:
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], purpose)
        except InvalidTag:
            raise Unsealable from None


def seal(content: bytes, key: bytes, purpose: bytes) -> bytes:
    """Seal once with a key; see Sealer."""
    return Sealer(key).seal(content, purpose)


def unseal(sealed: bytes, key: bytes, purpose: bytes) -> bytes:
    """Open once with a key; raises Unsealable."""
    return Sealer(key).open(sealed, purpose)


def new_key() -> bytes:
    """A fresh 32-byte key."""
    return os.urandom(KEY_BYTES)


def wrap_key(key: bytes, wrapping_key: bytes, owner: str) -> bytes:
    """A per-person key sealed for storage; bound to its owner, so two rows cannot be swapped."""
    return seal(key, wrapping_key, f"key:{owner}".encode())


def unwrap_key(wrapped: bytes, wrapping_key: bytes, owner: str) -> bytes:
    """The key that `wrap_key` sealed for this owner. Raises Unsealable."""
    return unseal(wrapped, wrapping_key, f"key:{owner}".encode())
