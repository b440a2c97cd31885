"""Keys of the embedded mode: made once under `var/secrets` (mode 0600), handed to child processes by environment.

In production the keys are set as LATEBIND_TOKEN_KEYS and so on and nothing is written.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

from base.settings import Settings
from base.values import KEY_BYTES, TOKEN_KEY_BYTES

PASSWORD_BYTES = 24
"""Random bytes of an embedded server's password."""


def with_generated_keys(settings: Settings) -> Settings:
    """The settings with every key that was not set taken from `var/secrets`, made there on first use."""
    folder = settings.var / "secrets"

    def key(name: str, present: bytes) -> bytes:
        return present or bytes.fromhex(secret(folder, name, KEY_BYTES))

    return replace(
        settings,
        token_keys=settings.token_keys or {1: bytes.fromhex(secret(folder, "token_key_1", TOKEN_KEY_BYTES))},
        pii_keys=settings.pii_keys or {1: bytes.fromhex(secret(folder, "pii_key_1", KEY_BYTES))},
        record_key=key("record_key", settings.record_key),
        subject_key=key("subject_key", settings.subject_key),
        session_key=key("session_key", settings.session_key),
        hash_key=key("hash_key", settings.hash_key),
    )


def secret(folder: Path, name: str, size: int) -> str:
    """The named secret as hexadecimal text, made of `size` random bytes on first use.

    Two processes that make it at once agree: the file appears whole, by link, and the first one wins.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        draft = folder / f".{name}.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(size))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
