from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from base.clock import monotonic, pause
from base.embedded import PostgresServer, ValkeyServer, end_left_over_postgres, end_left_over_valkey
from base.errors import StartError
from base.processes import check_port, command_line, end, free_port
from tests.serving import ROOT


@pytest.fixture
def folder(server_folder: Path, request: pytest.FixtureRequest) -> Path:
    made = server_folder / str(abs(hash(request.node.nodeid)))
    made.mkdir(mode=0o755)
    return made


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def alive(pid: int) -> bool:
    return command_line(pid) != ""


def test_it_keeps_postgres_data_through_stop_and_kill(folder: Path) -> None:
    server = PostgresServer(
        folder / "pg", free_port(), folder / "log" / "pg.log", password="s3cret'\" x".replace(" ", "")
    )
    server.start()
    with psycopg.connect(_local(server, "s3cret'\"x"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    server.kill()
    assert not server.running
    server.start()
    server.stop()
    server.start()
    with psycopg.connect(_local(server, "s3cret'\"x"), autocommit=True) as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (1,)
    server.stop()
    assert not server.running


def _local(server: PostgresServer, password: str) -> str:
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=port, user="latebind", password=password, dbname="latebind"
    )


def test_it_lets_nobody_into_postgres_without_the_password(folder: Path) -> None:
    server = PostgresServer(folder / "pg", free_port(), folder / "pg.log", password="right")
    server.start()
    try:
        psycopg.connect(plain(server.url)).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(plain(server.url).replace("right", "wrong"))
    finally:
        server.stop()
    assert "right" not in " ".join(path.name for path in folder.iterdir())
    assert not (folder / "pg.password").exists()


def test_it_writes_no_values_of_rows_into_the_log_of_postgres(folder: Path) -> None:
    server = PostgresServer(folder / "pg", free_port(), folder / "pg.log", password="right")
    server.start()
    try:
        with psycopg.connect(plain(server.url), autocommit=True) as connection:
            connection.execute("CREATE TABLE known (name text UNIQUE)")
            connection.execute("INSERT INTO known VALUES ('ida')")
            with pytest.raises(psycopg.errors.UniqueViolation, match="ida"):
                connection.execute("INSERT INTO known SELECT name FROM known")
    finally:
        server.stop()
    log = (folder / "pg.log").read_text()
    assert "duplicate key" in log
    assert "ida" not in log


def test_it_stops_postgres_while_clients_are_connected(folder: Path) -> None:
    server = PostgresServer(folder / "pg", free_port(), folder / "pg.log", fsync=False)
    server.start()
    client = psycopg.connect(plain(server.url))
    before = monotonic()
    server.stop()
    assert monotonic() - before < 5
    client.close()


def test_it_starts_over_after_an_interrupted_first_start(folder: Path) -> None:
    (folder / "pg.making").mkdir()
    (folder / "pg.making" / "PG_VERSION").write_text("18")
    server = PostgresServer(folder / "pg", free_port(), folder / "pg.log", fsync=False)
    server.start()
    server.stop()
    assert (folder / "pg" / "global").is_dir()


def test_it_keeps_valkey_data_through_stop_and_kill(folder: Path) -> None:
    server = ValkeyServer(folder / "vk", free_port(), folder / "vk.log", password="s3cret")
    server.start()
    with Redis.from_url(server.url) as client:
        client.xadd("records", {"r": b"1"})
    server.kill()
    server.start()
    server.stop()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.xlen("records") == 1
        assert client.config_get("appendonly") == {b"appendonly": b"yes"} or client.config_get("appendonly") == {
            "appendonly": "yes"
        }
    server.stop()


def test_it_tells_no_other_user_the_valkey_password(folder: Path) -> None:
    server = ValkeyServer(folder / "vk", free_port(), folder / "vk.log", password="s3cret")
    server.start()
    try:
        assert "s3cret" not in command_line(server.pid)
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_it_ends_a_server_whose_owner_was_killed(folder: Path, kind: str) -> None:
    port = free_port()
    made = {
        "postgres": f"PostgresServer(f / 'data', {port}, f / 'log', fsync=False)",
        "valkey": f"ValkeyServer(f / 'data', {port}, f / 'log')",
    }[kind]
    code = f"from pathlib import Path; from base.embedded import *; f = Path({str(folder)!r}); s = {made}; s.start(); "
    code += "print(s.pid, flush=True); __import__('time').sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    with owner.stdout:
        orphan = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    assert alive(orphan)
    if kind == "postgres":
        assert end_left_over_postgres(folder / "data")
        server: PostgresServer | ValkeyServer = PostgresServer(folder / "data", port, folder / "log", fsync=False)
    else:
        end_left_over_valkey(folder / "data")
        server = ValkeyServer(folder / "data", port, folder / "log")
    assert not alive(orphan)
    server.start()
    assert server.running
    server.stop()


def test_it_says_in_one_line_that_a_port_is_taken(folder: Path, postgres: PostgresServer) -> None:
    port = int(postgres.url.rsplit(":", 1)[1].split("/")[0])
    for server in (
        PostgresServer(folder / "pg", port, folder / "pg.log"),
        ValkeyServer(folder / "vk", port, folder / "vk.log"),
    ):
        with pytest.raises(StartError, match=rf"Port {port} is taken.*LATEBIND_(POSTGRES|VALKEY)_PORT") as caught:
            server.start()
        assert "\n" not in str(caught.value)
        assert not server.running
    check_port(free_port(), "LATEBIND_WEB_PORT")


def test_it_says_in_one_line_that_postgres_cannot_enter_a_folder(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o000)
    server = PostgresServer(folder / "closed" / "pg", free_port(), folder / "pg.log")
    with pytest.raises(StartError, match=r"nobody cannot enter|permission denied") as caught:
        server.start()
    assert "\n" not in str(caught.value)


def test_it_ends_no_process_that_took_over_a_pid() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert not end(stranger.pid, "valkey-server", signal.SIGTERM, 1)
    pause(0.1)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    assert not end(stranger.pid, "python", signal.SIGTERM, 1)
    assert command_line(os.getpid()) != ""
