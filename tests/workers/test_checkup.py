from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from base import stores
from base.clock import FixedClock
from base.processes import free_port
from base.settings import Settings
from signals import exchange
from signals.exchange import Given
from tests.clusters import ValkeyCluster
from tests.nameserver import name_server
from tests.signals.conftest import desk
from tests.signals.sending import NOW, Desk, order
from workers.checkup import examine
from workers.smtpsink import Sink

__all__ = ["desk"]


def wrong(settings: Settings) -> dict[str, str]:
    return {finding.part: finding.words for finding in examine(settings, health=True) if not finding.well}


def test_it_finds_nothing_wrong_with_a_sound_installation(
    settings: Settings, tmp_path: Path, clock: FixedClock
) -> None:
    sink = Sink(tmp_path / "inbox", settings.smtp_port, clock)
    sink.start()
    try:
        assert wrong(settings) == {}
    finally:
        sink.stop()


def test_it_says_which_domains_mails_leave_unsigned_from_and_asks_nobody_where_none_leaves(settings: Settings) -> None:
    with name_server() as dns:
        asking = replace(settings, dns_servers=(dns.place,), from_address="Shop <a@shop.example>", smtp_port=1)
        found = {finding.part: finding for finding in examine(asking)}["sending domains"]
        assert (found.well, "shop.example, dkim: Mails from shop.example leave unsigned" in found.words) == (
            False,
            True,
        )
        assert dns.asked
        dns.asked.clear()
        found = {finding.part: finding for finding in examine(replace(asking, dry_run=True))}["sending domains"]
        assert (found.well, found.words, dns.asked) == (True, "no mail leaves this machine", [])


def test_it_says_how_money_is_added_up_and_which_orders_are_in_no_sum(desk: Desk, settings: Settings) -> None:
    def told() -> tuple[bool, str]:
        found = {finding.part: finding for finding in examine(replace(settings, dry_run=True))}["currencies"]
        return found.well, found.words

    assert told() == (True, "added up as they are told")
    for number, currency in enumerate(("USD", "CHF", "CHF", "EUR")):
        bought = order("ann", f"o{number}", ("p1", "Shoes", 10.0))
        bought["properties"]["currency"] = currency
        desk.send(bought)
    assert told() == (True, "added up as they are told, though orders tell CHF, EUR, USD: see `latebind currency set`")
    with desk.sessions.begin() as session:
        exchange.set_own(session, "EUR", NOW)
        rates = list(exchange.read_rates(["currency,day,rate", "USD,2026-01-01,0.9"], "EUR", Given()))
        exchange.give(session, rates, "EUR", Given())
    well, words = told()
    assert not well
    assert words.startswith("Orders without an exchange rate, whose money is in no sum: 2 in CHF since 2026-03-01.")
    assert "currencies" not in wrong(settings)
    with desk.sessions.begin() as session:
        rates = list(exchange.read_rates(["currency,day,rate", "CHF,2026-01-01,1.05"], "EUR", Given()))
        exchange.give(session, rates, "EUR", Given())
    assert told() == (False, exchange.INTERRUPTED)
    with desk.sessions.begin() as session:
        exchange.done(session, exchange.due(session))
    assert told() == (True, "EUR, CHF up to 2026-01-01, USD up to 2026-01-01")


def test_it_names_each_part_that_is_away(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    away = replace(
        settings,
        database_url=f"postgresql://latebind:s3cret@127.0.0.1:{free_port()}/latebind",
        redis_url=f"redis://:s3cret@127.0.0.1:{free_port()}/0",
        queue_url="",
        blob_url=str(tmp_path / "file" / "blobs"),
        record_key=b"",
        render_url="http://pictures.example.com",
    )
    found = wrong(away)
    assert set(found) == {"database", "store", "queues", "relay", "blobs", "keys", "addresses", "render addresses"}
    assert "LATEBIND_RECORD_KEY" in found["keys"]
    assert "LATEBIND_QUEUE_URL is not set" in found["queues"]
    assert "s3cret" not in str(found)
    assert all("\n" not in words for words in found.values())


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [("appendonly", "no", "append-only file"), ("maxmemory-policy", "allkeys-lru", "evict")],
)
def test_it_objects_to_a_store_that_may_lose_things(
    settings: Settings, valkey: stores.Store, setting: str, value: str, words: str
) -> None:
    before = {"appendonly": "yes", "maxmemory-policy": "noeviction"}[setting]
    valkey.config_set(setting, value)
    try:
        assert words in wrong(settings)["store"]
    finally:
        valkey.config_set(setting, before)


def test_it_looks_at_every_node_of_a_cluster(settings: Settings, valkey_cluster: ValkeyCluster, queue_url: str) -> None:
    valkey_cluster.start()
    clustered = replace(settings, redis_url=valkey_cluster.url, queue_url=queue_url)
    found = {finding.part: finding for finding in examine(clustered)}
    assert (found["store"].well, found["queues"].well) == (True, True)
    assert found["store"].words.startswith("a cluster of 3, version ")
    with valkey_cluster.client(valkey_cluster.nodes[2]) as node:
        ours = f"The node at 127.0.0.1:{valkey_cluster.port(valkey_cluster.nodes[2])} "
        for setting, bad, good in (
            ("cluster-require-full-coverage", "yes", "no"),
            ("appendonly", "no", "yes"),
            ("maxmemory-policy", "allkeys-lru", "noeviction"),
            ("cluster-preferred-endpoint-type", "unknown-endpoint", "ip"),
            ("cluster-preferred-endpoint-type", "hostname", "ip"),
        ):
            node.config_set(setting, bad)
            try:
                words = wrong(clustered)["store"]
                assert words.startswith(ours if "endpoint" in setting else "Node ")
                assert f"{setting} {good}." in words
            finally:
                node.config_set(setting, good)


def test_it_says_where_a_node_of_a_cluster_is_taken_for_a_server(
    settings: Settings, valkey_cluster: ValkeyCluster
) -> None:
    valkey_cluster.start()
    one = valkey_cluster.nodes[0].url
    found = wrong(replace(settings, redis_url=one, queue_url=one))
    assert "valkey+cluster://" in found["store"]
    assert "LATEBIND_QUEUE_URL names a node of a cluster" in found["queues"]
    unset = wrong(replace(settings, redis_url=valkey_cluster.url, queue_url=""))
    assert "LATEBIND_QUEUE_URL: must be set" in unset["queues"]
    assert "RQ" in unset["queues"]
