"""The recorder while one node of a cluster is away: it stores what the others hold, and makes up for the rest."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import timedelta

import pytest
from redis import RedisError

from base import keys, stores
from base.clock import pause
from base.errors import Unavailable
from base.recordstreams import REST_SECONDS
from base.slots import slot_of
from base.stores import Store
from campaigns.erasure import erase_person, finish_erasures
from render import agree
from render.facts import decode_used
from render.record import ConsentRecord, RepairRecord
from signals.due import publish_due
from signals.erasure import unfinished
from signals.joining import join
from signals.moments import unix_ms
from signals.publishing import HOT_STORE
from signals.state import ProfileState, decode
from tests.campaigns.shop import MANAGER
from tests.clusters import ValkeyCluster
from tests.promises.reader import Mail
from tests.signals.test_outbox import nobody
from tests.streams import lengths
from tests.workers.opens import Opens
from workers.following import Following
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
                erase_person(opens.shop.intake, opens.shop.blobs, profile, opens.shop.now, MANAGER)
    dead = valkey_cluster.holder(keys.state(profiles[0]))
    lost = {profile for profile in profiles if valkey_cluster.holder(keys.state(profile)) is dead}
    assert 0 < len(lost) < len(profiles)
    opens.shop.clock.advance(timedelta(minutes=2))
    dead.kill()
    try:
        with pytest.raises(Unavailable):
            finish_erasures(opens.shop.intake, opens.shop.blobs, opens.shop.now)
        with opens.shop.sessions() as session:
            assert set(unfinished(session, opens.shop.now)) == lost
    finally:
        recover(valkey_cluster)
    assert finish_erasures(opens.shop.intake, opens.shop.blobs, opens.shop.now) == len(lost)
    assert all(state(opens.shop.store, profile).erased for profile in profiles)
    assert not finish_erasures(opens.shop.intake, opens.shop.blobs, opens.shop.now)


def test_states_of_the_other_nodes_are_published(
    opens: Opens, valkey_cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = [mail.token.profile for mail in opens.send(*PEOPLE).values()]
    dead = valkey_cluster.holder(keys.state(profiles[0]))
    lost = {profile for profile in profiles if valkey_cluster.holder(keys.state(profile)) is dead}
    assert 0 < len(lost) < len(profiles)
    with monkeypatch.context() as failing:
        failing.setattr(opens.shop.intake.publisher, "write_states", unavailable)
        for name in PEOPLE:
            with pytest.raises(Unavailable):
                buy(opens, name)
    assert not any(state(opens.shop.store, profile).orders for profile in profiles)
    dead.kill()
    try:
        with pytest.raises(Unavailable):
            publish_due(opens.shop.intake, nobody)
        assert all(state(opens.shop.store, profile).orders for profile in profiles if profile not in lost)
        assert {row.profile_id for row in opens.rows("SELECT profile_id FROM state_due")} == lost
        opens.following.idle()
    finally:
        recover(valkey_cluster)
    assert publish_due(opens.shop.intake, nobody) == len(lost)
    assert all(state(opens.shop.store, profile).orders for profile in profiles)
    assert publish_due(opens.shop.intake, nobody) == 0


def test_who_is_merged_has_one_count_once_all_their_nodes_are_there(
    opens: Opens, valkey_cluster: ValkeyCluster
) -> None:
    mails = opens.send(*PEOPLE, discount={"cap_person": 5})
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    profiles = [mail.token.profile for mail in mails.values()]
    dead = valkey_cluster.holder(keys.used(profiles[0]))
    lost = [profile for profile in profiles if valkey_cluster.holder(keys.used(profile)) is dead]
    here = [profile for profile in profiles if profile not in lost]
    for one, other in ((lost[0], here[0]), (here[1], here[2])):
        join(opens.shop.intake, one, other, opens.shop.now, by="support")

    def counted() -> dict[int, int]:
        """How often each was shown the discount, over all their profiles, as far as it can be read."""
        found = stores.ask_each(
            opens.shop.store, [keys.used(one) for one in profiles], lambda pipe, name: pipe.get(name)
        )
        return {
            one: decode_used(found[keys.used(one)]).offer(opens.discount).count
            for one in profiles if keys.used(one) in found
        }  # fmt: skip

    dead.kill()
    try:
        opens.following.idle()
        assert counted() == dict.fromkeys(here, 1) | {here[1]: 2, here[2]: 2}
        assert opens.count("count_due") == 1
    finally:
        recover(valkey_cluster)
    Following(opens.parts).idle()
    assert counted() == dict.fromkeys(profiles, 1) | dict.fromkeys((lost[0], *here[:3]), 2)
    assert opens.count("count_due") == 0


def unavailable(*_: object) -> int:
    raise Unavailable(HOT_STORE)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done now and then is done whenever nothing else is."""
    monkeypatch.setattr("workers.following.CREDIT_SECONDS", -1.0)
    monkeypatch.setattr("workers.following.FREE_SECONDS", -1.0)


def buy(opens: Opens, name: str) -> None:
    """An order, now."""
    opens.shop.send(opens.shop.order(name, "shoes", opens.shop.now))


