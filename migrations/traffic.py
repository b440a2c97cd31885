"""Changing tables that others read and write meanwhile, in steps that nobody waits long for.

Each step is committed by itself, before the revision is: one that was ended halfway is begun again from its start, and
what is done already is left as it is. Nothing else of a revision may come before these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from psycopg.errors import DeadlockDetected, LockNotAvailable

from base.clock import pause

WAIT_MS: Final = 500
"""How long a step waits for a lock. Whoever comes after it waits behind it, so it steps back then."""
BREATH_SECONDS: Final = 2.0
"""How long it lets others through before it tries again."""
TRIES: Final = 2_000
"""An hour and some: a dump or a report that reads a table holds a step up for as long as it runs."""
PIECE: Final = 10_000
"""Rows that are filled at once, and locked for as long as that takes."""


def add_columns(table: str, *columns: sa.Column[Any]) -> None:
    """Add those of the columns that are not there. Raises OperationalError when the table is in use for an hour."""

    def add(column: sa.Column[Any]) -> None:
        op.add_column(table, column, if_not_exists=True)

    with op.get_context().autocommit_block():
        for column in columns:
            _patiently(lambda column=column: add(column))  # type: ignore[misc]


def create_index(name: str, table: str, columns: Sequence[str | sa.TextClause], **options: Any) -> None:
    """Build an index while its table is written; what is there by its name goes first, as it may be half of one."""
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), postgresql_concurrently=True, **options)


def run(*statements: str) -> None:
    """Run statements that ask for the whole of a table for a moment, each committed by itself; any may have been run
    before. Raises OperationalError when the table is in use for an hour."""
    with op.get_context().autocommit_block():
        for statement in statements:
            _patiently(lambda statement=statement: op.execute(statement))  # type: ignore[misc]


def fill(table: str, *statements: str, key: str = "id") -> None:
    """Run the statements over the rows that are there, one piece after the other: those with `:after` < key <= `:upto`.

    Each statement is committed by itself, and may meet rows that it has filled before. Raises OperationalError when
    rows are locked by others for an hour.
    """
    rows = sa.table(table, sa.column(key, sa.BigInteger))
    number = rows.c[key]
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        last = bind.scalar(sa.select(sa.func.max(number))) or 0
        after = 0
        while after < last:
            piece = sa.select(number).where(number > after).order_by(number).limit(PIECE).subquery()
            upto = min(last, bind.scalar(sa.select(sa.func.max(piece.c[key]))) or last)
            for statement in statements:
                filling = sa.text(statement).bindparams(_bound("after", after), _bound("upto", upto))
                _patiently(lambda filling=filling: bind.execute(filling))  # type: ignore[misc]
            after = upto


def _bound(name: str, value: int) -> sa.BindParameter[int]:
    """Written into the statement, so that each piece is planned as what it is, a small part of the table."""
    return sa.bindparam(name, value, sa.BigInteger, literal_execute=True)


def _patiently(step: Callable[[], object]) -> None:
    op.execute(f"SET lock_timeout = {WAIT_MS}")
    for left in reversed(range(TRIES)):
        try:
            step()
            break
        except sa.exc.DBAPIError as error:
            if not left or not isinstance(error.orig, DeadlockDetected | LockNotAvailable):
                raise
            pause(BREATH_SECONDS)
    op.execute("RESET lock_timeout")
