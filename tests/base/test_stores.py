from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import pytest
from redis import RedisError

from base import keys, queues, stores
from base.clock import monotonic
from base.embedded import ValkeyServer
from base.ids import TEST_BIT, Delivery
from base.processes import free_port
from tests.clusters import ValkeyCluster


@pytest.fixture
def cluster_store(valkey_cluster: ValkeyCluster) -> Iterator[stores.Store]:
    """A client of the cluster, which is empty."""
    valkey_cluster.start()
    with stores.connect(valkey_cluster.url) as client:
        client.flushdb()
        yield client


def test_it_speaks_in_bytes(valkey: stores.Store) -> None:
    valkey.set("k", b"\xff\x00")
    assert valkey.get("k") == b"\xff\x00"


def test_it_parses_replies_with_hiredis(valkey: stores.Store) -> None:
    for server in stores.servers(valkey).values():
        server.ping()
        connection = server.connection_pool.get_connection()
        assert "hiredis" in type(connection._parser).__module__
        server.connection_pool.release(connection)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_it_takes_both_spellings_of_an_address(valkey_url: str, scheme: str) -> None:
    client = stores.connect(valkey_url.replace("redis://", f"{scheme}://"))
    assert client.ping()
    client.close()


def test_it_gives_up_quickly_on_a_server_that_is_away() -> None:
    client = stores.connect(f"redis://127.0.0.1:{free_port()}/0")
    before = monotonic()
    with pytest.raises(RedisError):
        client.get("k")
    assert monotonic() - before < 2
    client.close()


def test_it_bounds_the_wait_for_a_reply(valkey_url: str) -> None:
    client = stores.connect(valkey_url, reply_seconds=0.2)
    before = monotonic()
    with pytest.raises(RedisError):
        client.blpop(["never"], timeout=5)
    assert monotonic() - before < 2
    client.close()


@pytest.mark.parametrize("where", ["valkey", "cluster_store"])
def test_it_asks_on_past_a_key_of_another_kind(where: str, request: pytest.FixtureRequest) -> None:
    store: stores.Store = request.getfixturevalue(where)
    store.set("a", 1)
    store.rpush("b", "x")
    told = stores.ask_each(store, ["a", "b", "c"], lambda pipe, name: pipe.get(name))
    assert told == {"a": b"1", "b": stores.NOT_TO_BE_READ, "c": None}
    assert stores.ask_each(store, ["b"], lambda pipe, name: pipe.get(name)) == {"b": stores.NOT_TO_BE_READ}
    with pytest.raises(RedisError):
        stores.ask_each(store, ["a"], lambda pipe, name: pipe.execute_command("GETEX", name, "NEVER"))


def test_it_finds_a_server_that_came_back(valkey_server: ValkeyServer, valkey: stores.Store) -> None:
    valkey.set("kept", 1)
    # What is answered while the disk still takes what came before may not be on it yet.
    assert valkey.waitaof(1, 0, 5_000) == [1, 0]
    valkey_server.kill()
    valkey_server.start()
    assert valkey.get("kept") == b"1"


def test_it_keeps_a_profiles_keys_on_one_node() -> None:
    delivery = Delivery(profile=7, campaign=3, occurrence=1 | TEST_BIT)
    assert delivery.is_test
    spelt = [keys.state(7), keys.used(7), keys.shown(7, delivery.name), keys.contact(7, "site.hero")]
    assert spelt == ["{7}:state", "{7}:used", "{7}:shown:3.2147483649", "{7}:shown:contact:site.hero"]
    assert [keys.live(3), keys.plan("ab"), keys.cap(9), keys.product("p"), keys.api_key("k")] == [
        "live:3",
        "plan:ab",
        "cap:9",
        "product:p",
        "key:k",
    ]


def test_it_puts_jobs_in_json(queue_url: str, valkey: stores.Store) -> None:
    connection = stores.connect_queues(queue_url)
    queue = queues.queue(queues.QueueName.SEND, connection)
    job = queue.enqueue("workers.sending.send_batch", [1, 2, 3], job_id="batch-1")
    assert [1, 2, 3] in json.loads(zlib.decompress(job.to_dict()["data"]))[2]
    assert queue.job_ids == ["batch-1"]
    connection.close()