def credited(opens: Opens) -> dict[int, int]:
    """By profile, the open that its order was credited to."""
    opens.following.idle()
    rows = opens.rows("SELECT o.profile_id, d.open_number FROM outcome o JOIN decision d ON d.id = o.decision_id")
    assert len({row.profile_id for row in rows}) == len(rows)
    return {row.profile_id: row.open_number for row in rows}


@pytest.mark.usefixtures("often")
def test_orders_of_the_other_nodes_are_credited(opens: Opens, valkey_cluster: ValkeyCluster) -> None:
    mails = opens.send(*PEOPLE)
    profiles = {name: mail.token.profile for name, mail in mails.items()}
    dead = valkey_cluster.holder(keys.state(profiles[PEOPLE[0]]))
    lost = [name for name in PEOPLE if valkey_cluster.holder(keys.state(profiles[name])) is dead]
    others = [name for name in PEOPLE if name not in lost]
    assert others
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    assert credited(opens) == {}
    opens.shop.clock.advance(timedelta(hours=3))
    for mail in mails.values():
        opens.look(mail)
        opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(minutes=5))
    dead.kill()
    try:
        for name in others:
            buy(opens, name)
        for name in lost:
            with pytest.raises(Unavailable):
                buy(opens, name)
        assert credited(opens) == {}, "what they saw still waits on the streams of their nodes"
        assert opens.record() == 2 * len(others), "clicks lie beside their person too"
        # The order of who is away is stored as well, and its newest sight is not: it waits.
        theirs = dict.fromkeys((profiles[name] for name in others), 2)
        assert credited(opens) == theirs
        assert credited(opens) == theirs
        opens.following = Following(opens.parts)
        buy(opens, others[0])
        assert credited(opens) == theirs, "a recorder that never saw all streams cannot tell what it does not see"
    finally:
        recover(valkey_cluster)
    assert credited(opens) == theirs
    opens.record()
    opens.following.idle()
    orders = opens.rows("SELECT profile_id FROM outcome WHERE click_id IS NOT NULL")
    assert sorted(row.profile_id for row in orders) == sorted([*profiles.values(), profiles[others[0]]])
    opens_of = opens.rows("SELECT DISTINCT d.open_number FROM outcome o JOIN decision d ON d.id = o.decision_id")
    assert [row.open_number for row in opens_of] == [2]


@pytest.mark.usefixtures("often")
def test_an_order_waits_for_the_node_that_its_person_came_from(opens: Opens, valkey_cluster: ValkeyCluster) -> None:
    name = PEOPLE[0]
    mail = opens.send(name)[name]
    opens.look(mail)
    opens.record()
    opens.following.idle()
    opens.shop.clock.advance(timedelta(hours=3))
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=5))
    state_key = keys.state(mail.token.profile)
    source = valkey_cluster.holder(state_key)
    target = valkey_cluster.nodes[(valkey_cluster.nodes.index(source) + 1) % 3]
    valkey_cluster.move(slot_of(state_key), source, target)
    source.kill()
    try:
        with suppress(Unavailable):  # The intake may look where its map says; the order is stored in either case.
            buy(opens, name)
        assert opens.rows("SELECT 1 FROM event WHERE name = 'Order Completed'")
        assert opens.record() == 0
        assert credited(opens) == {}
    finally:
        recover(valkey_cluster)
        valkey_cluster.move(slot_of(state_key), target, source)
    opens.record()
    assert credited(opens) == {mail.token.profile: 2}


@pytest.mark.usefixtures("often")
def test_unused_caps_of_the_other_nodes_are_given_back(opens: Opens, valkey_cluster: ValkeyCluster) -> None:
    mails = opens.send(*PEOPLE, discount={"cap_total": 50})
    store, cap = opens.shop.store, keys.cap(opens.discount)
    tokens = [mail.token for mail in mails.values()]
    homes = {token.profile: valkey_cluster.holder(keys.state(token.profile)) for token in tokens}
    dead = next(node for node in valkey_cluster.nodes if node is not valkey_cluster.holder(cap))
    lost = {token.profile for token in tokens if homes[token.profile] is dead}
    assert 0 < len(lost) < len(tokens)
    opens.following.idle()
    for mail in mails.values():
        opens.look(mail)
    # Beside what everybody was shown, everybody has a reservation that no open stands behind.
    made = unix_ms(opens.shop.now)
    for token in tokens:
        store.hset(cap, agree.reservation(token.delivery.name, token.profile, 9, made), str(made))
        store.hincrby(cap, "left", -1)
    assert agree.balance(store, opens.discount) == 50 - 2 * len(tokens)
    opens.shop.clock.advance(timedelta(hours=1))
    dead.kill()
    try:
        opens.record()
        opens.following.idle()
        held = {agree.reserved_by(name) for name in agree.stale_reservations(store, opens.discount, 2 * made)}
        assert held == lost
        assert agree.balance(store, opens.discount) == 50 - len(tokens) - len(lost)
    finally:
        recover(valkey_cluster)
    opens.record()
    opens.following.idle()
    assert not list(agree.stale_reservations(store, opens.discount, 2 * made))
    assert agree.balance(store, opens.discount) == 50 - len(tokens)


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
