"""Signing in at every node of a cluster by name and password, over TLS: opens' client and the workers' alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest
from redis import AuthenticationError, RedisError

from base import keys, stores
from base.errors import Unavailable
from base.settings import Settings
from base.slots import slot_of
from base.storeaddress import cluster_address
from render.agree import Agreement, Change
from render.dialling import trust
from render.hotcluster import HotCluster
from tests.authority import Authority
from tests.clusters import ValkeyCluster
from tests.render.test_hotcluster import EMPTY, REPLY, names, products, somebody
from tests.secured import Secured
from tests.streams import entries
from workers.checkup import examine

OF_THE_NODES = "of-every-node"
WORDS = "p@ss,w:rd/1"


class Guarded:
    """A cluster whose nodes announce themselves as TLS places on localhost, with one user who is no default."""

    def __init__(self, cluster: ValkeyCluster, front: Secured, authority: Authority) -> None:
        self.cluster = cluster
        self.front = front
        self.authority = authority

    def url(self, user: str = "latebind", password: str = WORDS, scheme: str = "valkeys+cluster") -> str:
        """Its address as a setting spells it."""
        places = ",".join(f"localhost:{port}" for port in self.front.ports)
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{places}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    # redis-py calls localhost by its number.
    front = Secured(authority.certificate("localhost", 30, "127.0.0.1"))
    folder = tmp_path_factory.mktemp("guarded")
    user = f'latebind on ">{WORDS}" ~* &* +@all -@dangerous +info +config|get'
    cluster = ValkeyCluster(folder, password=OF_THE_NODES, user=user, front=front)
    try:
        cluster.start()
        yield Guarded(cluster, front, authority)
    finally:
        cluster.stop()
        front.close()


@pytest.fixture
def trusted(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine trusts the authority that signed for the nodes."""
    monkeypatch.setenv("SSL_CERT_FILE", str(guarded.authority.path))
    trust.cache_clear()
    yield
    trust.cache_clear()


@pytest.fixture
def opened(guarded: Guarded) -> Iterator[list[HotCluster]]:
    """Clients to be closed in the end."""
    made: list[HotCluster] = []
    yield made
    for hot in made:
        hot.close()


def hot_at(url: str, opened: list[HotCluster]) -> HotCluster:
    made = HotCluster(cluster_address(url), REPLY)
    opened.append(made)
    return made


@pytest.mark.usefixtures("trusted")
def test_it_serves_opens_by_name_over_tls_and_follows_what_moves(
    guarded: Guarded, opened: list[HotCluster], settings: Settings
) -> None:
    hot, cluster, wanted = hot_at(guarded.url(), opened), guarded.cluster, products(30)
    agreement = Agreement(hot)
    with stores.connect(guarded.url()) as store:
        with store.pipeline(transaction=False) as pipe:
            for name in wanted:
                pipe.set(name, name)
            pipe.execute()
        assert hot.call(("MGET", *wanted)) == [[name.encode() for name in wanted]]
        for node in range(3):
            assert agreement.write(names(somebody(cluster, node)), EMPTY, Change(b"shown", b"used", b"entry")) is None
        assert len(entries(store)) == 3
        mine, source, target = names(somebody(cluster, 0)), cluster.nodes[0], cluster.nodes[1]
        cluster.move(slot_of(mine.shown), source, target)
        try:
            assert hot.call(("MGET", *mine)) == [[None, b"shown", b"used"]]
            assert store.mget(list(mine)) == [None, b"shown", b"used"]
        finally:
            cluster.move(slot_of(mine.shown), target, source)
        assert len(stores.runs(store)) == 3
        assert stores.answers(store)
        found = {finding.part: finding for finding in examine(replace(settings, redis_url=guarded.url()))}
        assert found["store"].well, found["store"].words
        assert stores.holder(store, mine.shown) in [f"127.0.0.1:{port}" for port in guarded.front.ports]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("wrong", [{"user": "somebody"}, {"password": "another"}, {"user": ""}])
def test_whoever_cannot_sign_in_is_served_nothing(
    guarded: Guarded, opened: list[HotCluster], wrong: dict[str, str]
) -> None:
    url = guarded.url(**wrong)
    with pytest.raises(Unavailable):
        hot_at(url, opened).call(("GET", keys.state(1)))
    with stores.connect(url) as store, pytest.raises(RedisError) as caught:
        store.get(keys.state(1))
    told = caught.value
    assert isinstance(told, AuthenticationError) or "invalid username-password pair" in str(told)


def test_a_node_whose_certificate_nobody_vouches_for_is_told_nothing(
    guarded: Guarded, opened: list[HotCluster]
) -> None:
    before = guarded.front.strangers
    with pytest.raises(Unavailable):
        hot_at(guarded.url(), opened).call(("GET", keys.state(1)))
    with stores.connect(guarded.url()) as store, pytest.raises(RedisError):
        store.get(keys.state(1))
    assert guarded.front.strangers > before


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_told_nothing(guarded: Guarded, opened: list[HotCluster]) -> None:
    other = Secured(guarded.authority.certificate("elsewhere.example", 30))
    url = f"{guarded.url().rpartition('@')[0]}@127.0.0.1:{other(guarded.cluster.port(guarded.cluster.nodes[0]))}"
    try:
        with pytest.raises(Unavailable):
            hot_at(url, opened).call(("GET", keys.state(1)))
        with stores.connect(url) as store, pytest.raises(RedisError):
            store.get(keys.state(1))
    finally:
        other.close()
    assert other.strangers
