"""The vault: seals what the database keeps of people with AES-256-GCM, under numbered keys of the environment.

Sealed form: number of the key (1 byte) ‖ nonce (12) ‖ ciphertext and tag. The place of the content, `table.column`, is
authenticated with it, so that what was sealed for one column opens in no other. The newest key seals, all open, so keys
are rotated by adding one and sealing what is stored anew (`latebind rekey`). The nonce is random; a key may seal 2^32
values before the chance of a repeat reaches 2^-32 (NIST SP 800-38D §8.3), and is to be replaced before that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Dialect, Engine
from sqlalchemy.orm import Session

from base.errors import SettingError
from base.sealing import Unsealable
from base.settings import PREFIX, Settings

VARIABLE: Final = f"{PREFIX}PII_KEYS"
_NONCE_BYTES: Final = 12
_LEAST_BYTES: Final = 1 + _NONCE_BYTES + 16


class Vault:
    """Seals with the last of the keys and opens with all of them; 32-byte keys by number (0 to 255), for many threads.

    Without any key it is closed: whoever needs it learns which setting is missing.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self.keys = dict(keys)
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        self._newest = list(keys)[-1] if keys else None
        self._mark = bytes((self._newest,)) if self._newest is not None else b""

    @classmethod
    def of(cls, settings: Settings) -> Vault:
        """The keys of LATEBIND_PII_KEYS."""
        return cls(settings.pii_keys)

    @property
    def newest(self) -> int:
        """The number of the key that seals. Raises SettingError without keys."""
        if self._newest is None:
            raise SettingError(VARIABLE, "must be set")
        return self._newest

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the keys there are, the newest last."""
        return tuple(self._ciphers)

    def seal(self, content: bytes, place: str) -> bytes:
        """The content sealed for a place, such as "identifier.value". Raises SettingError without keys."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._mark + nonce + self._ciphers[self.newest].encrypt(nonce, content, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """The content. Raises SettingError where the key that sealed it is not given, Unsealable."""
        if len(sealed) < _LEAST_BYTES:
            raise Unsealable(place)
        cipher = self._ciphers.get(sealed[0])
        if cipher is None:
            raise SettingError(VARIABLE, f"must hold key {sealed[0]}, under which the database holds what it keeps")
        try:
            return cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], place.encode())
        except InvalidTag:
            raise Unsealable(place) from None

    def resealed(self, sealed: bytes, place: str) -> bytes:
        """The same content under the newest key. Raises as `open` does."""
        return self.seal(self.open(sealed, place), place)


CLOSED: Final = Vault({})
"""The vault of whoever was given no keys."""

_HELD: Final = "latebind_vault"
"""The attribute of an engine's dialect, which is all that the type of a column is told when it reads or writes."""
_WATCH: Final = "latebind_watch"


def give(engine: Engine, vault: Vault) -> None:
    """Have everything that goes through an engine sealed and opened by this vault."""
    setattr(engine.dialect, _HELD, vault)


def watch(engine: Engine, ask: Callable[[], None]) -> None:
    """Have `ask` called before every transaction of this engine (base/db.py): what it raises hinders that one."""
    setattr(engine.dialect, _WATCH, ask)


def ask_watch(engine: Engine) -> None:
    """Call what watches over this engine, if anything does. Raises what that raises."""
    ask: Callable[[], None] | None = getattr(engine.dialect, _WATCH, None)
    if ask is not None:
        ask()


def vault_of(bind: Session | Connection | Engine | Dialect) -> Vault:
    """The vault of a session, connection, engine or its dialect; a closed one where none was given."""
    dialect = bind if isinstance(bind, Dialect) else _dialect(bind)
    vault: Vault = getattr(dialect, _HELD, CLOSED)
    return vault


def _dialect(bind: Session | Connection | Engine) -> Dialect:
    return bind.get_bind().dialect if isinstance(bind, Session) else bind.dialect
