"""Columns whose content is sealed: bytes in PostgreSQL, text, JSON or bytes in Python.

Each is declared with its place, `table.column`, and sealed by the vault of the engine it goes through (base/vault.py).
SQL cannot look into such a column. A statement of our own names the type of what it reads by `text(…).columns(…)`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator

from base.vault import vault_of

Content = TypeVar("Content")


class Sealed(TypeDecorator[Content]):
    """A sealed column; `place` is its table and name, which are authenticated with every value."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Content | None, dialect: Dialect) -> bytes | None:
        """The value as it is stored. Raises SettingError without keys."""
        return None if value is None else vault_of(dialect).seal(self.written(value), self.place)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Content | None:
        """The value as it was given. Raises SettingError where its key is not given, Unsealable."""
        return None if value is None else self.read(vault_of(dialect).open(bytes(value), self.place))

    def written(self, value: Content) -> bytes:
        """The content's bytes."""
        raise NotImplementedError

    def read(self, content: bytes) -> Content:
        """The content of these bytes."""
        raise NotImplementedError


class SealedBytes(Sealed[bytes]):
    """Bytes, sealed."""

    cache_ok = True

    def written(self, value: bytes) -> bytes:
        return value

    def read(self, content: bytes) -> bytes:
        return content


class SealedText(Sealed[str]):
    """Text, sealed."""

    cache_ok = True

    def written(self, value: str) -> bytes:
        return value.encode()

    def read(self, content: bytes) -> str:
        return content.decode()


class SealedJson(Sealed[Any]):
    """A JSON value, sealed; None is no value, not JSON's null."""

    cache_ok = True

    def written(self, value: Any) -> bytes:
        return msgspec.json.encode(value)

    def read(self, content: bytes) -> Any:
        return msgspec.json.decode(content)
