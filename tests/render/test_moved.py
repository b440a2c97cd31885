"""What a node says of keys that are elsewhere, by peers of which none is Valkey: it is followed, or refused, once."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import ExitStack

import hiredis
import pytest

from base import keys
from base.processes import free_port
from base.slots import SLOTS, slot_of
from base.storeaddress import ClusterAddress, Place
from render.hotcluster import HotCluster
from render.wire import AWAY
from tests.render.test_hotcluster import REPLY
from tests.serving import serving

KEY = keys.product("p-1")
SLOT = slot_of(KEY)


class Peer(socketserver.ThreadingTCPServer):
    """Says that it holds all slots, and to everything else the same; `asked` is what it was asked otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.host = b"$-1\r\n"
        self.says = b"$2\r\nhi\r\n"
        self.asked: list[bytes] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def answer(self, command: list[bytes]) -> bytes:
        """The reply to a command."""
        if command[0] == b"CLUSTER":
            return b"*1\r\n*3\r\n:0\r\n:%d\r\n*2\r\n%s:%d\r\n" % (SLOTS - 1, self.host, self.port)
        self.asked.append(command[0])
        return b"+OK\r\n" if command[0] == b"ASKING" else self.says


class Talk(socketserver.BaseRequestHandler):
    server: Peer

    def handle(self) -> None:
        reader = hiredis.Reader()
        while data := self.request.recv(65_536):
            reader.feed(data)
            while (command := reader.gets()) is not False:
                self.request.sendall(self.server.answer(command))


@pytest.fixture
def peers() -> Iterator[tuple[Peer, Peer]]:
    """Two peers; the first is the one that is asked."""
    with ExitStack() as stack:
        made = Peer(), Peer()
        for peer in made:
            stack.enter_context(serving(peer))
        yield made


@pytest.fixture
def hot(peers: tuple[Peer, Peer]) -> Iterator[HotCluster]:
    made = HotCluster(ClusterAddress("redis", (Place("127.0.0.1", peers[0].port),)), REPLY)
    yield made
    made.close()


@pytest.mark.parametrize(("word", "host"), [("MOVED", ""), ("MOVED", "127.0.0.1"), ("ASK", ""), ("ASK", "127.0.0.1")])
def test_it_goes_where_it_is_told_and_without_a_host_to_who_told_it(
    hot: HotCluster, peers: tuple[Peer, Peer], word: str, host: str
) -> None:
    asked, named = peers
    asked.says = f"-{word} {SLOT} {host}:{named.port}\r\n".encode()
    assert hot.call(("GET", KEY)) == [b"hi"]
    assert named.asked == ([b"GET"] if word == "MOVED" else [b"ASKING", b"GET"])
    asked.asked.clear()
    assert hot.gather(("GET", KEY), ("GET", KEY)) == [b"hi", b"hi"]
    assert bool(asked.asked) == (word == "ASK"), "who has moved is asked at once from now on"


@pytest.mark.parametrize(
    "told",
    [
        "MOVED", "MOVED 3999", "MOVED 3999 ", "MOVED 3999 h", "MOVED 3999 h:", "MOVED x h:1", "MOVED 16384 h:1",
        "MOVED -1 h:1", "MOVED 3999 h:0", "MOVED 3999 h:65536", "ASK 3999 h:port", "ASK", "MOVED 3999 h:1 h:2",
        "MOVED 3999 ?:6379", "MOVED 3999 h/1:2", "MOVED 3999 h:1:2",
    ],
)  # fmt: skip
def test_it_follows_nobody_where_nobody_is_named(hot: HotCluster, peers: tuple[Peer, Peer], told: str) -> None:
    peers[0].says = f"-{told}\r\n".encode()
    with pytest.raises(hiredis.ReplyError):
        hot.call(("GET", KEY))
    peers[0].says = b"$2\r\nhi\r\n"
    assert hot.call(("GET", KEY)) == [b"hi"]


def test_it_does_not_go_to_and_fro(hot: HotCluster, peers: tuple[Peer, Peer]) -> None:
    for one, other in (peers, peers[::-1]):
        one.says = f"-MOVED {SLOT} 127.0.0.1:{other.port}\r\n".encode()
    with pytest.raises(hiredis.ReplyError):
        hot.call(("GET", KEY))
    # Asked alone first, and then as one of several.
    assert [len(peer.asked) for peer in peers] == [2, 1]


def test_whoever_is_not_where_it_is_told_to_be_is_away(hot: HotCluster, peers: tuple[Peer, Peer]) -> None:
    peers[0].says = f"-MOVED {SLOT} 127.0.0.1:{free_port()}\r\n".encode()
    assert hot.gather(("GET", KEY)) == [AWAY]


def test_slots_of_a_node_that_does_not_know_its_name_are_nobodys(hot: HotCluster, peers: tuple[Peer, Peer]) -> None:
    peers[0].host = b"$1\r\n?\r\n"
    assert hot.gather(("GET", KEY)) == [AWAY]
    assert peers[0].asked == []
