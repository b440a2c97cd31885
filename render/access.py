"""API keys as an open knows them: `key:<id>` in the hot store, written where keys are issued and revoked.

A key's text is `<id>.<secret>`; only the secret's SHA-256 is kept anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from threading import Lock
from typing import Final, Literal

import hiredis
import msgspec

from base import keys
from base.clock import monotonic
from base.errors import UNREADABLE, Unavailable
from render.wire import Hot

HELD_SECONDS: Final = 0.9
MAX_HELD: Final = 1000
MAX_KEY: Final = 200


class KeyFacts(msgspec.Struct, frozen=True, array_like=True):
    """What a key may do. `kind` server acts for us; a site key is public and only good from its origins."""

    kind: Literal["server", "site"]
    secret_sha256: bytes
    origins: tuple[str, ...] = ()


encode_key: Final = msgspec.msgpack.Encoder().encode
"""The bytes of `KeyFacts`, as whoever issues a key writes them to `base.keys.api_key(id)`; revoking deletes the key."""
_decode: Final = msgspec.msgpack.Decoder(KeyFacts).decode


class Keyring:
    """Checks keys; each is held in process for less than a second. For many threads."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._held: OrderedDict[str, tuple[float, KeyFacts | None]] = OrderedDict()
        self._lock = Lock()

    def read(self, authorization: str) -> KeyFacts | None:
        """The key of an `Authorization: Bearer` header, None if it is none of ours. Raises Unavailable."""
        scheme, _, text = authorization.partition(" ")
        key_id, _, secret = text.strip().partition(".")
        if scheme.lower() != "bearer" or not secret or len(text) > MAX_KEY or not key_id.isalnum():
            return None
        facts = self._facts(key_id)
        if facts is None:
            return None
        given = hashlib.sha256(secret.encode()).digest()
        return facts if hmac.compare_digest(given, facts.secret_sha256) else None

    def _facts(self, key_id: str) -> KeyFacts | None:
        now = monotonic()
        with self._lock:
            held = self._held.get(key_id)
        if held is not None and now - held[0] < HELD_SECONDS:
            return held[1]
        try:
            (data,) = self._hot.call(("GET", keys.api_key(key_id)))
            facts = _decode(data) if data is not None else None
        except UNREADABLE:
            facts = None
        except hiredis.ReplyError as error:
            raise Unavailable("Valkey") from error
        with self._lock:
            self._held[key_id] = (now, facts)
            self._held.move_to_end(key_id)
            while len(self._held) > MAX_HELD:
                self._held.popitem(last=False)
        return facts
