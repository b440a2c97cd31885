"""Upgrades beside processes of the version before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic import command

from base.clock import monotonic, pause
from base.embedded import PostgresServer
from workers import migration

WRITTEN = ("decision", "fetch", "click", "anonymous_fetch")
"""The tables that a recorder writes, in its order."""


@pytest.fixture
def old(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database whose opens are not counted yet."""
    url = postgres.url.rsplit("/", 1)[0] + "/before_counts"
    server = postgres.url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE before_counts TEMPLATE template0")
        command.upgrade(migration._config(url), "0034")
        yield url
        connection.execute("DROP DATABASE before_counts WITH (FORCE)")


def test_it_has_an_upgrade_and_a_recorder_wait_for_each_other_in_one_order(old: str) -> None:
    waiting = """
        SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE NOT l.granted AND d.datname = 'before_counts'
    """
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(old.replace("postgresql+psycopg", "postgresql")) as recorder,
        psycopg.connect(old.replace("postgresql+psycopg", "postgresql"), autocommit=True) as watcher,
    ):
        recorder.execute(f"LOCK TABLE {WRITTEN[0]} IN ROW EXCLUSIVE MODE")
        upgrade = pool.submit(command.upgrade, migration._config(old), "0035")
        until = monotonic() + 60
        while watcher.execute(waiting).fetchone() == (0,):
            assert monotonic() < until
            assert not upgrade.done()
            pause(0.01)
        for table in WRITTEN[1:]:
            recorder.execute(f'LOCK TABLE "{table}" IN ROW EXCLUSIVE MODE')
        recorder.commit()
        upgrade.result(60)
        assert watcher.execute("SELECT version_num FROM alembic_version").fetchone() == ("0035",)
