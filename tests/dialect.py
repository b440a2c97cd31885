"""One dialect for all engines of a process, so that a statement is compiled once for all tests.

Every test has engines of its own, and SQLAlchemy keeps what it has compiled by engine and by dialect: compiling anew
took a third of a test's time. All servers of tests are alike, and so is what is compiled for them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from sqlalchemy import create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.util import LRUCache

from base import db
from base.vault import CLOSED, Vault

STATEMENTS: Final = 2000
"""So many are kept, twice as many as there are in the product."""


class SharedDialect(PGDialect_psycopg):
    """Equal to every other of its kind, wherever it connects to; so all have one vault, the last that was given."""

    supports_statement_cache = True
    _vault = CLOSED

    @property
    def latebind_vault(self) -> Vault:
        """What seals and opens for all engines of this process."""
        return SharedDialect._vault

    @latebind_vault.setter
    def latebind_vault(self, vault: Vault) -> None:
        if vault.numbers:
            SharedDialect._vault = vault

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedDialect)

    def __hash__(self) -> int:
        return hash(SharedDialect)


def share() -> None:
    """Have all engines of this process that are made from now on keep what they compile in one place."""
    registry.register("postgresql.psycopg", __name__, SharedDialect.__name__)
    compiled: Any = LRUCache(STATEMENTS)
    db.create_engine = partial(create_engine, execution_options={"compiled_cache": compiled})  # type: ignore[attr-defined]
