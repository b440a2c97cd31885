"""The recorder while one node of a cluster is away: it stores what the others hold, and makes up for the rest."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest
from redis import RedisError

from base import keys
from base.clock import pause
from base.errors import Unavailable
from base.recordstreams import REST_SECONDS
from base.stores import Store
from campaigns.erasure import erase_person, finish_erasures
from render.record import ConsentRecord, RepairRecord
from signals.erasure import unfinished
from signals.moments import unix_ms
from signals.state import ProfileState, decode
from tests.campaigns.shop import MANAGER
from tests.clusters import ValkeyCluster
from tests.promises.reader import Mail
from tests.streams import lengths
from tests.workers.opens import Opens
from workers.restarts import Restarts

PEOPLE = tuple(f"person-{number}" for number in range(8))


@pytest.fixture
def valkey_url(valkey_cluster: ValkeyCluster) -> str:
    """The hot store is a cluster, every node of which runs."""
    valkey_cluster.start()
    return valkey_cluster.url


def state(store: Store, profile: int) -> ProfileState:
    data = store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return decode(data)


def away_from_records(cluster: ValkeyCluster, mails: dict[str, Mail], opens: Opens) -> int:
    """Somebody whose keys are on another node than the stream on which `Opens.put` puts entries."""
    by_records = cluster.holder(opens.recorder.streams.names[0])
    people = [mail.token.profile for mail in mails.values()]
    return next(profile for profile in people if cluster.holder(keys.state(profile)) is not by_records)


def recover(cluster: ValkeyCluster) -> None:
    """Have the node back, and wait as long as it is left alone."""
    cluster.start()
    pause(REST_SECONDS)


def test_it_stores_the_records_of_the_other_nodes(opens: Opens, valkey_cluster: ValkeyCluster) -> None:
    for mail in opens.send(*PEOPLE).values():
        opens.look(mail)
    held = lengths(opens.shop.store)
    assert len(held) == 3, "every node has people"
    dead = valkey_cluster.nodes[1]
    lost = sum(length for name, length in held.items() if valkey_cluster.holder(name) is dead)
    dead.kill()
    try:
        assert opens.record() == sum(held.values()) - lost
        with pytest.raises(RedisError):
            opens.recorder.lag()
        opens.recorder.idle()
        assert opens.count("fetch") < len(PEOPLE)
    finally:
        recover(valkey_cluster)
    assert opens.record() == lost
    assert (opens.count("fetch"), opens.recorder.lag()) == (len(PEOPLE), 0)


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_a_withdrawal_whose_node_is_away_is_in_effect_when_it_is_back(
    opens: Opens, valkey_cluster: ValkeyCluster, how: str
) -> None:
    profile = away_from_records(valkey_cluster, opens.send(*PEOPLE), opens)
    shop, dead = opens.shop, valkey_cluster.holder(keys.state(profile))
    restarts = Restarts(shop.sessions, shop.store, shop.intake)
    restarts.look()
    said = ConsentRecord(
        id="c" * 32, at_ms=unix_ms(shop.now), profile=profile, campaign=opens.campaign, occurrence=1, purpose="email",
        granted=False, via="page",
    )  # fmt: skip
    opens.put(said)
    os.kill(dead.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    try:
        assert opens.record() == 1, "whoever waits behind it need not"
        assert opens.rows("SELECT 1 FROM consent WHERE profile_id = :profile AND NOT granted", profile=profile)
        restarts.look()
    finally:
        if how == "killed":
            dead.kill()  # It is, and is waited for.
        else:
            os.kill(dead.pid, signal.SIGCONT)
        recover(valkey_cluster)
    assert state(shop.store, profile).consent.get("email") is not False, "the node was not there to be told"
    restarts.look()
    assert state(shop.store, profile).consent["email"] is False


def test_erasures_of_the_other_nodes_are_finished(
    opens: Opens, valkey_cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = [mail.token.profile for mail in opens.send(*PEOPLE).values()]
    with monkeypatch.context() as dying:
        dying.setattr(opens.shop.intake, "publisher", None)  # As `kill -9` between the commit and the write.
        for profile in profiles:
            with pytest.raises(AttributeError):
                erase_person(opens.shop.intake, profile, opens.shop.now, MANAGER)
    dead = valkey_cluster.holder(keys.state(profiles[0]))
    lost = {profile for profile in profiles if valkey_cluster.holder(keys.state(profile)) is dead}
    assert 0 < len(lost) < len(profiles)
    opens.shop.clock.advance(timedelta(minutes=2))
    dead.kill()
    try:
        with pytest.raises(Unavailable):
            finish_erasures(opens.shop.intake, opens.shop.now)
        with opens.shop.sessions() as session:
            assert set(unfinished(session, opens.shop.now)) == lost
    finally:
        recover(valkey_cluster)
    assert finish_erasures(opens.shop.intake, opens.shop.now) == len(lost)
    assert all(state(opens.shop.store, profile).erased for profile in profiles)
    assert not finish_erasures(opens.shop.intake, opens.shop.now)


def test_a_repair_whose_node_is_away_keeps_nobody_waiting(opens: Opens, valkey_cluster: ValkeyCluster) -> None:
    profile = away_from_records(valkey_cluster, opens.send(*PEOPLE), opens)
    dead = valkey_cluster.holder(keys.state(profile))
    wanted = RepairRecord(id="d" * 32, at_ms=0, what="state", profile=profile, campaign=opens.campaign, occurrence=1)
    opens.put(wanted)
    dead.kill()
    try:
        assert opens.record() == 1
    finally:
        recover(valkey_cluster)
    opens.shop.store.delete(keys.state(profile))
    opens.put(wanted)
    assert opens.record() == 1
    assert state(opens.shop.store, profile).version
