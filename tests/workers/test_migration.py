"""Upgrades beside processes of the version before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command

from base.clock import monotonic, pause
from base.embedded import PostgresServer
from migrations import traffic
from tests.databases import VAULT
from tests.workers.test_sealing_upgrade import upgraded
from workers import migration

ROOT = Path(__file__).parents[2]
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


TELL = """
    INSERT INTO event (message_id, source_id, profile_id, type, name, event_time, received_at, order_id, content_hash,
                       folds, body)
    VALUES (%s, 1, 1, 'track', %s, %s, now(), %s, '', true, '')
"""
ORDERS = ("o1", "o2", "o3")
BOUGHT = (
    ("INSERT INTO profile (id, root_id, created_at) VALUES (1, 1, now())", ()),
    *((TELL, (f"{order} bought", "Order Completed", "2026-03-01Z", order)) for order in ORDERS),
    *((TELL, (f"{order} cancelled", "Order Cancelled", "2026-03-02Z", order)) for order in ORDERS),
)
HOLD = """
    CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN new; END';
    CREATE TRIGGER held BEFORE UPDATE ON event FOR EACH ROW WHEN (old.order_id = 'o2') EXECUTE FUNCTION held();
"""
HELD = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_event_order_number'::regclass"


ASKING = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%advisory%%' AND pid <> pg_backend_pid()"
"""Another migrator has asked for its turn."""
SECOND = """
import sys
from tests.databases import VAULT
from workers.migration import migrate
migrate(sys.argv[1], VAULT, b"", "0056")
"""


def opened(url: str) -> psycopg.Connection:
    """A session that waits half a minute for a lock and then says so, as no upgrade may keep anybody so long."""
    options = "-c lock_timeout=30s"
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True, options=options)


def until(found: Callable[[], object]) -> None:
    """Wait until something is found."""
    end = monotonic() + 60
    while not found():
        assert monotonic() < end
        pause(0.01)


def upgrade(url: str, revision: str) -> None:
    migration.migrate(url, VAULT, b"", revision)


def works(there: psycopg.Connection, number: int) -> None:
    """Signals can be read and taken."""
    assert there.execute("SELECT count(*) FROM event").fetchone() == (2 * len(ORDERS) + number,)
    there.execute(TELL, (f"meanwhile {number}", "Product Viewed", "2026-03-03Z", None))


def test_it_fills_stored_signals_in_pieces_while_others_come(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "PIECE", 1)
    with upgraded(postgres, "0056", BOUGHT) as url, opened(url) as there, opened(url) as holder:
        there.execute(HOLD)
        holder.execute("SELECT pg_advisory_lock(7)")
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(upgrade, url, "0057")
            until(lambda: there.execute(HELD, (there.info.dbname,)).fetchone())
            try:
                works(there, 0)
                assert there.execute("SELECT order_id FROM event WHERE void").fetchall() == [("o1",)]
            finally:
                there.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM ({HELD}) AS h", (there.info.dbname,))
            with pytest.raises(sa.exc.SQLAlchemyError):
                killed.result(60)
        assert there.execute("SELECT version_num FROM alembic_version").fetchone() == ("0056",)
        holder.execute("SELECT pg_advisory_unlock(7)")
        upgrade(url, "0057")
        assert there.execute("SELECT order_id FROM event WHERE void ORDER BY id").fetchall() == [(o,) for o in ORDERS]


def test_it_builds_an_index_on_stored_signals_while_others_come(postgres: PostgresServer) -> None:
    with upgraded(postgres, "0055", BOUGHT) as url, opened(url) as there, opened(url) as reader:
        with ThreadPoolExecutor(1) as pool, reader.transaction():
            # The index is not finished before who read when it was begun is done.
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM profile")
            killed = pool.submit(upgrade, url, "0056")
            until(lambda: there.execute(HELD, (there.info.dbname,)).fetchone())
            works(there, 0)
            there.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM ({HELD}) AS h", (there.info.dbname,))
            with pytest.raises(sa.exc.SQLAlchemyError):
                killed.result(60)
        assert there.execute(INDEX).fetchone() == (False,)
        upgrade(url, "0056")
        assert there.execute(INDEX).fetchone() == (True,)


def test_it_lets_others_through_while_it_waits_for_a_long_report(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "BREATH_SECONDS", 0.1)
    with (
        upgraded(postgres, "0055", BOUGHT) as url,
        opened(url) as there,
        opened(url) as report,
        ThreadPoolExecutor(1) as pool,
    ):
        with report.transaction():
            report.execute("SELECT count(*) FROM event")
            upgrading = pool.submit(upgrade, url, "0056")
            until(lambda: there.execute(HELD, (there.info.dbname,)).fetchone())
            for number in range(3):
                works(there, number)
            assert not upgrading.done()
        upgrading.result(60)


def test_a_second_migrator_does_not_hold_up_an_index_that_the_first_builds(postgres: PostgresServer) -> None:
    with (
        upgraded(postgres, "0055", BOUGHT) as url,
        opened(url) as there,
        opened(url) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        with reader.transaction():
            # The first waits before its index, so that the second is there when that is built.
            reader.execute("SELECT count(*) FROM event")
            first = pool.submit(upgrade, url, "0056")
            until(lambda: there.execute(HELD, (there.info.dbname,)).fetchone())
            second = subprocess.Popen([sys.executable, "-c", SECOND, url], cwd=ROOT)
            until(lambda: there.execute(ASKING, (there.info.dbname,)).fetchone())
        first.result(60)
        assert second.wait(60) == 0
        assert there.execute(INDEX).fetchone() == (True,)
