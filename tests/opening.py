"""Rows of plain statements, with what is sealed in them opened, so that tests may look at what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Row

from base.sealed import SealedBytes
from base.sealing import Unsealable
from base.vault import Vault
from tests.databases import VAULT
from workers.migration import all_tables


def opened(rows: Iterable[Row[Any]], vault: Vault = VAULT) -> list[Any]:
    """The rows as tuples by name; a cell that is sealed as a column of its name is, is opened."""
    found: list[Any] = []
    for row in rows:
        fields = row._fields
        found.append(_with(row, [_cell(name, value, vault) for name, value in zip(fields, row, strict=True)]))
    return found


@cache
def sealed_columns() -> dict[str, list[SealedBytes]]:
    """The types of all sealed columns of the models, by column name."""
    found: dict[str, list[SealedBytes]] = {}
    for table in all_tables().tables.values():
        for column in table.columns:
            if isinstance(column.type, SealedBytes):
                found.setdefault(column.name, []).append(column.type)
    return found


def _cell(name: str, value: Any, vault: Vault) -> Any:
    if isinstance(value, bytes):
        for kind in sealed_columns().get(name, ()):
            try:
                return kind.read(vault.open(value, kind.place))
            except Unsealable:
                continue
    return value


def _with(row: Row[Any], values: Sequence[Any]) -> Row[Any]:
    """The row with other values, still to be read by name and by place."""
    return Row(row._parent, None, row._key_to_index, values)
