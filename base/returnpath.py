"""The envelope sender of a mail: where mail servers send it back, with the delivery sealed in the local part (VERP).

Local part: `b` and 53 characters of base32 = key id (1 byte) ‖ AES-SIV(profile 8, campaign 4, occurrence 4 bytes), with
the keys of all tokens and a purpose of its own. Base32, because servers on the way may change capitals; 54 characters,
because more than 64 are not allowed (RFC 5321 §4.5.3.1.1). AES-SIV is deterministic: every try of a mail has the same
sender, which greylisting wants, and nobody but us can make or read one.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from base.errors import BadToken
from base.ids import Delivery
from base.settings import Settings

_PURPOSE: Final = [b"return-path"]
_BODY: Final = struct.Struct(">QII")
_LOCAL: Final = re.compile(r"b[a-z2-7]{53}")
_PADDING: Final = "==="


class ReturnPaths:
    """Mints and reads envelope senders at one domain. An empty domain: mails have no such sender."""

    def __init__(self, keys: Mapping[int, bytes], domain: str) -> None:
        self._ciphers = {number: AESSIV(key) for number, key in keys.items()}
        self._current = list(keys)[-1]
        self.domain = domain.lower()

    @classmethod
    def from_settings(cls, settings: Settings) -> ReturnPaths:
        """Those of LATEBIND_TOKEN_KEYS and LATEBIND_BOUNCE_DOMAIN."""
        return cls(settings.token_keys, settings.bounce_domain)

    def mint(self, delivery: Delivery) -> str | None:
        """The envelope sender of a delivery, the same one at every try; None without a domain."""
        if not self.domain:
            return None
        body = _BODY.pack(delivery.profile, delivery.campaign, delivery.occurrence)
        raw = bytes([self._current]) + self._ciphers[self._current].encrypt(body, _PURPOSE)
        return f"b{base64.b32encode(raw).decode().rstrip('=').lower()}@{self.domain}"

    def is_like(self, address: str) -> bool:
        """Whether an address has the form of our envelope senders, ours or not."""
        local, _, domain = _parts(address)
        return bool(self.domain) and domain == self.domain and bool(_LOCAL.fullmatch(local))

    def read(self, address: str) -> Delivery:
        """The delivery of an envelope sender, in whatever capitals. Raises BadToken for one that we did not mint."""
        if not self.is_like(address):
            raise BadToken
        local = _parts(address)[0]
        try:
            raw = base64.b32decode(local[1:].upper() + _PADDING)
            body = self._ciphers[raw[0]].decrypt(raw[1:], _PURPOSE)
        except (binascii.Error, KeyError, InvalidTag):
            raise BadToken from None
        return Delivery(*_BODY.unpack(body))


def _parts(address: str) -> tuple[str, str, str]:
    return address.strip().strip("<>").lower().rpartition("@")
