from __future__ import annotations

import json
import zlib

import pytest
from redis import RedisError

from base import keys, queues, stores
from base.clock import monotonic
from base.embedded import ValkeyServer
from base.ids import TEST_BIT, Delivery
from base.processes import free_port


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


def test_it_finds_a_server_that_came_back(valkey_server: ValkeyServer, valkey: stores.Store) -> None:
    valkey.set("kept", 1)
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
