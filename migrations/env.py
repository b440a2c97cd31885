"""Run by Alembic. The caller (workers/migration.py) hands over the address and the tables' metadata."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from base.clock import pause

LOCK = 0x6C617465
"""Advisory lock of all migrators, so that two hosts that start at once migrate one after the other ("late")."""
TURN_SECONDS = 0.2
"""How often a migrator looks whether it is its turn."""


def _run() -> None:
    attributes = context.config.attributes
    engine = create_engine(attributes["url"], poolclass=pool.NullPool, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        # An index that is built beside writers waits for every statement that runs: one that waits here would not end.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
            connection.commit()
            pause(TURN_SECONDS)
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=attributes.get("metadata"),
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


_run()
