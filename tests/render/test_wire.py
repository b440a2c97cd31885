"""The raw connection: addresses, passwords, restarts, stalls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from base.clock import monotonic, pause
from base.embedded import ValkeyServer
from base.errors import SettingError, Unavailable
from base.processes import free_port
from render.dialling import Address
from render.wire import MAX_LATE, REPLY_SECONDS, HotStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey", free_port(), tmp_path / "log", password="p@ss")
    made.start()
    yield made
    if made.running:
        os.kill(made.pid, signal.SIGCONT)
    made.stop()


def test_it_sends_many_commands_in_one_flight_to_the_named_database(server: ValkeyServer) -> None:
    hot = HotStore(server.url.rsplit("/", 1)[0] + "/3")
    assert hot.call(("SET", "a", b"\x00\xff"), ("MGET", "a", "b"), ("INCRBY", "n", 5)) == [
        b"OK",
        [b"\x00\xff", None],
        5,
    ]
    other = HotStore(server.url.rsplit("/", 1)[0] + "/0")
    assert other.call(("GET", "a")) == [None]
    hot.close()
    other.close()


def test_it_raises_what_the_server_refuses_and_goes_on(server: ValkeyServer) -> None:
    hot = HotStore(server.url)
    with pytest.raises(hiredis.ReplyError):
        hot.call(("SET", "a", "1"), ("NONSENSE",), ("GET", "a"))
    assert hot.call(("GET", "a")) == [b"1"]
    assert not hot.is_away
    hot.close()


def test_it_reads_nothing_from_a_key_of_another_kind(server: ValkeyServer) -> None:
    hot = HotStore(server.url)
    hot.call(("RPUSH", "a", "x"), ("SET", "b", "1"))
    assert hot.call(("GET", "a"), ("HGET", "a", "left"), ("MGET", "a", "b"), ("GET", "b")) == [
        None, None, [None, b"1"], b"1",
    ]  # fmt: skip
    with pytest.raises(hiredis.ReplyError):
        hot.call(("XADD", "a", "*", "field", "data"))
    hot.close()


def test_it_reconnects_when_the_server_was_restarted(server: ValkeyServer) -> None:
    hot = HotStore(server.url)
    hot.call(("SET", "a", "1"))
    server.stop()
    server.start()
    assert hot.call(("GET", "a")) == [b"1"]
    hot.close()


def test_it_gives_a_stalled_server_up_twice_and_then_does_not_wait_for_it(server: ValkeyServer) -> None:
    hot = HotStore(server.url, pause_seconds=0.5)
    hot.call(("PING",))
    os.kill(server.pid, signal.SIGSTOP)
    for number in range(MAX_LATE):
        started = monotonic()
        with pytest.raises(Unavailable):
            hot.call(("PING",))
        assert REPLY_SECONDS <= monotonic() - started < 1
        assert hot.is_away == (number + 1 == MAX_LATE)
    started = monotonic()
    for _ in range(100):
        with pytest.raises(Unavailable):
            hot.call(("PING",))
    assert monotonic() - started < REPLY_SECONDS
    os.kill(server.pid, signal.SIGCONT)
    pause(0.6)
    assert hot.call(("PING",)) == [b"PONG"]
    hot.close()


def test_it_says_unavailable_where_nobody_listens() -> None:
    with pytest.raises(Unavailable):
        HotStore(f"redis://127.0.0.1:{free_port()}/0").call(("PING",))


def test_it_reads_every_spelling_of_an_address() -> None:
    tcp = Address("valkeys://user:p%40ss@cache.example.com:7000/2")
    assert (tcp.secure, tcp.host, tcp.port, tcp.database) == (True, "cache.example.com", 7000, 2)
    assert tcp.greeting() == [("AUTH", "user", "p@ss"), ("SELECT", 2)]
    unix = Address("unix:///run/valkey.sock?db=4")
    assert (unix.path, unix.greeting()) == ("/run/valkey.sock", [("SELECT", 4)])
    with pytest.raises(SettingError, match="LATEBIND_REDIS_URL"):
        Address("redis://localhost/first")
