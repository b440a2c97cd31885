"""Servers that take connections and say nothing: any number of them costs one wait, and the others are heard."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import hiredis
import pytest

from base import keys
from base.clock import monotonic, pause
from base.errors import Unavailable
from base.slots import SLOTS, slot_of
from base.storeaddress import ClusterAddress, Place
from render.hotcluster import HotCluster
from render.wire import AWAY, MAX_LATE
from tests.serving import serving

NODES = 8
REPLY = 0.6
SOON = 3 * REPLY
"""A gross bound: waits one after another would take eight times `REPLY` or more."""


class Node(socketserver.ThreadingTCPServer):
    """Holds an equal share of the slots, and says `hi`; nothing at all while it is `mute`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.cluster: list[Node] = []
        self.mute = threading.Event()
        self.ended = threading.Event()
        self.asked: list[bytes] = []

    @property
    def place(self) -> Place:
        return Place("127.0.0.1", int(self.server_address[1]))

    def answer(self, command: list[bytes]) -> bytes:
        """The reply to a command."""
        if command[0] == b"CLUSTER":
            share = SLOTS // len(self.cluster)
            held = [
                b"*3\r\n:%d\r\n:%d\r\n*2\r\n$-1\r\n:%d\r\n" % (at * share, (at + 1) * share - 1, node.place.port)
                for at, node in enumerate(self.cluster)
            ]
            return b"*%d\r\n" % len(held) + b"".join(held)
        if command[0] == b"MGET":
            return b"*%d\r\n" % (len(command) - 1) + b"$2\r\nhi\r\n" * (len(command) - 1)
        return b"+OK\r\n" if command[0] == b"AUTH" else b"$2\r\nhi\r\n"


class Talk(socketserver.BaseRequestHandler):
    server: Node

    def handle(self) -> None:
        reader = hiredis.Reader()
        while data := self.request.recv(65_536):
            reader.feed(data)
            while (command := reader.gets()) is not False:
                self.server.asked.append(command[0])
                if self.server.mute.is_set():
                    self.server.ended.wait(60)
                    return
                self.request.sendall(self.server.answer(command))


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    with ExitStack() as stack:
        made = [Node() for _ in range(NODES)]
        for node in made:
            node.cluster = made
            stack.enter_context(serving(node))
        yield made
        for node in made:
            node.ended.set()


@pytest.fixture
def hot(nodes: list[Node]) -> Iterator[HotCluster]:
    places = tuple(node.place for node in nodes)
    made = HotCluster(ClusterAddress("redis", places, password="secret"), REPLY, pause_seconds=30.0)
    yield made
    made.close()


def key_on(node: Node) -> str:
    """A key that a node holds."""
    at = node.cluster.index(node)
    return next(
        name
        for number in range(10_000)
        if slot_of(name := keys.product(f"p-{number}")) * len(node.cluster) // SLOTS == at
    )


@pytest.mark.parametrize("connected", [True, False])
def test_any_number_of_mute_nodes_costs_one_wait_and_the_others_are_heard(
    hot: HotCluster, nodes: list[Node], connected: bool
) -> None:
    wanted = [key_on(node) for node in nodes]
    if connected:
        assert hot.gather(("MGET", *wanted)) == [[b"hi"] * NODES]
    else:
        hot.call(("GET", wanted[5]))  # The map is known, and of connections only those that it took.
        hot.close()
        for node in nodes:
            node.asked.clear()
    spared = 5
    for at, node in enumerate(nodes):
        if at != spared:
            node.mute.set()
    began = monotonic()
    (found,) = hot.gather(("MGET", *wanted))
    assert monotonic() - began < SOON
    assert [value is AWAY for value in found] == [at != spared for at in range(NODES)]
    assert found[spared] == b"hi"


def test_a_cold_start_finds_the_one_node_that_answers(hot: HotCluster, nodes: list[Node]) -> None:
    for node in nodes[:-1]:
        node.mute.set()
    began = monotonic()
    assert hot.call(("GET", key_on(nodes[-1]))) == [b"hi"]
    assert monotonic() - began < SOON


def test_a_cold_start_beside_mute_nodes_rests(hot: HotCluster, nodes: list[Node]) -> None:
    for node in nodes:
        node.mute.set()
    began = monotonic()
    for _ in range(50):
        with pytest.raises(Unavailable):
            hot.call(("GET", key_on(nodes[0])))
    assert monotonic() - began < SOON
    assert hot.is_away
    assert sum(len(node.asked) for node in nodes) == NODES, "each was asked once"


def test_opens_beside_each_other_do_not_queue_for_the_first_look(nodes: list[Node]) -> None:
    for node in nodes:
        node.mute.set()
    places = tuple(node.place for node in nodes)
    hot = HotCluster(ClusterAddress("redis", places), REPLY, pause_seconds=0.0)
    refused: list[float] = []

    def ask() -> None:
        began = monotonic()
        with pytest.raises(Unavailable):
            hot.call(("GET", key_on(nodes[0])))
        refused.append(monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hot.close()
    assert len(refused) == 6
    # An open looks twice, after one wait each; in a queue the last of six would wait for six.
    assert max(refused) < 5 * REPLY


def test_a_mute_node_is_asked_again_after_its_pause(nodes: list[Node]) -> None:
    hot = HotCluster(ClusterAddress("redis", (nodes[0].place,)), REPLY, pause_seconds=0.1)
    wanted = key_on(nodes[3])
    assert hot.call(("GET", wanted)) == [b"hi"]
    nodes[3].mute.set()
    for _ in range(MAX_LATE):
        assert hot.gather(("GET", wanted), ("GET", key_on(nodes[4]))) == [AWAY, b"hi"]
    nodes[3].mute.clear()
    pause(0.2)
    assert hot.gather(("GET", wanted), ("GET", key_on(nodes[4]))) == [b"hi", b"hi"]
    hot.close()
