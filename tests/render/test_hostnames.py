"""Names of hot stores: looked up beside opens, kept while nobody can tell better, and anew where nobody answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.clock import monotonic, pause
from base.embedded import ValkeyServer
from base.errors import Unavailable
from base.processes import free_port
from base.storeaddress import ClusterAddress, Place
from render import hostnames
from render.hostnames import MAX_ASKING, MAX_NAMES, Hostnames, Spot
from render.hotcluster import HotCluster
from render.wire import HotStore

REPLY = 0.5
NAME = "store.latebind.example"


class Resolver:
    """Answers from a table, as slowly as it is told to; `asked` is what it was asked."""

    def __init__(self) -> None:
        self.spots: dict[str, list[tuple[str, int]]] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> tuple[Spot, ...]:
        self.asked.append(host)
        self.may_answer.wait(60)
        if host not in self.spots:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return tuple((int(socket.AF_INET), spot) for spot in self.spots[host])


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.may_answer.set()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey", free_port(), tmp_path / "log")
    made.start()
    yield made
    made.stop()


def port_of(server: ValkeyServer) -> int:
    return int(server.url.removeprefix("redis://").rpartition(":")[2].partition("/")[0])


def login_of(server: ValkeyServer) -> str:
    return server.url.removeprefix("redis://").rpartition("@")[0]


def store_at(server: ValkeyServer, resolver: Resolver, pause_seconds: float = 0.05) -> HotStore:
    login = login_of(server)
    url = f"redis://{login}@{NAME}/0" if login else f"redis://{NAME}/0"
    return HotStore(url, REPLY, pause_seconds, Hostnames(resolver))


def test_an_open_waits_for_a_slow_resolver_no_longer_than_for_the_store(
    server: ValkeyServer, resolver: Resolver
) -> None:
    resolver.spots[NAME] = [("127.0.0.1", port_of(server))]
    resolver.may_answer.clear()
    hot = store_at(server, resolver)
    began = monotonic()
    with pytest.raises(Unavailable):
        hot.call(("PING",))
    assert monotonic() - began < 3 * REPLY
    resolver.may_answer.set()
    pause(0.2)
    assert hot.call(("PING",)) == [b"PONG"]
    assert resolver.asked == [NAME], "its late answer was kept"
    hot.close()


def test_what_is_known_stays_good_while_nobody_can_tell_better(
    server: ValkeyServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.spots[NAME] = [("127.0.0.1", port_of(server))]
    hot = store_at(server, resolver)
    assert hot.call(("PING",)) == [b"PONG"]
    monkeypatch.setattr(hostnames, "KEPT_SECONDS", 0.0)
    del resolver.spots[NAME]
    server.stop()
    server.start()
    assert hot.call(("PING",)) == [b"PONG"]
    assert len(resolver.asked) > 1, "it was looked up anew, in vain"
    hot.close()


def test_where_nobody_answers_the_name_is_looked_up_anew(
    server: ValkeyServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostnames, "AGAIN_SECONDS", 0.0)
    resolver.spots[NAME] = [("127.0.0.1", free_port())]
    hot = store_at(server, resolver)
    resolver_knows = [("127.0.0.1", port_of(server))]
    with pytest.raises(Unavailable):
        hot.call(("PING",))
    resolver.spots[NAME] = resolver_knows
    for _ in range(50):
        pause(0.1)
        try:
            assert hot.call(("PING",)) == [b"PONG"]
            break
        except Unavailable:
            continue
    else:
        pytest.fail("the new address was never tried")
    hot.close()


def test_another_address_of_the_name_is_tried_when_one_refuses(server: ValkeyServer, resolver: Resolver) -> None:
    resolver.spots[NAME] = [("127.0.0.1", free_port()), ("127.0.0.1", port_of(server))]
    hot = store_at(server, resolver)
    assert hot.call(("PING",)) == [b"PONG"]
    hot.close()


def test_a_cluster_named_by_names_that_nobody_knows_is_away_after_one_wait(resolver: Resolver) -> None:
    resolver.may_answer.clear()
    places = tuple(Place(f"node-{number}.latebind.example", 6379) for number in range(6))
    hot = HotCluster(ClusterAddress("redis", places), REPLY, 30.0, Hostnames(resolver))
    began = monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable):
            hot.call(("GET", "live:1"))
    assert monotonic() - began < 3 * REPLY
    assert sorted(resolver.asked) == sorted(place.host for place in places)


def test_names_and_look_ups_are_bounded(resolver: Resolver) -> None:
    names = Hostnames(resolver)
    resolver.may_answer.clear()
    for number in range(MAX_NAMES + 50):
        names.look(f"node-{number}.latebind.example", 6379)
    assert len(resolver.asked) <= MAX_ASKING
    assert names.count == MAX_NAMES


def test_it_looks_names_up_again_once_the_system_gives_threads(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Hostnames(resolver)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        for number in range(MAX_ASKING):
            with pytest.raises(OSError, match="has not been told"):
                names.spots(f"node-{number}.latebind.example", 6379, monotonic())
    resolver.spots[NAME] = [("127.0.0.1", 6379)]
    assert names.spots(NAME, 6379, monotonic() + REPLY) == ((int(socket.AF_INET), ("127.0.0.1", 6379)),)


def test_an_address_in_numbers_is_never_looked_up(resolver: Resolver) -> None:
    names = Hostnames(resolver)
    assert names.spots("127.0.0.1", 6379, monotonic()) == ((int(socket.AF_INET), ("127.0.0.1", 6379)),)
    assert names.spots("::1", 6379, monotonic())[0][0] == socket.AF_INET6
    assert resolver.asked == []
