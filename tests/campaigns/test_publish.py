"""Publishing, the states of a campaign, and what the open is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
from sqlalchemy.orm import Session

from base import keys
from base.errors import Conflict, InvalidInput
from base.ids import TEST_BIT
from base.stores import Store
from campaigns import admin_log, campaigns, mail, messages, offers, plans, publish, transitions
from campaigns.models import Occurrence
from campaigns.transitions import send_test
from render.agree import balance
from render.faults import validate
from render.plan import Live, decode, decode_live, digest
from tests.campaigns.shop import MANAGER, Shop


def live(shop: Shop, campaign: int) -> Live:
    """What the open reads now."""
    data = shop.store.get(keys.live(campaign))
    assert isinstance(data, bytes)
    return decode_live(data)


def test_it_publishes_an_immutable_plan_under_its_hash(shop: Shop) -> None:
    campaign = shop.campaign(landing_hosts=["www.example.com"])
    with shop.sessions.begin() as session:
        (row,) = plans.versions(session, campaign)
        stored = plans.load_mail(shop.blobs, row)
    data = shop.blobs.get(row.hash)
    assert data == shop.store.get(keys.plan(row.hash))
    assert digest(data) == row.hash
    plan = decode(data)
    assert validate(plan) == []
    assert (plan.campaign, [slot.name for slot in plan.slots], len(plan.offers)) == (campaign, ["hero", "strip"], 2)
    assert plan.landing_hosts == ("shop.example.com", "www.example.com")
    assert stored.campaign == campaign
    assert row.mail_hash in plan.view_html
    assert live(shop, campaign) == Live(plan=row.hash)


def test_it_needs_a_new_publish_after_an_edit(shop: Shop) -> None:
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        first = row.plan_hash
        assert publish.missing(session, row, is_sending=False) == []
        number = row.message_id or 0
        content = msgspec.structs.replace(
            messages.content(messages.message(session, number)),
            text="New. {{ link.unsubscribe }} {{ brand.postal_address }}",
        )
        messages.update_message(session, number, content, shop.now, MANAGER)
    with shop.sessions.begin() as session:
        assert (
            "publish it again" in publish.missing(session, campaigns.campaign(session, campaign), is_sending=False)[0]
        )
        with pytest.raises(Conflict, match="publish it again"):
            transitions.schedule(session, campaign, shop.now, shop.now, MANAGER, is_sending=False)
    second = shop.publish(campaign)
    assert second != first
    assert shop.publish(campaign) == second, "publishing the same again makes nothing new"
    with shop.sessions.begin() as session:
        assert [row.number for row in plans.versions(session, campaign)] == [2, 1]
        assert "New." in plans.load_mail(shop.blobs, plans.plan(session, second)).text
        assert "New." not in plans.load_mail(shop.blobs, plans.plan(session, str(first))).text


def test_it_opens_a_cap_once_and_follows_its_total(shop: Shop) -> None:
    capped, default = shop.offer("replacement", cap_total=100), shop.offer("neutral")
    slots = [campaigns.SlotChoice(slot=number, default=default, offers=[capped]) for number in (0, 1)]
    campaign = shop.campaign(slots=slots)
    shop.store.hincrby(keys.cap(capped), "left", -30)
    shop.publish(campaign)
    assert balance(shop.store, capped) == 70
    with shop.sessions.begin() as session:
        content = msgspec.structs.replace(offers.content(offers.offer(session, capped)), cap_total=120)
        offers.update_offer(session, capped, content, shop.now, MANAGER)
    shop.publish(campaign)
    assert balance(shop.store, capped) == 90


def at_once(*works: Callable[[Session], object], shop: Shop) -> None:
    """Run each work in a transaction of its own, all at the same time."""
    barrier, errors = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[Session], object]) -> None:
        try:
            with shop.sessions.begin() as session:
                barrier.wait()
                work(session)
        except BaseException as error:  # noqa: BLE001 - the test says which
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_it_loses_no_change_made_at_the_same_time(shop: Shop) -> None:
    capped, default = shop.offer("replacement", cap_total=100), shop.offer("neutral")
    slots = [campaigns.SlotChoice(slot=number, default=default, offers=[capped]) for number in (0, 1)]
    pair = [shop.campaign(slots=slots), shop.campaign(slots=slots)]
    with shop.sessions.begin() as session:
        content = msgspec.structs.replace(offers.content(offers.offer(session, capped)), cap_total=120)
        offers.update_offer(session, capped, content, shop.now, MANAGER)

    def publishing(campaign: int) -> Callable[[Session], object]:
        return lambda session: publish.publish(
            session, shop.store, shop.blobs, campaign, shop.now, MANAGER, is_sending=False
        )

    def withdrawing(offer: int) -> Callable[[Session], object]:
        return lambda session: publish.withdraw_offer(session, shop.store, pair[0], offer, shop.now, MANAGER)

    at_once(*map(publishing, pair * 2), shop=shop)
    assert balance(shop.store, capped) == 120
    at_once(*map(withdrawing, range(1, 6)), shop=shop)
    with shop.sessions.begin() as session:
        assert campaigns.campaign(session, pair[0]).withdrawn == [1, 2, 3, 4, 5]


def test_it_raises_a_cap_once_though_the_first_commit_failed(shop: Shop) -> None:
    capped, default = shop.offer("replacement", cap_total=100), shop.offer("neutral")
    slots = [campaigns.SlotChoice(slot=number, default=default, offers=[capped]) for number in (0, 1)]
    campaign = shop.campaign(slots=slots)
    with shop.sessions.begin() as session:
        content = msgspec.structs.replace(offers.content(offers.offer(session, capped)), cap_total=120)
        offers.update_offer(session, capped, content, shop.now, MANAGER)
    with shop.sessions() as session:
        publish.publish(session, shop.store, shop.blobs, campaign, shop.now, MANAGER, is_sending=False)
        session.rollback()
    shop.publish(campaign)
    assert balance(shop.store, capped) == 120


def test_it_switches_what_is_live_at_once_and_logs_who(shop: Shop) -> None:
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        publish.kill(session, shop.store, campaign, shop.now, MANAGER)
    assert live(shop, campaign).state == "killed"
    with shop.sessions.begin() as session:
        publish.revive(session, shop.store, campaign, shop.now, MANAGER)
        publish.withdraw_offer(session, shop.store, campaign, 5, shop.now, MANAGER)
        publish.switch(session, shop.store, campaign, "set model", shop.now, MANAGER, {"model_hash": "ab" * 32})
    told = live(shop, campaign)
    assert (told.state, told.withdrawn, told.model) == ("live", (5,), "ab" * 32)
    with shop.sessions.begin() as session:
        actions = [entry.action for entry in admin_log.entries(session, object_type="campaign", object_id=campaign)]
    assert actions == ["set model", "withdraw offer", "revive", "kill", "publish", "create"]


def test_it_leaves_the_live_key_alone_when_the_transaction_fails_and_heals_it_when_it_is_gone(shop: Shop) -> None:
    campaign = shop.campaign()
    told = live(shop, campaign)
    session = shop.sessions()
    publish.kill(session, shop.store, campaign, shop.now, MANAGER)
    session.rollback()
    session.close()
    assert live(shop, campaign) == told
    shop.store.flushdb()
    with shop.sessions.begin() as session:
        assert publish.refresh(session, shop.store, shop.blobs) == 2
        assert publish.refresh(session, shop.store, shop.blobs) == 0
    assert live(shop, campaign) == told


def test_it_refreshes_keys_of_another_kind_and_plans_of_another_length(shop: Shop) -> None:
    damaged, other = shop.campaign(), shop.campaign()
    told = live(shop, other)
    with shop.sessions.begin() as session:
        (row,) = plans.versions(session, damaged)
        names = [keys.live(damaged), keys.plan(row.hash)]
        kept = [shop.store.get(name) for name in names]
        for name in names:
            shop.store.delete(name)
            shop.store.rpush(name, "x")
        shop.store.delete(keys.live(other))
        assert publish.refresh(session, shop.store, shop.blobs) == 3
        assert ([shop.store.get(name) for name in names], live(shop, other)) == (kept, told)
        shop.store.set(names[1], "junk")
        assert publish.refresh(session, shop.store, shop.blobs) == 1
        assert shop.store.get(names[1]) == kept[1]
        assert publish.refresh(session, shop.store, shop.blobs) == 0


def test_it_does_not_publish_what_cannot_be_shown(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="default_landing"):
        shop.campaign(default_landing="")
    with pytest.raises(InvalidInput, match="message_id"):
        shop.campaign(message_id=None, slots=[])


Move = Callable[[Session], object]


def test_it_moves_only_along_its_states(shop: Shop) -> None:
    campaign = shop.campaign()
    moves: dict[str, Move] = {
        "schedule": lambda s: transitions.schedule(
            s, campaign, shop.now + timedelta(hours=1), shop.now, MANAGER, is_sending=False
        ),
        "unschedule": lambda s: transitions.unschedule(s, campaign, shop.now, MANAGER),
        "pause": lambda s: transitions.pause(s, campaign, shop.now, MANAGER),
        "resume": lambda s: transitions.resume(s, campaign, shop.now, MANAGER),
        "cancel": lambda s: transitions.cancel(s, campaign, shop.now, MANAGER),
    }

    def allowed() -> set[str]:
        found = set()
        for name, move in moves.items():
            session = shop.sessions()
            try:
                move(session)
                found.add(name)
            except Conflict:
                pass
            finally:
                session.rollback()
                session.close()
        return found

    def do(name: str) -> str:
        with shop.sessions.begin() as session:
            moves[name](session)
        return shop.state(campaign)

    assert allowed() == {"schedule", "cancel"}
    assert do("schedule") == "scheduled"
    assert allowed() == {"schedule", "unschedule", "pause", "cancel"}
    assert do("schedule") == "scheduled"
    with shop.sessions.begin() as session:
        assert session.query(Occurrence).count() == 1, "moving the time makes no second run"
    assert do("unschedule") == "draft"
    do("schedule")
    assert do("pause") == "paused"
    assert allowed() == {"resume", "cancel"}
    assert do("resume") == "scheduled"
    with shop.sessions.begin() as session:
        assert transitions.begin(session, campaign, shop.now)
        assert not transitions.begin(session, campaign, shop.now)
    assert allowed() == {"pause", "cancel"}
    assert do("cancel") == "cancelled"
    assert allowed() == set()


def test_it_lets_one_of_two_win(shop: Shop) -> None:
    campaign = shop.campaign()
    shop.schedule(campaign, timedelta(hours=1))
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def press() -> None:
        barrier.wait()
        try:
            with shop.sessions.begin() as session:
                transitions.pause(session, campaign, shop.now, MANAGER)
            outcomes.append("won")
        except Conflict as error:
            outcomes.append("told" if "is paused" in str(error) else "not told")

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["told", "told", "told", "won"]


def test_it_gives_test_sends_numbers_of_their_own(shop: Shop) -> None:
    ann, bob = shop.people("ann", "bob")
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        first = send_test(session, campaign, [ann, bob], "tester@example.com", shop.now, MANAGER)
        second = send_test(session, campaign, [ann], "tester@example.com", shop.now, MANAGER)
    assert (first, second) == (TEST_BIT + 1, TEST_BIT + 2)
    with pytest.raises(InvalidInput, match="address"), shop.sessions.begin() as session:
        send_test(session, campaign, [ann], "nobody", shop.now, MANAGER)
    assert shop.state(campaign) == "draft"


def test_it_keeps_a_mail_for_as_long_as_its_plan(shop: Shop) -> None:
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        row = plans.versions(session, campaign)[0]
    assert mail.encode(plans.load_mail(shop.blobs, row)) == shop.blobs.get(row.mail_hash)


class SlowStore:
    """The hot store of somebody who is slow: between the first reading and writing, `meanwhile` happens."""

    def __init__(self, shop: Shop, meanwhile: Callable[[], object]) -> None:
        self._shop = shop
        self._waits = [meanwhile]

    def pipeline(self, transaction: bool) -> Any:
        made: Any = self._shop.store.pipeline(transaction=transaction)
        execute = made.execute

        def slowly(**options: Any) -> Any:
            held = execute(**options)
            while self._waits:
                self._waits.pop()()
            return held

        made.execute = slowly
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shop.store, name)


def test_it_never_undoes_a_switch_that_was_thrown_while_it_refreshed(shop: Shop) -> None:
    campaign = shop.campaign()
    shop.store.delete(keys.live(campaign))

    def kill() -> None:
        with shop.sessions.begin() as session:
            publish.kill(session, shop.store, campaign, shop.now, MANAGER)

    with shop.sessions.begin() as session:
        assert publish.refresh(session, cast("Store", SlowStore(shop, kill)), shop.blobs) == 1
    assert live(shop, campaign).state == "killed"
