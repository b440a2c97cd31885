from __future__ import annotations

import socket
import struct

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from base import db
from base.clock import monotonic, pause
from base.embedded import PostgresServer
from base.errors import Busy, Unavailable
from base.processes import free_port


def test_it_commits_what_a_block_did_and_rolls_back_what_failed(engine: Engine, sessions: db.Sessions) -> None:
    with db.transaction(sessions) as session:
        session.execute(text("CREATE TABLE seen (n int)"))
        session.execute(text("INSERT INTO seen VALUES (1)"))
    with pytest.raises(ProgrammingError), db.transaction(sessions) as session:
        session.execute(text("INSERT INTO seen VALUES (2); SELECT no_such_column"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT array_agg(n) FROM seen")).scalar() == [1]


@pytest.mark.parametrize("numbers", [[], [7], [-(2**63), -1, 0, 2**63 - 1]])
def test_numbers_arrive_as_they_are(engine: Engine, numbers: list[int]) -> None:
    asked = text("SELECT pg_typeof(:given)::text, :given, coalesce(cardinality(:given), 0), 7 = ANY(:given)")
    with engine.connect() as connection:
        row = connection.execute(asked, {"given": db.Numbers(numbers)}).one()
    assert tuple(row) == ("bigint[]", numbers, len(numbers), 7 in numbers)


def test_a_number_that_takes_more_than_eight_bytes_is_refused(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(struct.error):
        connection.execute(text("SELECT :given"), {"given": db.Numbers([2**63])})


@pytest.mark.parametrize("texts", [[], ["NULL", "", "{a,b}", 'she said "no"', "back\\slash", "Zoë\n"]])
def test_texts_arrive_as_they_are(engine: Engine, texts: list[str]) -> None:
    with engine.connect() as connection:
        row = connection.execute(text("SELECT CAST(:given AS text[])"), {"given": db.Texts(texts)}).one()
    assert tuple(row) == (texts,)


def test_it_bounds_how_long_a_statement_may_take(database_url: str) -> None:
    engine = db.connect(database_url, statement_ms=100)
    with engine.connect() as connection, pytest.raises(OperationalError, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_it_is_busy_where_others_hold_a_lock_all_the_while(engine: Engine, sessions: db.Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE held (n int)"))
    with engine.begin() as holder:
        holder.execute(text("LOCK held"))
        with pytest.raises(Busy, match="The database is busy"), db.transaction(sessions) as session:
            session.execute(text("LOCK held NOWAIT"))


def test_it_gives_up_a_host_that_says_nothing(database_url: str) -> None:
    engine = db.connect(database_url)
    with engine.connect() as connection:
        line = socket.fromfd(connection.connection.driver_connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)  # type: ignore[union-attr]
        with line:
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            asked = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [line.getsockopt(socket.IPPROTO_TCP, one) for one in asked] == [20_000, 5, 5, 3]
    engine.dispose()


def test_the_server_gives_up_whoever_says_nothing_in_a_transaction(database_url: str) -> None:
    engine = db.connect(database_url)
    with engine.connect() as connection:
        asked = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
        assert [connection.scalar(text(f"SHOW {one}")) for one in asked] == ["5", "5", "3"]
    engine.dispose()


def test_the_server_ends_a_transaction_that_stands_still(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "IDLE_MS", 200)
    engine = db.connect(database_url)
    make = db.sessions(engine)

    def stand_still() -> None:
        with db.transaction(make) as session:
            session.execute(text("SELECT pg_advisory_xact_lock(77)"))
            pause(1.0)
            session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        stand_still()
    with db.transaction(make) as session:
        assert session.scalar(text("SELECT pg_try_advisory_xact_lock(77)"))
    engine.dispose()


def test_it_speaks_utc_and_names_itself(database_url: str) -> None:
    engine = db.connect(database_url, application="latebind test")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"
        assert connection.execute(text("SHOW application_name")).scalar() == "latebind test"
    engine.dispose()


def test_it_takes_an_address_without_a_driver(database_url: str) -> None:
    engine = db.connect(database_url.replace("postgresql+psycopg", "postgresql"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_it_says_that_an_absent_server_is_unavailable() -> None:
    engine = db.connect(f"postgresql://latebind@127.0.0.1:{free_port()}/latebind")
    before = monotonic()
    with pytest.raises(Unavailable) as caught, db.transaction(db.sessions(engine)) as session:
        session.execute(text("SELECT 1"))
    assert caught.value.retry_after >= 1
    assert monotonic() - before < 5
    engine.dispose()


def test_it_replaces_connections_of_a_server_that_died(
    postgres: PostgresServer, engine: Engine, sessions: db.Sessions
) -> None:
    with db.transaction(sessions) as session:
        session.execute(text("CREATE TABLE kept AS SELECT 1 AS n"))
    postgres.kill()
    postgres.start()
    with db.transaction(sessions) as session:
        assert session.execute(text("SELECT n FROM kept")).scalar() == 1
