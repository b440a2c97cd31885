"""Opens' own client of a cluster: commands find their nodes, a lost one costs its share alone, moves are followed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from base import keys, stores
from base.clock import pause
from base.embedded import ValkeyServer
from base.errors import Unavailable
from base.ids import Delivery
from base.processes import free_port
from base.slots import SLOTS, slot_of
from base.storeaddress import cluster_address
from base.stores import Store
from render.agree import Agreement, Change, Names, Personal, balance, open_cap
from render.hotcluster import LOOK_SECONDS, HotCluster
from render.wire import AWAY, PAUSE_SECONDS
from tests.clusters import ValkeyCluster
from tests.streams import entries, lengths

REPLY = 1.0
"""Seconds for a reply: no deadline is at stake here, and the machine may be busy."""
EMPTY = Personal(None, None, None)
PEOPLE = 10_000


@pytest.fixture
def store(valkey_cluster: ValkeyCluster) -> Iterator[Store]:
    """A worker's client of the cluster, which is empty."""
    valkey_cluster.start()
    with stores.connect(valkey_cluster.url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def hot(valkey_cluster: ValkeyCluster, store: Store) -> Iterator[HotCluster]:
    made = HotCluster(cluster_address(valkey_cluster.url), REPLY)
    yield made
    made.close()


def names(profile: int) -> Names:
    """The keys of somebody's delivery."""
    return Names.of(Delivery(profile, 7, 1))


def somebody(cluster: ValkeyCluster, node: int) -> int:
    """A person whose keys a node holds."""
    return next(number for number in range(1, 1_000) if cluster.holder(keys.used(number)) is cluster.nodes[node])


def products(count: int) -> list[str]:
    return [keys.product(f"p-{number}") for number in range(count)]


def test_it_reads_keys_of_every_node_in_one_flight_and_in_their_order(hot: HotCluster, store: Store) -> None:
    wanted = products(30)
    for name in wanted[:20]:
        store.set(name, name)
    store.hset(keys.cap(4), "left", "9")
    found = hot.call(("GET", wanted[3]), ("MGET", *wanted), ("HGET", keys.cap(4), "left"))
    assert found == [wanted[3].encode(), [name.encode() for name in wanted[:20]] + [None] * 10, b"9"]
    assert sorted(hot.names(b"product:", 100)) == sorted(name.encode() for name in wanted[:20])


def test_it_reads_nothing_from_a_key_of_another_kind(hot: HotCluster, store: Store) -> None:
    store.rpush(keys.cap(4), "x")
    wanted = products(30)
    store.set(wanted[0], "1")
    store.rpush(wanted[1], "x")
    assert hot.call(("HGET", keys.cap(4), "left")) == [None]
    assert hot.gather(("GET", wanted[1]), ("HGET", keys.cap(4), "left"), ("GET", wanted[0])) == [None, None, b"1"]
    assert store.mget(wanted) == [b"1"] + [None] * 29
    with pytest.raises(hiredis.ReplyError):
        hot.gather(("XADD", wanted[1], "*", "field", "data"), ("GET", wanted[0]))


def test_it_agrees_on_an_open_and_records_it_on_the_node_of_the_person(
    hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster
) -> None:
    agreement = Agreement(hot)
    for node in range(3):
        mine = names(somebody(valkey_cluster, node))
        assert agreement.write(mine, EMPTY, Change(b"first", b"one", b"entry")) is None
        assert agreement.write(mine, EMPTY, Change(b"second", b"two", b"other")) == (None, b"first", b"one")
    assert len(entries(store)) == 3
    assert len({valkey_cluster.holder(name).pid for name in lengths(store)}) == 3


def test_caps_on_different_nodes_are_reserved_together_and_exactly(hot: HotCluster, store: Store) -> None:
    for offer in (1, 2, 3):
        open_cap(store, offer, 2)
    agreement = Agreement(hot)
    for number in range(3):
        answer = agreement.reserve([1, 2, 3], f"open-{number}", 1_000)
        assert (answer.taken, answer.refused) == (((1, 2, 3), ()) if number < 2 else ((), (1, 2, 3)))
    agreement.release([1, 3], "open-0")
    assert [balance(store, offer) for offer in (1, 2, 3)] == [1, 0, 1]


def test_a_lost_node_costs_its_own_keys_alone_and_heals(
    hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster
) -> None:
    agreement, wanted = Agreement(hot), products(30)
    for name in wanted:
        store.set(name, b"there")
    for offer in range(1, 9):
        open_cap(store, offer, 5)
    people = [somebody(valkey_cluster, node) for node in range(3)]
    hot.call(("MGET", *wanted))
    dead = valkey_cluster.nodes[1]
    dead.kill()
    try:
        lost = [name for name in wanted if valkey_cluster.holder(name) is dead]
        assert 0 < len(lost) < 30
        ((*found,),) = hot.gather(("MGET", *wanted))
        assert [name for name, value in zip(wanted, found, strict=True) if value is AWAY] == lost
        with pytest.raises(Unavailable):
            hot.call(("MGET", *wanted))
        assert not hot.is_away
        for node, profile in enumerate(people):
            if node == 1:
                with pytest.raises(Unavailable):
                    agreement.write(names(profile), EMPTY, Change(b"first", entry=b"entry"))
            else:
                assert agreement.write(names(profile), EMPTY, Change(b"first", entry=b"entry")) is None
        gone = tuple(offer for offer in range(1, 9) if valkey_cluster.holder(keys.cap(offer)) is dead)
        answer = agreement.reserve(range(1, 9), "open", 1_000)
        assert (answer.refused, answer.lost) == (gone, ())
        assert valkey_cluster.holder(hot.stream()) is not dead, "records that belong to no node go to one that is there"
    finally:
        valkey_cluster.start()
    pause(PAUSE_SECONDS + LOOK_SECONDS)
    assert hot.call(("MGET", *wanted)) == [[b"there"] * 30]
    assert agreement.write(names(people[1]), EMPTY, Change(b"first", entry=b"entry")) is None


def test_opens_go_on_while_slots_move_to_another_node(
    hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster
) -> None:
    profile = somebody(valkey_cluster, 0)
    mine, agreement = names(profile), Agreement(hot)
    source, target = valkey_cluster.nodes[0], valkey_cluster.nodes[2]
    stream, slot = hot.stream_beside(mine.shown), slot_of(mine.shown)
    assert agreement.write(mine, EMPTY, Change(b"1", b"a", b"entry")) is None
    try:
        valkey_cluster.move(slot, source, target)
        assert hot.call(("MGET", *mine)) == [[None, b"1", b"a"]]
        assert agreement.write(mine, Personal(None, b"1", b"a"), Change(b"2", b"b", b"entry")) is None
        assert lengths(store).keys() == {stream, hot.stream_beside(mine.shown)}
    finally:
        valkey_cluster.move(slot, target, source)
    assert agreement.write(mine, Personal(None, b"2", b"b"), Change(b"3", b"c", b"entry")) is None
    assert len(entries(store)) == 3


def test_a_stream_that_moves_takes_nothing_with_half_of_an_agreement(
    hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster
) -> None:
    mine, agreement = names(somebody(valkey_cluster, 0)), Agreement(hot)
    stream = hot.stream_beside(mine.shown)
    assert agreement.write(mine, EMPTY, Change(b"1", entry=b"entry")) is None
    try:
        valkey_cluster.move(slot_of(stream), valkey_cluster.nodes[0], valkey_cluster.nodes[1])
        assert agreement.write(mine, Personal(None, b"1", None), Change(b"2", entry=b"entry")) is None
        assert store.get(mine.shown) == b"2"
        assert sorted(lengths(store).values()) == [1, 1]
    finally:
        valkey_cluster.move(slot_of(stream), valkey_cluster.nodes[1], valkey_cluster.nodes[0])


def test_a_half_moved_slot_is_read_on_both_sides(hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster) -> None:
    mine = names(somebody(valkey_cluster, 0))
    slot, source, target = slot_of(mine.shown), valkey_cluster.nodes[0], valkey_cluster.nodes[1]
    for name in mine:
        store.set(name, name)
    hot.call(("MGET", *mine))
    valkey_cluster.begin_move(slot, source, target)
    try:
        valkey_cluster.carry(source, target, mine.used)
        assert hot.call(("MGET", *mine)) == [[name.encode() for name in mine]]
        with pytest.raises(Unavailable):
            Agreement(hot).write(mine, Personal(*(name.encode() for name in mine)), Change(b"new", b"new", b"entry"))
        assert hot.call(("MGET", *mine)) == [[name.encode() for name in mine]], "nothing was written by half"
        assert entries(store) == []
    finally:
        valkey_cluster.end_move(slot, source, target)
    state, shown, used = (name.encode() for name in mine)
    assert Agreement(hot).write(mine, Personal(state, shown, used), Change(b"new", b"new", b"entry")) is None
    valkey_cluster.move(slot, target, source)


def test_a_node_that_names_no_host_means_its_own(hot: HotCluster, store: Store, valkey_cluster: ValkeyCluster) -> None:
    mine = names(somebody(valkey_cluster, 0))
    slot, source, target = slot_of(mine.shown), valkey_cluster.nodes[0], valkey_cluster.nodes[1]
    with valkey_cluster.nameless():
        for name in mine:
            store.set(name, name)
        wanted = [[name.encode() for name in mine]]
        assert hot.call(("MGET", *mine)) == wanted
        valkey_cluster.begin_move(slot, source, target)
        valkey_cluster.carry(source, target, *mine)
        assert hot.call(("MGET", *mine)) == wanted, "ASK"
        valkey_cluster.end_move(slot, source, target)
        try:
            assert hot.call(("MGET", *mine)) == wanted, "MOVED"
            assert store.mget(list(mine)) == wanted[0]
            pause(LOOK_SECONDS)
            assert hot.call(("MGET", *mine)) == wanted, "a map without hosts"
        finally:
            valkey_cluster.move(slot, target, source)


def test_ten_thousand_people_and_the_streams_are_spread_evenly(store: Store, valkey_cluster: ValkeyCluster) -> None:
    pipe = store.pipeline(transaction=False)
    for profile in range(1, PEOPLE + 1):
        pipe.set(keys.state(profile), b"")
    pipe.execute()
    held = [stores.connect(node.url).dbsize() for node in valkey_cluster.nodes]
    assert sum(held) == PEOPLE
    assert all(abs(count - PEOPLE / 3) < 0.05 * PEOPLE / 3 for count in held)
    streams = [slot_of(name) for name in keys.record_streams()]
    assert [b - a for a, b in itertools.pairwise(streams)] == [SLOTS // keys.STREAMS] * (keys.STREAMS - 1)
    spread = Counter(valkey_cluster.holder(name).pid for name in keys.record_streams())
    assert sorted(spread.values()) == [21, 21, 22]


def test_a_cluster_that_nobody_answers_for_is_away_as_one_server_is() -> None:
    nobody = HotCluster(cluster_address("valkey+cluster://127.0.0.1:1,127.0.0.1:2"), REPLY)
    for ask in (lambda: nobody.call(("GET", "live:1")), nobody.stream, lambda: nobody.stream_beside("{1}:used")):
        with pytest.raises(Unavailable):
            ask()


def test_a_node_that_came_back_empty_is_not_asked_who_the_others_are(
    store: Store, valkey_cluster: ValkeyCluster, tmp_path: Path
) -> None:
    extra = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    blank = ValkeyServer(tmp_path / "blank", free_port(), tmp_path / "blank.log", extra=extra)
    blank.start()
    try:
        first = blank.url.removeprefix("redis://").partition("/")[0]
        hot = HotCluster(cluster_address(valkey_cluster.url.replace("://", f"://{first},", 1)), REPLY)
        for name in (wanted := products(9)):
            store.set(name, b"there")
        assert hot.call(("MGET", *wanted)) == [[b"there"] * 9]
        hot.close()
    finally:
        blank.stop()
