"""A replica that takes over for its master, on a cluster with a password: its share is away meanwhile, and heals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from base import keys, stores
from base.clock import monotonic, pause
from base.errors import Unavailable
from base.storeaddress import cluster_address
from base.stores import Store
from render.agree import Agreement, Change, Names, Personal
from render.hotcluster import HotCluster
from tests.clusters import ValkeyCluster
from tests.render.test_hotcluster import EMPTY, REPLY, names, somebody
from tests.streams import entries

HEAL_SECONDS = 20.0
PASSWORD = "of-every-node"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    made = ValkeyCluster(tmp_path_factory.mktemp("failover"), replicated=True, password=PASSWORD)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def store(cluster: ValkeyCluster) -> Iterator[Store]:
    """A worker's client of the cluster."""
    with stores.connect(cluster.url) as client:
        yield client


def agreed(agreement: Agreement, mine: Names, seen: Personal, change: Change) -> bool:
    try:
        return agreement.write(mine, seen, change) is None
    except Unavailable:
        return False


@pytest.fixture
def watcher(cluster: ValkeyCluster) -> Iterator[Store]:
    """A client that does nothing but ask whether all is well."""
    with stores.connect(cluster.url) as client:
        assert stores.answers(client)
        yield client


@pytest.fixture
def idle(cluster: ValkeyCluster) -> Iterator[Store]:
    """A client that read the map, and asks for nothing more for a while."""
    with stores.connect(cluster.url) as client:
        client.mget([keys.state(number) for number in range(9)])
        yield client


def test_who_lies_on_a_lost_master_is_served_by_its_replica(
    cluster: ValkeyCluster, store: Store, watcher: Store, idle: Store
) -> None:
    hot = HotCluster(cluster_address(cluster.url), REPLY)
    agreement = Agreement(hot)
    people = [names(somebody(cluster, node)) for node in range(3)]
    dead = cluster.nodes[1]
    try:
        for mine in people:
            assert agreement.write(mine, EMPTY, Change(b"1", b"a", b"before")) is None
        with cluster.client(dead) as master:
            assert master.wait(1, 5_000) == 1, "what follows asks for nothing that was not copied"
        dead.kill()
        with pytest.raises(Unavailable):
            hot.call(("MGET", *people[1]))
        assert hot.call(("MGET", *people[0])) == [[None, b"1", b"a"]]
        assert not stores.answers(watcher)
        change, until = Change(b"2", b"b", b"after"), monotonic() + HEAL_SECONDS
        while not agreed(agreement, people[1], Personal(None, b"1", b"a"), change):
            assert monotonic() < until, "nobody took over"
            pause(0.1)
        # Who has asked for nothing since is answered at once.
        assert idle.mget([mine.shown for mine in people]) == [b"1", b"2", b"1"]
        while not stores.answers(watcher):
            assert monotonic() < until, "it goes by an old map"
            pause(0.1)
        assert hot.call(*(("MGET", *mine) for mine in people)) == [
            [None, b"1", b"a"], [None, b"2", b"b"], [None, b"1", b"a"],
        ]  # fmt: skip
        assert store.mget([mine.shown for mine in people]) == [b"1", b"2", b"1"]
        recorded = sorted(body for _, fields in entries(store) for body in fields.values())
        assert recorded == [b"after", b"before", b"before", b"before"]
        store.set(people[1].state, b"state")
        assert hot.call(("GET", people[1].state)) == [b"state"]
        cluster.start()  # Who comes back follows the one that took over.
        assert hot.call(("GET", people[1].state)) == [b"state"]
        assert stores.holder(store, people[1].state) != dead.url.rpartition("@")[2].partition("/")[0]
    finally:
        hot.close()


def test_a_wrong_password_is_no_cluster(cluster: ValkeyCluster) -> None:
    wrong = cluster.url.replace(PASSWORD, "another")
    hot = HotCluster(cluster_address(wrong), REPLY)
    try:
        with pytest.raises(Unavailable):
            hot.call(("GET", keys.state(1)))
    finally:
        hot.close()
