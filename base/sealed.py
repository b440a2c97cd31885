"""Columns whose content is sealed: bytes in PostgreSQL, text, JSON or bytes in Python.

Each is declared with its place, `table.column`, and sealed by the vault of the engine it goes through (base/vault.py).
SQL cannot look into such a column. A statement of our own names the type of what it reads by `text(…).columns(…)`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator

from base.vault import vault_of


class SealedBytes(TypeDecorator[Any]):
    """Bytes, sealed; `place` is the column's table and name, which are authenticated with every value."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> bytes | None:
        """The value as it is stored. Raises SettingError without keys."""
        return None if value is None else vault_of(dialect).seal(self.written(value), self.place)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any | None:
        """The value as it was given. Raises SettingError where its key is not given, Unsealable."""
        return None if value is None else self.read(vault_of(dialect).open(bytes(value), self.place))

    def written(self, value: Any) -> bytes:
        """The content's bytes."""
        return bytes(value)

    def read(self, content: bytes) -> Any:
        """The content of these bytes."""
        return content


class SealedText(SealedBytes):
    """Text, sealed."""

    cache_ok = True

    def written(self, value: str) -> bytes:
        return value.encode()

    def read(self, content: bytes) -> str:
        return content.decode()


class SealedJson(SealedBytes):
    """A JSON value, sealed; None is no value, not JSON's null."""

    cache_ok = True

    def written(self, value: Any) -> bytes:
        return msgspec.json.encode(value)

    def read(self, content: bytes) -> Any:
        return msgspec.json.decode(content)
